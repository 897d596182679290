// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Writes a pattern through a mapping and verifies it with read(2), then the
 * other way round with write(2). pattern/ is the same in Rust.
 *
 * Without --policy and --sync it is the classic program, which makes no
 * ioctl: open, mmap, store, read.
 *
 * Exit status: 0 all right, 1 wrong data, 2 refused by the kernel, 64 usage.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "../include/uapi/shmbuf.h"

static const char *const kinds[] = {
	[SHMBUF_KIND_PAGES] = "pages",
	[SHMBUF_KIND_COHERENT] = "coherent",
	[SHMBUF_KIND_STREAMING] = "streaming",
	[SHMBUF_KIND_SCATTER] = "scatter",
	[SHMBUF_KIND_POOL] = "pool",
	[SHMBUF_KIND_REGION] = "region",
};

#define POLICIES 4

static const char *const policies[POLICIES] = {
	[SHMBUF_POLICY_WRITEBACK] = "writeback",
	[SHMBUF_POLICY_WRITETHROUGH] = "writethrough",
	[SHMBUF_POLICY_WRITECOMBINE] = "writecombine",
	[SHMBUF_POLICY_NONCACHED] = "noncached",
};

static const char *asked = "-";	/* the policy of --policy */
static int fd;
static volatile uint32_t *map;	/* others change it: no memcpy() from here */
static size_t size;		/* bytes, a multiple of the page size */
static bool owned;		/* by the CPU and a device by turns: SYNC hands it over */

/* The kernel refused. */
static void refused(const char *what)
{
	const char *name = strerrorname_np(errno);

	printf("%s: %s: %s\n", what, name, strerror(errno));
	printf("result: policy=%s refused=%s\n", asked, name);
	exit(2);
}

static void *allocate(size_t bytes)
{
	void *memory = malloc(bytes);

	if (!memory)
		refused("malloc");
	return memory;
}

/* The word at an offset; different for all offsets of a seed. */
static uint32_t mix(uint32_t seed, uint32_t offset)
{
	uint32_t x = seed ^ offset * 0x9e3779b1u;

	x = (x ^ x >> 16) * 0x21f0aaad;
	x = (x ^ x >> 15) * 0x735a2d97;
	return x ^ x >> 15;
}

static uint8_t pattern_byte(uint32_t seed, size_t at)
{
	uint32_t word = mix(seed, at & ~(size_t)3);

	return ((uint8_t *)&word)[at & 3];
}

/* An odd length, so that most pieces begin and end at odd offsets. */
static size_t piece_length(uint32_t seed, size_t at)
{
	size_t length = mix(seed, at) % 8192 | 1;

	return length < size - at ? length : size - at;
}

/* Begins (SHMBUF_SYNC_START) or ends an access of the CPU. */
static void sync_buffer(uint32_t flags)
{
	struct shmbuf_sync sync = { .length = size, .flags = flags };

	if (owned && ioctl(fd, SHMBUF_IOC_SYNC, &sync))
		refused("SYNC");
}

/* The whole buffer as read(2) shows it, in pieces. */
static void read_all(uint8_t *to, uint32_t seed)
{
	size_t at, length;

	sync_buffer(SHMBUF_SYNC_READ | SHMBUF_SYNC_START);
	for (at = 0; at < size; at += length) {
		ssize_t n;

		length = piece_length(seed, at);
		n = pread(fd, to + at, length, at);
		if (n < 0)
			refused("read");
		if ((size_t)n < length) {
			printf("read: fewer bytes than the buffer has\n");
			exit(1);
		}
	}
	sync_buffer(SHMBUF_SYNC_READ | SHMBUF_SYNC_END);
}

/* The whole buffer as the mapping shows it. */
static void load_all(uint8_t *to)
{
	size_t at;

	sync_buffer(SHMBUF_SYNC_READ | SHMBUF_SYNC_START);
	for (at = 0; at < size; at += 4) {
		uint32_t word = map[at / 4];

		memcpy(to + at, &word, 4);
	}
	sync_buffer(SHMBUF_SYNC_READ | SHMBUF_SYNC_END);
}

/* Writes a pattern with write(2), in pieces. */
static void write_pattern(uint32_t seed)
{
	uint8_t piece[8192];
	size_t at, i, length;

	sync_buffer(SHMBUF_SYNC_WRITE | SHMBUF_SYNC_START);
	for (at = 0; at < size; at += length) {
		length = piece_length(seed, at);
		for (i = 0; i < length; i++)
			piece[i] = pattern_byte(seed, at + i);
		if (pwrite(fd, piece, length, at) < 0)
			refused("write");
	}
	sync_buffer(SHMBUF_SYNC_WRITE | SHMBUF_SYNC_END);
}

/* Writes a pattern through the mapping. */
static void store_pattern(uint32_t seed)
{
	size_t at;

	sync_buffer(SHMBUF_SYNC_WRITE | SHMBUF_SYNC_START);
	for (at = 0; at < size; at += 4)
		map[at / 4] = mix(seed, at);
	sync_buffer(SHMBUF_SYNC_WRITE | SHMBUF_SYNC_END);
}

