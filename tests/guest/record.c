// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * record LABEL DEVICE BYTES [sync]: reads a record of so many bytes a few times,
 * for the coherence checker to count the cache maintenance that this takes. With
 * "sync" it is shmbuf's SYNC, and loads from a mapping, else read(2). Reports carry
 * the label meanwhile.
 */
#include <err.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../include/uapi/shmbuf.h"
#include "../../tools/coherence/hint.h"

#define TIMES	16

static void sync_record(int fd, size_t bytes, uint32_t flags)
{
	struct shmbuf_sync sync = { .length = bytes, .flags = SHMBUF_SYNC_READ | flags };

	if (ioctl(fd, SHMBUF_IOC_SYNC, &sync))
		err(1, "SYNC");
}

int main(int argc, char **argv)
{
	bool sync = argc == 5 && !strcmp(argv[4], "sync");
	volatile uint32_t *map;
	size_t bytes, i;
	char *copy;
	int fd;

	if (argc != 4 && !sync)
		errx(64, "usage: record LABEL DEVICE BYTES [sync]");
	bytes = strtoul(argv[3], NULL, 10);
	copy = malloc(bytes);
	fd = open(argv[2], O_RDWR);
	if (!copy || fd < 0)
		err(1, "%s", argv[2]);
	map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		err(1, "mmap");
	/* Its pages are there before the count begins. */
	memset(copy, 0, bytes);

	coherence_label(argv[1]);
	for (int times = 0; times < TIMES; times++) {
		if (sync) {
			sync_record(fd, bytes, SHMBUF_SYNC_START);
			for (i = 0; i < bytes / 4; i++)
				(void)map[i];
			sync_record(fd, bytes, SHMBUF_SYNC_END);
		} else if (pread(fd, copy, bytes, 0) != (ssize_t)bytes) {
			err(1, "pread");
		}
	}
	coherence_label("");
	return 0;
}
