// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * copies NODE: the copies and the SYNC of lib/c at every alignment, in the buffer
 * of a node. Each is compared with a model; what is next to the range stays.
 *
 * copies NODE count: the copies of lib/c, memcpy(3) and a loop over bytes between
 * marks, for a plugin of the emulator that counts.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../lib/c/shmbuf-helpers.h"
#include "../../tools/coherence/hint.h"

/* More than two bursts, at every offset in a burst, and as many before and after. */
#define LONGEST 72
#define AROUND (LONGEST + 2 * SHMBUF_BURST)
/* Offsets of the other memory in a word of 64 bits. */
#define OTHER 8

static int fd;
static struct shmbuf_info info;
static volatile unsigned char *map;

static unsigned char value(size_t i)
{
	return 0x11 * i + 1;
}

/* What is in the mapping, without any copy of the library's or ours. */
static void compare(const unsigned char *model, const char *what, size_t offset, size_t length)
{
	size_t i;

	for (i = 0; i < AROUND; i++) {
		if (map[i] != model[i])
			errx(1, "%s: offset %zu, length %zu: byte %zu is %#x, not %#x",
			     what, offset, length, i, map[i], model[i]);
	}
}

static void check_copy(size_t offset, size_t length, size_t at)
{
	unsigned char model[AROUND], other[AROUND + OTHER], expected[sizeof(other)];
	size_t i;

	memset(model, 0xa5, sizeof(model));
	for (i = 0; i < AROUND; i++)
		map[i] = 0xa5;
	for (i = 0; i < length; i++) {
		model[offset + i] = value(i);
		other[at + i] = value(i);
	}
	shmbuf_copy_to(map + offset, other + at, length);
	compare(model, "copy_to", offset, length);

	memset(other, 0x5a, sizeof(other));
	memset(expected, 0x5a, sizeof(expected));
	for (i = 0; i < length; i++)
		expected[at + i] = value(i);
	shmbuf_copy_from(other + at, map + offset, length);
	if (memcmp(other, expected, sizeof(other)))
		errx(1, "copy_from: offset %zu, length %zu, to %zu", offset, length, at);
	compare(model, "copy_from", offset, length);
}

static void check_copies(void)
{
	size_t offset, length, at;

	for (offset = 0; offset <= SHMBUF_BURST; offset++) {
		for (length = 0; length <= LONGEST; length++) {
			for (at = 0; at < OTHER; at += 1 + length % 3)
				check_copy(offset, length, at);
		}
	}
}

static struct shmbuf_lent lent(void)
{
	struct shmbuf_lent found = { .offset = 0, .length = info.size };

	if (ioctl(fd, SHMBUF_IOC_LENT, &found))
		err(1, "LENT");
	return found;
}

static bool has_owner(void)
{
	return info.kind == SHMBUF_KIND_STREAMING || info.kind == SHMBUF_KIND_SCATTER;
}

/* The range moves with its lines, and what is returned is how many bytes those have besides. */
static void check_range(uint64_t offset, uint64_t length)
{
	uint64_t line = info.cache_line;
	uint64_t first = offset / line * line;
	uint64_t last = (offset + length + line - 1) / line * line;
	int others = last - first - length;
	struct shmbuf_lent found;
	int got;

	got = shmbuf_sync_lines(fd, &info, offset, length, SHMBUF_SYNC_RW | SHMBUF_SYNC_END);
	if (got != others)
		errx(1, "sync_lines: %d, not %d", got, others);
	found = lent();
	if (has_owner() && (found.offset != first || found.length != last - first))
		errx(1, "sync_lines: %llu bytes at %llu are lent, not %llu at %llu",
		     found.length, found.offset, (unsigned long long)(last - first),
		     (unsigned long long)first);
	got = shmbuf_sync_lines(fd, &info, offset, length, SHMBUF_SYNC_RW | SHMBUF_SYNC_START);
	if (got != others)
		errx(1, "sync_lines: %d, not %d", got, others);
	if (lent().length)
		errx(1, "sync_lines: it did not take all back");
}

