/* Files that TaskVine moves for calls: what a call says of them, and what TaskVine knows of an
input. */

#ifndef VF_FILE_H
#define VF_FILE_H

#include <stdint.h>
#include <time.h>

#include "vf_look.h"
#include "vf_temp.h"

struct vine_file;

enum vf_file_kind {
	VF_FILE_INPUT = 0,
	VF_FILE_URL = 1, /* an input that workers fetch themselves */
	VF_FILE_OUTPUT = 2,
	VF_FILE_READ = 3, /* a temporary file (vf_temp.h) */
	VF_FILE_MADE = 4, /* a temporary file that the call makes */
};

/* A file that TaskVine knows, as an entry of the locality table. */
struct vf_datum {
	struct vine_file *file;
	struct vf_temp *temp; /* that it is; NULL: an input */
	uint32_t index;       /* in the locality table */
	/* Inputs that are this file: TaskVine declares the same content once. */
	uint32_t n_users;
};

/* An input that TaskVine knows. */
struct vf_declared {
	char *source;
	char *name; /* that workers know it by */
	struct vine_file *file;
	struct vf_datum *datum;
	struct timespec modified;
	int64_t nbytes;
	uint64_t inode, version;
	uint64_t seen_turn, seen_ns; /* when a look was used last, and when that was made */
	struct vine_file *archive; /* that `file` is unpacked from, or NULL */
	char *reason;       /* why a worker did not get it; NULL: none has said so */
	uint64_t failed_ns; /* when it said so */
	int final;          /* that is not to be tried again */
	uint32_t n_failed; /* declarations of this source before this one that failed, in a row */
	uint32_t n_users; /* calls, and bundles under way */
	int stale; /* the file has changed: only these know it */
	int spoiled; /* a call has written to it on its worker */
	struct vf_declared *newer, *older; /* while nobody uses it */
};

/* A file of a call. */
struct vf_file {
	/* Path here, or URL with options of curl (vinefast/data/urls.py), or what the user calls
	it. */
	const char *source;
	/* Path in the sandbox of the bundle, unlike that of any other call's file. */
	const char *name;
	int kind;
	struct vf_temp *temp;
	/* At an input, by the submitting side; `asked_ns` is 0: it has not looked. */
	struct vf_look look;
	uint64_t begun_turn; /* the manager thread's: when the call came */
	struct vf_declared *declared; /* and what an input is to TaskVine, while the call is here */

	/* Of a vinefast.CachedFile. */
	/* One declaration for all files of a key; NULL, as for other files: the source is the
	key. */
	const char *key;
	const char *label; /* what workers call its content; NULL: a name of its own */
	int level; /* vine_cache_level_t */
	int unpack; /* it is a tarball, and calls see the directory */
	int linked; /* calls see a symbolic link */
	uint64_t version; /* of what was there when the call was submitted */
};

/* Made and freed by the submitting side, with the call's future. */
struct vf_file_list {
	uint32_t n;
	struct vf_file items[];
};

/* Whether it is here, or at a URL, and travels to workers. */
static inline int vf_file_is_input(const struct vf_file *file)
{
	return file->kind == VF_FILE_INPUT || file->kind == VF_FILE_URL;
}

/* What a file that a call reads is in the cluster; NULL: nothing yet. */
static inline const struct vf_datum *vf_file_datum(const struct vf_file *file)
{
	if (file->kind == VF_FILE_READ)
		return file->temp->datum;
	return file->declared ? file->declared->datum : NULL;
}

#endif
