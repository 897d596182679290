// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * exercise: what a program and a device do with the buffer of /dev/shmbuf, a few
 * times around, for the coherence checker to watch. Every value is right here, since
 * the emulator has no caches; the checker says what caches would have done.
 *
 * The device is played by hints to the checker. It gets the buffer by SYNC and
 * reads all of it, then writes all of it.
 */
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../include/uapi/shmbuf.h"
#include "hint.h"

/*
 * An interrupt at the right moment does what a broken driver does not: it
 * drains the write buffer. It will not come each time.
 */
#define ROUNDS 8

static int fd;
static volatile uint32_t *map;
static size_t words;

static void sync_buffer(uint32_t flags)
{
	struct shmbuf_sync sync = { .length = words * 4, .flags = flags | SHMBUF_SYNC_RW };

	if (ioctl(fd, SHMBUF_IOC_SYNC, &sync))
		err(1, "SYNC");
}

static void store(uint32_t seed)
{
	for (size_t i = 0; i < words; i++)
		map[i] = seed + i;
}

static void load(uint32_t seed)
{
	for (size_t i = 0; i < words; i++) {
		if (map[i] != seed + i)
			errx(1, "mapping: word %zu is wrong", i);
	}
}

/* What is done to each part of the buffer's memory, wherever it lies. */
static void device(void (*touches)(unsigned long address, unsigned long bytes))
{
	static const char *const name = "/sys/kernel/debug/shmbuf/default/pages";
	unsigned long offset, address, length;
	FILE *pages = fopen(name, "r");
	size_t all = 0;

	if (!pages)
		err(1, "%s", name);
	while (fscanf(pages, "%lx %lx %lx", &offset, &address, &length) == 3) {
		touches(address, length);
		all += length;
	}
	fclose(pages);
	if (all != words * 4)
		errx(1, "%s has %zu bytes", name, all);
}

int main(void)
{
	struct shmbuf_info info = { 0 };
	uint32_t *copy;

	fd = open("/dev/shmbuf", O_RDWR);
	if (fd < 0)
		err(1, "open");
	if (ioctl(fd, SHMBUF_IOC_INFO, &info))
		err(1, "INFO");
	words = info.size / 4;
	copy = malloc(info.size);
	map = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (!copy || map == MAP_FAILED)
		err(1, "mmap");

	/* The classic program. */
	for (size_t i = 0; i < words; i++) {
		if (map[i])
			errx(1, "mapping: word %zu is not zero", i);
	}
	store(1);
	if (pread(fd, copy, info.size, 0) != (ssize_t)info.size)
		err(1, "pread");
	for (size_t i = 0; i < words; i++) {
		if (copy[i] != 1 + i)
			errx(1, "pread: word %zu is wrong", i);
		copy[i] = 2 + i;
	}
	if (pwrite(fd, copy, info.size, 0) != (ssize_t)info.size)
		err(1, "pwrite");
	load(2);

	/* With a device. */
	for (uint32_t seed = 3; seed < 3 + ROUNDS; seed++) {
		store(seed);
		sync_buffer(SHMBUF_SYNC_END);
		device(coherence_device_reads);
		device(coherence_device_writes);
		sync_buffer(SHMBUF_SYNC_START);
		load(seed);
	}
	return 0;
}
