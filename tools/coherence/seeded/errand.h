/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * /dev/coherence-test: a case runs in one thread of the program, within
 * COHERENCE_RUN, and asks for what the program has to do, which another thread
 * gets from COHERENCE_NEXT and does. read(2) gives the list of cases, a line
 * each, in the order of their numbers, which begin with 0: the name, and what a
 * checker has to report on the core that this runs on.
 */
#ifndef COHERENCE_ERRAND_H
#define COHERENCE_ERRAND_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* What the program has to do. */
enum coherence_what {
	COHERENCE_END,		/* nothing more: the case has ended */
	COHERENCE_MAP,		/* mmap() a page of the device, shared */
	COHERENCE_MAP_OWN,	/* or one of its own memory; the answer is its address */
	COHERENCE_UNMAP,	/* munmap() it */
	COHERENCE_STORE,	/* store value in the page's word of this number */
	COHERENCE_LOAD,		/* load it; the answer is what was there */
	/* What these do is said in run.c. The answer is 1 if all was right, else 0. */
	COHERENCE_FORK,
	COHERENCE_PAGE_CACHE,
	COHERENCE_CODE,
	COHERENCE_CODE_FLUSHED,
};

struct coherence_errand {
	__u32 what;
	__u32 word;		/* its number in the page */
	__u32 value;		/* of a store; and the answer, on the next call */
};

#define COHERENCE_RUN	_IO(0xcc, 1)	/* the argument is the case's number */
#define COHERENCE_NEXT	_IOWR(0xcc, 2, struct coherence_errand)

#endif