/* Compares what one side sees, and saw before the write, with the pattern. */
static bool check(const char *direction, uint32_t seed, const uint8_t *before,
		  const uint8_t *got)
{
	size_t at, i, first = 0, wrong = 0, stale = 0, zero = 0, there = 0;

	for (at = 0; at < size; at += 4) {
		uint32_t word = mix(seed, at);

		there += !memcmp(before + at, &word, 4);
		if (!memcmp(got + at, &word, 4))
			continue;
		for (i = at; i < at + 4; i++) {
			if (got[i] == pattern_byte(seed, i))
				continue;
			if (!wrong++)
				first = i;
			stale += got[i] == before[i];
			zero += got[i] == 0;
		}
	}

	printf("%-20s seed %u: ", direction, seed);
	if (there > 8)	/* a few words may agree by chance */
		printf("WRONG: the pattern was there before it was written\n");
	else if (wrong)
		printf("WRONG at byte %#zx: expected 0x%02x, got 0x%02x; %zu of %zu bytes wrong: %zu as before the write (stale), %zu zero\n",
		       first, pattern_byte(seed, first), got[first], wrong,
		       size, stale, zero);
	else
		printf("ok\n");
	return there <= 8 && !wrong;
}

static void print_info(const struct shmbuf_info *info)
{
	const char *space = "";
	unsigned int i;

	printf("kind:        %s\n", kinds[info->kind]);
	printf("policy:      %s\n", policies[info->policy]);
	printf("memory type: %s\n", info->memory_type);
	printf("policies:    ");
	for (i = 0; i < POLICIES; i++) {
		if (info->policies & 1u << i) {
			printf("%s%s", space, policies[i]);
			space = " ";
		}
	}
	printf("\nsize:        %llu bytes\n", (unsigned long long)info->size);
	printf("owner:       %s\n", info->owner ? "device" : "cpu");
	printf("cache line:  %u bytes\n", info->cache_line);
	printf("mappings:    %u\n", info->mappings);
	printf("aliased:     %s\n",
	       info->flags & SHMBUF_INFO_ALIASED ? "true" : "false");
	if (info->flags & SHMBUF_INFO_PHYS_ADDR)
		printf("physical:    %#llx\n",
		       (unsigned long long)info->phys_addr);
	if (info->flags & SHMBUF_INFO_DMA_ADDR)
		printf("dma:         %#llx for %s\n",
		       (unsigned long long)info->dma_addr, info->dma_device);
}

/* The mapping's line of /proc/self/maps. */
static void print_maps_line(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char start[24], line[512];

	snprintf(start, sizeof(start), "%08lx-", (unsigned long)map);
	while (maps && fgets(line, sizeof(line), maps)) {
		if (!strncmp(line, start, strlen(start)))
			printf("mapping:     %s", line);
	}
	if (maps)
		fclose(maps);
}

/* The policy of that name; POLICIES if there is none. */
static uint32_t find_policy(const char *name)
{
	uint32_t policy = 0;

	while (policy < POLICIES && strcmp(name, policies[policy]))
		policy++;
	return policy;
}

static void usage(int status)
{
	fprintf(status ? stderr : stdout,
		"usage: shmbuf-pattern-c [--buffer PATH] [--policy POLICY] [--sync] [--seed N] [--info]\n");
	exit(status);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "buffer", required_argument, NULL, 'b' },
		{ "policy", required_argument, NULL, 'p' },
		/* What older scripts have. */
		{ "device", required_argument, NULL, 'b' },
		{ "set-cache", required_argument, NULL, 'p' },
		{ "sync", no_argument, NULL, 's' },
		{ "seed", required_argument, NULL, 'n' },
		{ "info", no_argument, NULL, 'i' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	struct shmbuf_set_cache set = { .policy = 0 };
	struct shmbuf_info info = { .kind = 0 };
	bool set_cache = false, sync = false, only_info = false;
	bool to_read, to_mapping;
	const char *path = "/dev/shmbuf";
	uint8_t *before, *got;
	uint32_t seed;
	int option;

	if (getrandom(&seed, sizeof(seed), GRND_INSECURE) != sizeof(seed))
		refused("getrandom");

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'b':
			path = optarg;
			break;
		case 'p':
			set_cache = true;
			asked = optarg;
			set.policy = find_policy(optarg);
			if (set.policy == POLICIES)
				usage(64);
			break;
		case 's':
			sync = true;
			break;
		case 'n':
			seed = strtoul(optarg, NULL, 10);
			break;
		case 'i':
			only_info = true;
			break;
		case 'h':
			usage(0);
			break;
		default:
			usage(64);
		}
	}
	if (optind < argc)
		usage(64);

	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		refused(path);
	size = lseek(fd, 0, SEEK_END);
	if (set_cache && ioctl(fd, SHMBUF_IOC_SET_CACHE, &set))
		refused("SET_CACHE");
	if (set_cache || sync || only_info) {
		if (ioctl(fd, SHMBUF_IOC_INFO, &info))
			refused("INFO");
		print_info(&info);
		owned = info.kind == SHMBUF_KIND_STREAMING || info.kind == SHMBUF_KIND_SCATTER;
	} else {
		printf("size:        %zu bytes\n", size);
	}
	if (only_info)
		return 0;

	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		refused("mmap");
	print_maps_line();

	before = allocate(size);
	got = allocate(size);

	read_all(before, seed);
	store_pattern(seed);
	read_all(got, seed);
	to_read = check("mapping to read(2):", seed, before, got);

	seed = mix(seed, 1);
	load_all(before);
	write_pattern(seed);
	load_all(got);
	to_mapping = check("write(2) to mapping:", seed, before, got);

	/* Leave it to the CPU, as it was. */
	sync_buffer(SHMBUF_SYNC_RW | SHMBUF_SYNC_START);

	sync = set_cache || sync;
	printf("result: kind=%s policy=%s type=\"%s\" bytes=%zu mapping-to-read=%s write-to-mapping=%s\n",
	       sync ? kinds[info.kind] : "-", sync ? policies[info.policy] : "-",
	       sync ? info.memory_type : "-", size,
	       to_read ? "ok" : "failed", to_mapping ? "ok" : "failed");
	return to_read && to_mapping ? 0 : 1;
}
