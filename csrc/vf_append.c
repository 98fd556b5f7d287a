#include "vf_append.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static void cut(int fd, uint64_t nbytes)
{
	struct stat file;
	/* Somebody may have emptied the file meanwhile. */
	if (nbytes && !fstat(fd, &file) && (uint64_t)file.st_size >= nbytes &&
			ftruncate(fd, file.st_size - (off_t)nbytes))
		return;
}

int vf_append(int fd, const char *data, size_t nbytes, uint64_t also)
{
	size_t written = 0;
	while (written < nbytes) {
		ssize_t n = write(fd, data + written, nbytes - written);
		if (n > 0) {
			written += (size_t)n;
		} else if (!n || errno != EINTR) {
			int error = n ? errno : EIO;
			cut(fd, also + written);
			return error;
		}
	}
	return 0;
}
