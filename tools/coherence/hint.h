/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Hints to the coherence checker, from a kernel module or a program, in ARM or
 * Thumb code: what a device does that the checker cannot watch, and which test
 * begins. Where the plugin counts instead of checking, what to count.
 *
 * A hint is the instruction "mov r9, r9" with a number that marks it in r0.
 * Without the checker it does nothing, on any ARM core. No compiler emits it.
 * It is no barrier: what the device sees is for the caller to see to.
 */
#ifndef COHERENCE_HINT_H
#define COHERENCE_HINT_H

/* The plugin and programs in Rust derive theirs from these lines. */
enum coherence_hint {
	COHERENCE_DEVICE_READS = 0xcac4e001,
	COHERENCE_DEVICE_WRITES = 0xcac4e002,
	COHERENCE_LABEL = 0xcac4e003,
	COHERENCE_COUNT_BEGIN = 0xcac4e004,
	COHERENCE_COUNT_END = 0xcac4e005,
	COHERENCE_AS_DEVICE = 0xcac4e006,
	COHERENCE_COUNT_PREEMPTION = 0xcac4e007,
	COHERENCE_COUNT_YIELDS = 0xcac4e008,
};

/* Elsewhere there is nobody to take a hint, and the numbers are all there is. */
#ifdef __arm__

static inline void coherence_hint(enum coherence_hint hint, unsigned long first,
				  unsigned long second)
{
	register unsigned long r0 __asm__("r0") = hint;
	register unsigned long r1 __asm__("r1") = first;
	register unsigned long r2 __asm__("r2") = second;

	__asm__ __volatile__("mov r9, r9" : : "r"(r0), "r"(r1), "r"(r2) : "memory");
}

/*
 * A device reads these bytes of physical memory now. If it looks there by itself, and goes by
 * a bit which it finds in a descriptor: all of the descriptor.
 */
static inline void coherence_device_reads(unsigned long address, unsigned long bytes)
{
	coherence_hint(COHERENCE_DEVICE_READS, address, bytes);
}

/* A device writes them now. */
static inline void coherence_device_writes(unsigned long address, unsigned long bytes)
{
	coherence_hint(COHERENCE_DEVICE_WRITES, address, bytes);
}

/*
 * The CPU plays a device: loads and stores of these pages by these addresses are
 * the device's from now on, and those of pages given before are no more. Nobody
 * else may use the addresses meanwhile. No bytes: it plays none.
 */
static inline void coherence_as_device(const volatile void *address, unsigned long bytes)
{
	coherence_hint(COHERENCE_AS_DEVICE, (unsigned long)address, bytes);
}

/*
 * Reports carry this label from now on; "" ends it. At most 255 bytes.
 */
static inline void coherence_label(const char *text)
{
	/* Reading all of it makes a program's page present. */
	const volatile char *end = text;

	while (*end)
		end++;
	coherence_hint(COHERENCE_LABEL, (unsigned long)text, end - (const volatile char *)text);
}

#endif /* __arm__ */

#endif
