/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What sender and receiver say to each other. A message hands the buffer over, so the socket is
 * the lock: who has sent one does not touch the buffer until the other's comes. It also says that
 * the other program is gone, which a mutex does not.
 */
#ifndef TURNS_H
#define TURNS_H

#include <stddef.h>
#include <stdint.h>

#define WORDS	16384

/* The first comes with the buffer's handle. */
struct turn {
	uint32_t frame;	/* from 1 on; 0: there are no more */
	uint32_t sum;
};

static inline uint32_t sum_of(const volatile uint32_t *words)
{
	uint32_t sum = 0;
	size_t i;

	for (i = 0; i < WORDS; i++)
		sum = (sum << 1 | sum >> 31) ^ words[i];
	return sum;
}

#endif
