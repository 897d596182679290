/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What a C program does with a mapping of a buffer, of any memory type: copies
 * that are fast where memory is not cached, and SYNC of a range that need not
 * consist of whole cache lines. Everything is static inline; there is no library.
 *
 * Memory that is not cached takes a transaction on the bus for each load, so a
 * loop over bytes takes 32 times as many as these copies, which move 32 bytes by
 * one instruction where the processor has one. Strongly-ordered and Device memory
 * (the policy noncached on ARMv6 and later) raises a bus error if an access is
 * not aligned, and memcpy(3) makes such accesses. These copies access the buffer
 * only by aligned words, with bytes at the ends, and nothing outside the range.
 * They access nothing twice, unless an interrupt comes in between.
 *
 * Where the width of each access matters, as in kind region
 * (shmbuf_info.access_width), use read(2) and write(2).
 */
#ifndef SHMBUF_HELPERS_H
#define SHMBUF_HELPERS_H

#include <errno.h>
#include <shmbuf.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>

/* What one load or store moves, whatever the program has in that memory. */
typedef uintptr_t __attribute__((__may_alias__)) shmbuf_word;

/* Bytes that shmbuf_move_burst() moves. */
#define SHMBUF_BURST 32

/* Move a burst between two addresses that are multiples of the word. */
static inline void shmbuf_move_burst(volatile void *to, const volatile void *from)
{
#if defined(__arm__) && (!defined(__thumb__) || defined(__thumb2__))
	/* Registers that no compiler reserves for itself. */
	__asm__ __volatile__("ldmia %1, {r2-r5, r8, r10, r12, lr}\n\t"
			     "stmia %0, {r2-r5, r8, r10, r12, lr}"
			     : : "r"(to), "r"(from)
			     : "r2", "r3", "r4", "r5", "r8", "r10", "r12", "lr", "memory");
#elif defined(__aarch64__)
	uint64_t a, b, c, d;

	__asm__ __volatile__("ldp %0, %1, [%5]\n\t"
			     "ldp %2, %3, [%5, #16]\n\t"
			     "stp %0, %1, [%4]\n\t"
			     "stp %2, %3, [%4, #16]"
			     : "=&r"(a), "=&r"(b), "=&r"(c), "=&r"(d)
			     : "r"(to), "r"(from) : "memory");
#else
	size_t i;

	for (i = 0; i < SHMBUF_BURST / sizeof(shmbuf_word); i++)
		((volatile shmbuf_word *)to)[i] = ((const volatile shmbuf_word *)from)[i];
#endif
}

/* Bytes up to the next multiple of a power of two, or to the end. */
static inline size_t shmbuf_up_to(const volatile void *address, size_t multiple, size_t length)
{
	size_t bytes = -(uintptr_t)address & (multiple - 1);

	return bytes < length ? bytes : length;
}

static inline void shmbuf_load_words(unsigned char *to, const volatile unsigned char *from,
				     size_t length)
{
	size_t i;

	for (i = 0; i < length; i += sizeof(shmbuf_word)) {
		shmbuf_word word = *(const volatile shmbuf_word *)(from + i);

		memcpy(to + i, &word, sizeof(word));
	}
}

static inline void shmbuf_store_words(volatile unsigned char *to, const unsigned char *from,
				      size_t length)
{
	size_t i;

	for (i = 0; i < length; i += sizeof(shmbuf_word)) {
		shmbuf_word word;

		memcpy(&word, from + i, sizeof(word));
		*(volatile shmbuf_word *)(to + i) = word;
	}
}

/**
 * shmbuf_copy_from() - copy from a mapping of a buffer to other memory
 * @to: any address that is not in such a mapping
 * @from: any address in the mapping
 * @length: bytes
 */