static void check_refused(uint64_t offset, uint64_t length, int number)
{
	int got = shmbuf_sync_lines(fd, &info, offset, length, SHMBUF_SYNC_RW | SHMBUF_SYNC_END);

	if (got != -1 || errno != number)
		errx(1, "sync_lines: %d and %s, not %s", got, strerrorname_np(errno),
		     strerrorname_np(number));
	if (lent().length)
		errx(1, "sync_lines: it was refused and lent something");
}

static void check_sync(void)
{
	uint64_t line = info.cache_line;
	uint64_t offset, length;

	for (offset = 0; offset <= line; offset += line / 4) {
		for (length = 1; length <= 2 * line; length += line / 4 - 1)
			check_range(offset, length);
	}
	check_range(0, info.size);
	check_range(info.size - 1, 1);
	check_refused(0, 0, EINVAL);
	check_refused(line / 2, 0, EINVAL);
	check_refused(info.size, 1, ERANGE);
	check_refused(info.size - 1, 2, ERANGE);
	check_refused(UINT64_MAX, 1, ERANGE);
	check_refused(1, UINT64_MAX, ERANGE);
	if (shmbuf_sync_lines(fd, &info, 0, 1, SHMBUF_SYNC_END) != -1 || errno != EINVAL)
		errx(1, "sync_lines: neither READ nor WRITE was no error");
}

#ifdef __arm__

/* Bytes of a counted copy. */
#define COUNTED 1024
/* An interrupt may come in between: the round with the fewest accesses counts. */
#define ROUNDS 8

struct way {
	const char *name;
	void (*from)(void *to, const volatile void *from, size_t length);
	void (*to)(volatile void *to, const void *from, size_t length);
};

static void memcpy_from(void *to, const volatile void *from, size_t length)
{
	memcpy(to, (const void *)from, length);
}

static void memcpy_to(volatile void *to, const void *from, size_t length)
{
	memcpy((void *)to, from, length);
}

static void bytes_from(void *to, const volatile void *from, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++)
		((unsigned char *)to)[i] = ((const volatile unsigned char *)from)[i];
}

static void bytes_to(volatile void *to, const void *from, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++)
		((volatile unsigned char *)to)[i] = ((const unsigned char *)from)[i];
}

#define WAYS 3

static const struct way ways[WAYS] = {
	{ "helpers", shmbuf_copy_from, shmbuf_copy_to },
	{ "memcpy", memcpy_from, memcpy_to },
	{ "bytes", bytes_from, bytes_to },
};

static void begin(const char *direction, size_t offset, const char *way)
{
	static char name[64];

	snprintf(name, sizeof(name), "%s at %zu\t%s", direction, offset, way);
	coherence_hint(COHERENCE_COUNT_BEGIN, (unsigned long)name, strlen(name));
}

static void end(void)
{
	coherence_hint(COHERENCE_COUNT_END, 0, 0);
}

static void count(void)
{
	static _Alignas(64) unsigned char other[COUNTED];
	const struct way *way;
	size_t offset, i;

	memset(other, 1, sizeof(other));
	for (offset = 0; offset <= 3; offset += 3) {
		for (i = 0; i < WAYS * ROUNDS; i++) {
			way = &ways[i / ROUNDS];
			begin("to", offset, way->name);
			way->to(map + offset, other, COUNTED);
			end();
			begin("from", offset, way->name);
			way->from(other, map + offset, COUNTED);
			end();
		}
	}
}

#else

static void count(void)
{
	errx(1, "only 32-bit ARM boards have a plugin that counts");
}

#endif

int main(int argc, char **argv)
{
	bool counts = argc == 3 && !strcmp(argv[2], "count");

	memset(&info, 0, sizeof(info));
	if (argc != 2 && !counts)
		errx(64, "copies NODE [count]");
	fd = open(argv[1], O_RDWR);
	if (fd < 0)
		err(1, "%s", argv[1]);
	if (ioctl(fd, SHMBUF_IOC_INFO, &info))
		err(1, "INFO");
	if (info.kind != SHMBUF_KIND_POOL) {
		map = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (map == MAP_FAILED)
			err(1, "mmap");
	}
	if (counts) {
		count();
		return 0;
	}
	if (map)
		check_copies();
	check_sync();
	return 0;
}
