// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Writes a buffer to a disk and reads it back, past the page cache (O_DIRECT), without a copy by
 * the CPU: Documentation/recipes.md.
 *
 * disk FILE: overwrites the first 256 KiB of a file or block device.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <shmbuf.h>

#define SIZE	(256 << 10)

/* Only a refcounted mapping has pages that the disk's driver can hold. */
static uint32_t *make_buffer(void)
{
	struct shmbuf_alloc alloc = {
		.size = SIZE,
		.kind = SHMBUF_KIND_STREAMING,
		.policy = SHMBUF_POLICY_WRITEBACK,
		.mapping = SHMBUF_MAPPING_REFCOUNTED,
	};
	int node = open("/dev/shmbuf", O_RDWR | O_CLOEXEC);
	int buffer;
	void *bytes;

	if (node < 0)
		err(1, "/dev/shmbuf");
	buffer = ioctl(node, SHMBUF_IOC_ALLOC, &alloc);
	if (buffer < 0)
		err(1, "ALLOC (dmesg has the reason)");
	bytes = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, buffer, 0);
	if (bytes == MAP_FAILED)
		err(1, "mmap");
	/* The mapping keeps the buffer. */
	close(buffer);
	close(node);
	return bytes;
}

int main(int argc, char **argv)
{
	uint32_t *words;
	uint32_t i;
	int disk;

	if (argc != 2)
		errx(64, "usage: disk FILE");
	disk = open(argv[1], O_RDWR | O_DIRECT | O_CLOEXEC);
	if (disk < 0)
		err(1, "%s", argv[1]);
	words = make_buffer();

	for (i = 0; i < SIZE / 4; i++)
		words[i] = i;
	if (pwrite(disk, words, SIZE, 0) != SIZE)
		err(1, "%s: write", argv[1]);

	memset(words, 0, SIZE);
	if (pread(disk, words, SIZE, 0) != SIZE)
		err(1, "%s: read", argv[1]);
	for (i = 0; i < SIZE / 4; i++) {
		if (words[i] != i)
			errx(1, "word %u is not what was written", i);
	}
	printf("%u bytes to the disk and back\n", SIZE);
	return 0;
}
