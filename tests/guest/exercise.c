// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * exercise [NAME]: what a program and a device do with the buffer of /dev/shmbuf, or
 * of /dev/shmbuf-NAME, a few times around, for the coherence checker to watch. Every
 * value is right here, since the emulator has no caches; the checker says what caches
 * would have done.
 *
 * The device is played by hints to the checker. It gets the buffer by SYNC and
 * reads all of it, then writes all of it. In a ring it has some slots of the
 * buffer, while the program works in the others. And it reads what fsync(2),
 * msync(2) and O_DSYNC have brought to memory, without being given it. In the end
 * it has memory of another driver, of the system's heap.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/dma-heap.h>

#include "../../include/uapi/shmbuf.h"
#include "../../tools/coherence/hint.h"

/*
 * An interrupt at the right moment does what a broken driver does not: it
 * drains the write buffer. It will not come each time.
 */
#define ROUNDS 8

/* Where the buffer is in /dev, and in debugfs. */
static const char *node = "/dev/shmbuf", *folder = "default";

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

static void sync_range(size_t offset, size_t length, uint32_t flags)
{
	struct shmbuf_sync sync = {
		.offset = offset,
		.length = length,
		.flags = flags | SHMBUF_SYNC_RW,
	};

	if (ioctl(fd, SHMBUF_IOC_SYNC, &sync))
		err(1, "SYNC");
}

static void store_some(volatile uint32_t *to, size_t count, uint32_t seed)
{
	for (size_t i = 0; i < count; i++)
		to[i] = seed + i;
}

static void load_some(const volatile uint32_t *from, size_t count, uint32_t seed)
{
	for (size_t i = 0; i < count; i++) {
		if (from[i] != seed + i)
			errx(1, "mapping: word %zu is wrong", i);
	}
}

static void store(volatile uint32_t *to, uint32_t seed)
{
	store_some(to, words, seed);
}

static void load(const volatile uint32_t *from, uint32_t seed)
{
	load_some(from, words, seed);
}

/* Where the buffer's memory lies, each part physically contiguous. */
static struct run {
	unsigned long offset, address, length;
} runs[64];

static size_t count_of_runs;

static void find_runs(void)
{
	char name[100];
	FILE *pages;
	struct run run;
	size_t all = 0;

	snprintf(name, sizeof(name), "/sys/kernel/debug/shmbuf/%s/pages", folder);
	pages = fopen(name, "r");
	if (!pages)
		err(1, "%s", name);
	while (fscanf(pages, " offset %lx physical %lx length %lx", &run.offset, &run.address,
		      &run.length) == 3) {
		if (count_of_runs == sizeof(runs) / sizeof(*runs))
			errx(1, "%s has too many lines", name);
		runs[count_of_runs++] = run;
		all += run.length;
	}
	fclose(pages);
	if (all != words * 4)
		errx(1, "%s has %zu bytes", name, all);
}

typedef void touches(unsigned long address, unsigned long bytes);

/* What the device does to a range of the buffer, wherever it lies. */
static void device(touches *touches, size_t offset, size_t length)
{
	for (size_t i = 0; i < count_of_runs; i++) {
		unsigned long start = runs[i].offset, end = start + runs[i].length;

		if (start < offset)
			start = offset;
		if (end > offset + length)
			end = offset + length;
		if (start < end)
			touches(runs[i].address + start - runs[i].offset, end - start);
	}
}

/* Whether there is an engine that did it. */
static bool copy_all(int to, int from)
{
	struct shmbuf_copy copy = { .src_fd = from, .length = words * 4 };

	if (!ioctl(to, SHMBUF_IOC_COPY, &copy))
		return true;
	if (errno != EOPNOTSUPP)
		err(1, "COPY");
	return false;
}

/* The machine's engine, if there is one, to and from a buffer of single pages. */
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
		if (!copy_all(other, fd))
			return;
		load(aside, seed);
		store(aside, seed + 1);
		store(map, 0);
		if (!copy_all(fd, other))
			errx(1, "the engine is gone");
		load(map, seed + 1);
	}
}

#define SLOTS 5
#define SLOT_WORDS 256
#define TURNS 1000

/*
 * A ring: the device has some slots of the buffer while the program stores and
 * loads in the others. They come and go in random order, and share pages.
 */
static void ring(void)
{
	uint32_t seeds[SLOTS] = { 0 };
	int lent[SLOTS] = { 0 };
	const size_t bytes = SLOT_WORDS * 4;

	/* Each page has the end of one slot and the beginning of the next. */
	for (int slot = 0; slot < SLOTS; slot++)
		store_some(map + slot * 3 * SLOT_WORDS, SLOT_WORDS, 0);
	for (uint32_t turn = 1; turn <= TURNS; turn++) {
		int slot = random() % SLOTS;
		volatile uint32_t *at = map + slot * 3 * SLOT_WORDS;
		size_t offset = slot * 3 * bytes;

		if (lent[slot]) {
			device(coherence_device_writes, offset, bytes);
			sync_range(offset, bytes, SHMBUF_SYNC_START);
			load_some(at, SLOT_WORDS, seeds[slot]);
		} else {
			seeds[slot] = turn * SLOT_WORDS;
			store_some(at, SLOT_WORDS, seeds[slot]);
			sync_range(offset, bytes, SHMBUF_SYNC_END);
			device(coherence_device_reads, offset, bytes);
		}
		lent[slot] = !lent[slot];

		slot = random() % SLOTS;
		if (!lent[slot]) {
			at = map + slot * 3 * SLOT_WORDS;
			load_some(at, SLOT_WORDS, seeds[slot]);
			/* What a START of another slot may not take away. */
			seeds[slot] = turn * SLOT_WORDS + 1;
			store_some(at, SLOT_WORDS, seeds[slot]);
		}
	}
	for (int slot = 0; slot < SLOTS; slot++) {
		volatile uint32_t *at = map + slot * 3 * SLOT_WORDS;

		if (lent[slot])
			sync_range(slot * 3 * bytes, bytes, SHMBUF_SYNC_START);
		load_some(at, SLOT_WORDS, seeds[slot]);
	}
}

