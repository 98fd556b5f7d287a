/* Runs a target on the files that are named, and on those of the directories that are: what was
found once stays so, with any compiler. */

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

static size_t n_files;

static void run_file(const char *path)
{
	char *data = NULL;
	size_t nbytes = 0;
	FILE *file = fopen(path, "rb");
	CHECK(file);
	for (size_t n = 1; n; nbytes += n) {
		CHECK((data = realloc(data, nbytes + BUFSIZ)));
		n = fread(data + nbytes, 1, BUFSIZ, file);
	}
	CHECK(!ferror(file) && !fclose(file));
	/* As long as it says, so that a sanitizer sees who reads on. */
	uint8_t *exact = malloc(nbytes ? nbytes : 1);
	CHECK(exact);
	for (size_t i = 0; i < nbytes; i++)
		exact[i] = (uint8_t)data[i];
	free(data);
	CHECK(!LLVMFuzzerTestOneInput(exact, nbytes));
	free(exact);
	n_files++;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		struct dirent **entries;
		int n = scandir(argv[i], &entries, NULL, alphasort);
		if (n < 0)
			run_file(argv[i]);
		for (int k = 0; k < n; k++) {
			char path[4096];
			snprintf(path, sizeof path, "%s/%s", argv[i], entries[k]->d_name);
			if (*entries[k]->d_name != '.')
				run_file(path);
			free(entries[k]);
		}
		if (n >= 0)
			free(entries);
	}
	CHECK(n_files);
	return 0;
}