static inline void shmbuf_copy_from(void *to, const volatile void *from, size_t length)
{
	const volatile unsigned char *f = (const volatile unsigned char *)from;
	unsigned char *t = (unsigned char *)to;
	size_t bytes = shmbuf_up_to(f, sizeof(shmbuf_word), length);
	size_t words, bursts, i;

	for (i = 0; i < bytes; i++)
		t[i] = f[i];
	t += bytes;
	f += bytes;
	length -= bytes;
	words = shmbuf_up_to(f, SHMBUF_BURST, length & -sizeof(shmbuf_word));
	shmbuf_load_words(t, f, words);
	t += words;
	f += words;
	length -= words;
	bursts = length & -(size_t)SHMBUF_BURST;
	for (i = 0; i < bursts; i += SHMBUF_BURST) {
		shmbuf_word burst[SHMBUF_BURST / sizeof(shmbuf_word)];

		shmbuf_move_burst(burst, f + i);
		memcpy(t + i, burst, sizeof(burst));
	}
	t += bursts;
	f += bursts;
	length -= bursts;
	words = length & -sizeof(shmbuf_word);
	shmbuf_load_words(t, f, words);
	for (i = words; i < length; i++)
		t[i] = f[i];
}

/**
 * shmbuf_copy_to() - copy from other memory to a mapping of a buffer
 * @to: any address in the mapping
 * @from: any address that is not in such a mapping
 * @length: bytes
 */
static inline void shmbuf_copy_to(volatile void *to, const void *from, size_t length)
{
	const unsigned char *f = (const unsigned char *)from;
	volatile unsigned char *t = (volatile unsigned char *)to;
	size_t bytes = shmbuf_up_to(t, sizeof(shmbuf_word), length);
	size_t words, bursts, i;

	for (i = 0; i < bytes; i++)
		t[i] = f[i];
	t += bytes;
	f += bytes;
	length -= bytes;
	words = shmbuf_up_to(t, SHMBUF_BURST, length & -sizeof(shmbuf_word));
	shmbuf_store_words(t, f, words);
	t += words;
	f += words;
	length -= words;
	bursts = length & -(size_t)SHMBUF_BURST;
	for (i = 0; i < bursts; i += SHMBUF_BURST) {
		shmbuf_word burst[SHMBUF_BURST / sizeof(shmbuf_word)];

		memcpy(burst, f + i, sizeof(burst));
		shmbuf_move_burst(t + i, burst);
	}
	t += bursts;
	f += bursts;
	length -= bursts;
	words = length & -sizeof(shmbuf_word);
	shmbuf_store_words(t, f, words);
	for (i = words; i < length; i++)
		t[i] = f[i];
}

/**
 * shmbuf_sync_lines() - SYNC of the cache lines that hold a range
 * @fd: a handle of the buffer
 * @info: what SHMBUF_IOC_INFO has told of it
 * @offset: bytes
 * @length: bytes, not zero
 * @flags: as in struct shmbuf_sync
 *
 * Return: -1 with errno, as ioctl(2); else how many bytes of the buffer are in
 * these lines beside the range. More than zero is a warning: SYNC did to those
 * bytes what it did to the range, so whoever has them must not access them
 * meanwhile, and afterwards they have the owner of the range.
 */
static inline __attribute__((__warn_unused_result__)) int
shmbuf_sync_lines(int fd, const struct shmbuf_info *info, uint64_t offset, uint64_t length,
		  uint32_t flags)
{
	uint64_t line = info->cache_line;
	struct shmbuf_sync sync;
	uint64_t end;

	if (!length) {
		errno = EINVAL;
		return -1;
	}
	if (offset > info->size || length > info->size - offset) {
		errno = ERANGE;
		return -1;
	}
	memset(&sync, 0, sizeof(sync));
	sync.offset = offset - offset % line;
	end = offset + length + (line - 1);
	end -= end % line;
	if (end > info->size)
		end = info->size;
	sync.length = end - sync.offset;
	sync.flags = flags;
	if (ioctl(fd, SHMBUF_IOC_SYNC, &sync))
		return -1;
	return (int)(sync.length - length);
}

#endif /* SHMBUF_HELPERS_H */