/* Bring the buffer to memory, as a program does that knows nothing of SYNC. */
static void settle(uint32_t how)
{
	if (how % 2 ? fsync(fd) : msync((void *)map, words * 4, MS_SYNC))
		err(1, "%s", how % 2 ? "fsync" : "msync");
}

/* Write all of the buffer through a handle whose writes are synchronous. */
static void write_through(int synchronous, uint32_t *copy, uint32_t seed)
{
	for (size_t i = 0; i < words; i++)
		copy[i] = seed + i;
	if (pwrite(synchronous, copy, words * 4, 0) != (ssize_t)words * 4)
		err(1, "pwrite");
}

/* Where the buffer's device finds it. */
static void find_segments(void)
{
	struct shmbuf_segment segment = { 0 };

	for (count_of_runs = 0; segment.offset < words * 4; segment.offset += segment.length) {
		segment.length = 0;
		segment.dma_addr = 0;
		if (ioctl(fd, SHMBUF_IOC_SEGMENT, &segment))
			err(1, "SEGMENT");
		if (count_of_runs == sizeof(runs) / sizeof(*runs))
			errx(1, "too many segments");
		runs[count_of_runs++] = (struct run){
			segment.offset, segment.dma_addr, segment.length,
		};
	}
}

/* A dma-buf of the system's heap, which another device has too, as it were. */
static void imported(uint32_t *copy)
{
	struct dma_heap_allocation_data heap = { .len = words * 4, .fd_flags = O_RDWR };
	struct shmbuf_import import = { 0 };
	int system = open("/dev/dma_heap/system", O_RDONLY);

	if (system < 0 || ioctl(system, DMA_HEAP_IOCTL_ALLOC, &heap))
		err(1, "heap");
	map = map_all(heap.fd);
	import.fd = heap.fd;
	fd = ioctl(fd, SHMBUF_IOC_IMPORT, &import);
	if (fd < 0)
		err(1, "IMPORT");
	find_segments();
	for (uint32_t seed = 400; seed < 400 + ROUNDS; seed++) {
		sync_range(0, words * 4, SHMBUF_SYNC_START);
		store(map, seed);
		sync_range(0, words * 4, SHMBUF_SYNC_END);
		device(coherence_device_reads, 0, words * 4);
		device(coherence_device_writes, 0, words * 4);
		sync_range(0, words * 4, SHMBUF_SYNC_START);
		load(map, seed);
		write_through(fd, copy, seed + 1);
		load(map, seed + 1);
		store(map, seed);
		if (pread(fd, copy, words * 4, 0) != (ssize_t)words * 4 || copy[1] != seed + 1)
			errx(1, "pread");
		sync_range(0, words * 4, SHMBUF_SYNC_END);
	}
	/* What the program stored before the import ended. */
	sync_range(0, words * 4, SHMBUF_SYNC_START);
	store(map, 500);
	close(fd);
	load(map, 500);
}

int main(int argc, char **argv)
{
	struct shmbuf_info info = { 0 };
	char named[100];
	int synchronous;
	uint32_t *copy;

	if (argc > 1) {
		folder = argv[1];
		snprintf(named, sizeof(named), "/dev/shmbuf-%s", folder);
		node = named;
	}
	fd = open(node, O_RDWR);
	if (fd < 0)
		err(1, "%s", node);
	if (ioctl(fd, SHMBUF_IOC_INFO, &info))
		err(1, "INFO");
	words = info.size / 4;
	copy = malloc(info.size);
	if (!copy)
		err(1, "malloc");
	map = map_all(fd);
	find_runs();

	/* The classic program. */
	for (size_t i = 0; i < words; i++) {
		/* The contents of a region are the device's. */
		if (map[i] && info.kind != SHMBUF_KIND_REGION)
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
		sync_range(0, info.size, SHMBUF_SYNC_END);
		device(coherence_device_reads, 0, info.size);
		device(coherence_device_writes, 0, info.size);
		sync_range(0, info.size, SHMBUF_SYNC_START);
		load(map, seed);
	}
	ring();
	for (uint32_t seed = 200; seed < 200 + ROUNDS; seed++) {
		store(map, seed);
		settle(seed);
		device(coherence_device_reads, 0, info.size);
		load(map, seed);
	}
	synchronous = open(node, O_RDWR | O_DSYNC);
	if (synchronous < 0)
		err(1, "open");
	for (uint32_t seed = 300; seed < 300 + ROUNDS; seed++) {
		write_through(synchronous, copy, seed);
		device(coherence_device_reads, 0, info.size);
		load(map, seed);
	}

	engine();
	imported(copy);
	return 0;
}
