/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a case is, and what it is made of: the kernel's loads and stores, the
 * program's, a device's, and maintenance.
 */
#ifndef COHERENCE_CASE_H
#define COHERENCE_CASE_H

#include <linux/cacheflush.h>
#include <linux/compiler.h>
#include <linux/dma-mapping.h>
#include <linux/io.h>
#include <linux/irqflags.h>
#include <linux/mm_types.h>
#include <linux/types.h>
#include <asm/cputype.h>
#include <asm/outercache.h>

#include "../hint.h"
#include "errand.h"

/* Bytes in a line of the caches here, inner and outer, and on the core with the longest. */
#define LINE		line_bytes()
#define LONGEST_LINE	64

/* The cache type register of ARMv7 tells; lines are short before that. */
static inline size_t line_bytes(void)
{
	u32 type = read_cpuid_cachetype();

	return type >> 29 == 4 ? 4 << (type >> 16 & 0xf) : 32;
}

/* The memory type of the program's mapping. */
enum type { CACHED, WRITE_COMBINED, NONCACHED };

/* One run of a case. */
struct run {
	struct device *dev;	/* non-coherent, sees memory at its physical address */
	struct page *page;	/* in the linear map, zeroed, in no cache at the beginning */
	u32 *kernel;		/* its cached linear address */
	phys_addr_t pa;		/* its physical address */

	/* What the program may map: a page with a type, or coherent memory. */
	struct page *map_page;
	enum type map_type;
	void *map_coherent;
	dma_addr_t map_dma;
	unsigned long program;	/* the address it mapped it to, or 0 */

	struct coherence_errand errand;
	bool outstanding;	/* the program has it, and has not answered yet */
	struct completion asked, answered;
};

/* What goes wrong, as bits of a set. */
enum hazard {
	STALE_READ = 1,
	LOST_WRITE = 2,
	DIRTY_OVER_DEVICE = 4,
	TWO_TYPES = 8,
	OWNED_TOUCH = 16,
	STALE_INSTRUCTION = 32,
	NOT_DRAINED = 64,
	WRONG_SYNC = 128,
	UNWRITTEN_READ = 256,
	STRAY_DMA = 512,
	TWO_MAPPINGS = 1024,
	NEVER_UNMAPPED = 2048,
	SHARED_LINE = 4096,
};

/* What a checker has to report about a case on a core, and nothing else. */
struct expectation {
	u16 this_core;	/* the core shows these */
	u16 some_core;	/* it does not, but others of its architecture do */
	u16 possible;	/* other names of the same fault */
};

struct coherence_case {
	const char *name;
	/* Returns 0, -EIO for wrong data, -EOPNOTSUPP where it can't be run. */
	int (*run)(struct run *r);
	/* Empty for a right sequence. */
	struct expectation arm926, cortex_a9, cortex_a15;
};

extern const struct coherence_case coherence_faults[];
extern const unsigned int coherence_faults_count;
extern const struct coherence_case coherence_right[];
extern const unsigned int coherence_right_count;

/*
 * The program's part. Each waits until the program has done it. If the program
 * dies meanwhile, program_map() fails and the others do nothing.
 * program_does() returns whether the program found all right.
 */
int program_map(struct run *r, struct page *page, enum type type);
int program_map_coherent(struct run *r, void *cpu, dma_addr_t dma);
int program_map_own(struct run *r);
void program_unmap(struct run *r);
void program_store(struct run *r, u32 word, u32 value);
u32 program_load(struct run *r, u32 word);
bool program_does(struct run *r, enum coherence_what what);

/* Bytes from one DMA address to another. -EOPNOTSUPP: there is no DMA engine. */
int engine_copy(dma_addr_t to, dma_addr_t from, size_t bytes);

/* A device that looks into the caches. -EOPNOTSUPP: a core of this kind has none. */
struct platform_device *snooping_device(void);

/* The registers of a display, to be given back with iounmap(); NULL: there is none. */
void __iomem *display_open(void);
/* Has it read a picture for a moment. */
void display_show(void __iomem *display, dma_addr_t picture, size_t bytes);

/* Loads a word of each line: what is cached is in the cache then. */
static inline void load_lines(const void *from, size_t bytes)
{
	size_t i;

	for (i = 0; i < bytes; i += LINE)
		READ_ONCE(*(const u32 *)(from + i));
}

/*
 * Stores a word to each line. It loads them first, for on a core that does not
 * allocate on stores they would go to memory.
 */
static inline void store_lines(void *to, size_t bytes, u32 value)
{
	size_t i;

	load_lines(to, bytes);
	for (i = 0; i < bytes; i += LINE)
		WRITE_ONCE(*(u32 *)(to + i), value);
}

/* Whether each line begins with this word. */
static inline bool lines_hold(const void *from, size_t bytes, u32 value)
{
	size_t i;

	for (i = 0; i < bytes; i += LINE)
		if (READ_ONCE(*(const u32 *)(from + i)) != value)
			return false;
	return true;
}

/* What a device does to each line, by the CPU. Nobody else uses the page meanwhile. */
static inline void play_reading(const void *from, size_t bytes)
{
	unsigned long flags;

	local_irq_save(flags);
	coherence_as_device(from, bytes);
	load_lines(from, bytes);
	coherence_as_device(NULL, 0);
	local_irq_restore(flags);
}

static inline void play_writing(void *to, size_t bytes, u32 value)
{
	unsigned long flags;
	size_t i;

	local_irq_save(flags);
	coherence_as_device(to, bytes);
	for (i = 0; i < bytes; i += LINE)
		WRITE_ONCE(*(u32 *)(to + i), value);
	coherence_as_device(NULL, 0);
	local_irq_restore(flags);
}

/*
 * Cleans and invalidates lines down to memory. The inner cache twice: it may
 * have fetched lines from the outer one in between.
 */
static inline void flush_lines(void *kernel, phys_addr_t pa, size_t bytes)
{
	__cpuc_flush_dcache_area(kernel, bytes);
	outer_flush_range(pa, pa + bytes);
	__cpuc_flush_dcache_area(kernel, bytes);
}

/*
 * The same for the program's mapping, of the calling process. It is what
 * flush_cache_range() does, which not all kernels export. Other than on a VIVT
 * cache there is nothing to do.
 */
static inline void flush_program(struct run *r)
{
	__cpuc_flush_user_range(r->program, r->program + PAGE_SIZE, 0);
	dsb(st);
}

/*
 * Brings buffered stores to memory. Before ARMv6 wmb() is for the compiler
 * alone; there it is the store that starts the device which drains the buffer
 * (ARM DDI 0198E, table 4-4), and these devices have no register to store to.
 */
static inline void drain_stores(void)
{
	wmb();	/* before the hint that a device reads */
	dsb(st);
}

#endif
