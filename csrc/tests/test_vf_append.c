/* What cannot be written whole is told by the system's first error, whatever comes after that. */

#include "vf_append.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "faults.h"

static off_t size_of(int fd)
{
	struct stat file;
	CHECK(!fstat(fd, &file));
	return file.st_size;
}

int main(void)
{
	char path[] = "/tmp/vf-append-XXXXXX";
	int fd = mkstemp(path);
	CHECK(fd >= 0 && !unlink(path) && !vf_append(fd, "before", 6, 0));
	struct rlimit limit;
	CHECK(!getrlimit(RLIMIT_FSIZE, &limit));
	limit.rlim_cur = 10;
	signal(SIGXFSZ, SIG_IGN);
	CHECK(!setrlimit(RLIMIT_FSIZE, &limit));
	CHECK(vf_append(fd, "too much", 8, 0) == EFBIG && size_of(fd) == 6);
	CHECK(lseek(fd, 0, SEEK_END) == 6);
	faults_fail("ftruncate", 0, EIO);
	CHECK(vf_append(fd, "too much", 8, 0) == EFBIG && faults_has_failed());
	CHECK(size_of(fd) == 10 && !close(fd));
	return 0;
}
