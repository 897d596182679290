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
#include "../../tools/coherence/hint.h"

/*
 * An interrupt at the right moment does what a broken driver does not: it
 * drains the write buffer. It will not come each time.
 */
#define ROUNDS 8

static int fd;
static volatile uint32_t *map;
static size_t words;

static void *map_all(int file)
{
	void *start = mmap(NULL, words * 4, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

	if (start == MAP_FAILED)
		err(1, "mmap");
	return start;
}

static void sync_buffer(uint32_t flags)
{
	struct shmbuf_sync sync = { .length = words * 4, .flags = flags | SHMBUF_SYNC_RW };

	if (ioctl(fd, SHMBUF_IOC_SYNC, &sync))
		err(1, "SYNC");
}

static void store(volatile uint32_t *to, uint32_t seed)
{
	for (size_t i = 0; i < words; i++)
		to[i] = seed + i;
}

static void load(const volatile uint32_t *from, uint32_t seed)
{
	for (size_t i = 0; i < words; i++) {
		if (from[i] != seed + i)
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

static void copy_all(int to, int from)
{
	struct shmbuf_copy copy = { .src_fd = from, .length = words * 4 };

	if (ioctl(to, SHMBUF_IOC_COPY, &copy))
		err(1, "COPY");
}

/* The machine's engine, to and from a buffer of single pages. */
static void engine(void)
{
	struct shmbuf_alloc alloc = {
		.size = words * 4,
		.kind = SHMBUF_KIND_SCATTER,
		.policy = SHMBUF_POLICY_DEFAULT,
	};
	int other = ioctl(fd, SHMBUF_IOC_ALLOC, &alloc);
	volatile uint32_t *aside;

	if (other < 0)
		err(1, "ALLOC");
	aside = map_all(other);
	for (uint32_t seed = 100; seed < 100 + ROUNDS; seed++) {
		store(map, seed);
		/* Lines that the engine's bytes must not meet. */
		store(aside, 0);
		copy_all(other, fd);
		load(aside, seed);
		store(aside, seed + 1);
		store(map, 0);
		copy_all(fd, other);
		load(map, seed + 1);
	}
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
	if (!copy)
		err(1, "malloc");
	map = map_all(fd);

	/* The classic program. */
	for (size_t i = 0; i < words; i++) {
		if (map[i])
			errx(1, "mapping: word %zu is not zero", i);
	}
	store(map, 1);
	if (pread(fd, copy, info.size, 0) != (ssize_t)info.size)
		err(1, "pread");
	for (size_t i = 0; i < words; i++) {
		if (copy[i] != 1 + i)
			errx(1, "pread: word %zu is wrong", i);
		copy[i] = 2 + i;
	}
	if (pwrite(fd, copy, info.size, 0) != (ssize_t)info.size)
		err(1, "pwrite");
	load(map, 2);

	/* With a device. */
	for (uint32_t seed = 3; seed < 3 + ROUNDS; seed++) {
		store(map, seed);
		sync_buffer(SHMBUF_SYNC_END);
		device(coherence_device_reads);
		device(coherence_device_writes);
		sync_buffer(SHMBUF_SYNC_START);
		load(map, seed);
	}

	if (info.engine[0])
		engine();
	return 0;
}
