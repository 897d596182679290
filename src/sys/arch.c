// SPDX-License-Identifier: GPL-2.0
/*
 * What differs between architectures: caches, memory types and the write
 * buffer.
 */
#include <linux/cacheflush.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/interval_tree_generic.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/vmalloc.h>
#ifdef CONFIG_ARM
#include <asm/cachetype.h>
#include <asm/cputype.h>
#include <asm/outercache.h>
#endif
#ifdef CONFIG_ARM64
#include <asm/cpufeature.h>
#endif

#include "helpers.h"

/* A kernel for VIVT caches, where user mappings have lines of their own. */
#if defined(CONFIG_ARM) && !defined(CONFIG_CPU_CACHE_VIPT)
#define HAS_FLUSHED_MAPPINGS
#endif

enum shmbuf_mt shmbuf_memory_type(enum shmbuf_cache_mode mode)
{
#ifdef CONFIG_ARM
	switch (pgprot_val(shmbuf_prot(PAGE_KERNEL, mode)) & L_PTE_MT_MASK) {
	case L_PTE_MT_UNCACHED:
		return SHMBUF_MT_UNCACHED;
	case L_PTE_MT_BUFFERABLE:
		return SHMBUF_MT_BUFFERABLE;
	case L_PTE_MT_WRITETHROUGH:
		return SHMBUF_MT_WRITETHROUGH;
	case L_PTE_MT_WRITEBACK:
		/* The cores that this option is for ignore the type then. */
		return IS_ENABLED(CONFIG_CPU_DCACHE_WRITETHROUGH) ? SHMBUF_MT_WRITETHROUGH :
								    SHMBUF_MT_WRITEBACK;
	case L_PTE_MT_WRITEALLOC:
		return SHMBUF_MT_WRITEALLOC;
	default:
		return SHMBUF_MT_OTHER;
	}
#elif defined(CONFIG_ARM64)
	switch (pgprot_val(shmbuf_prot(PAGE_KERNEL, mode)) & PTE_ATTRINDX_MASK) {
	case PTE_ATTRINDX(MT_DEVICE_nGnRnE):
		return SHMBUF_MT_UNCACHED;
	case PTE_ATTRINDX(MT_NORMAL_NC):
		return SHMBUF_MT_BUFFERABLE;
	/* Both allocate on reads and writes: MAIR_EL1_SET in arch/arm64/mm/proc.S. */
	case PTE_ATTRINDX(MT_NORMAL):
	case PTE_ATTRINDX(MT_NORMAL_TAGGED):
		return SHMBUF_MT_WRITEALLOC;
	default:
		return SHMBUF_MT_OTHER;
	}
#else
	const unsigned long type = pgprot_val(shmbuf_prot(PAGE_KERNEL, mode)) & _PAGE_CACHE_MASK;

	/* Without PAT there are fewer types than names, and the first is right. */
	if (type == cachemode2protval(_PAGE_CACHE_MODE_WB))
		return SHMBUF_MT_WRITEBACK;
	if (type == cachemode2protval(_PAGE_CACHE_MODE_UC_MINUS))
		return SHMBUF_MT_UNCACHED;
	if (type == cachemode2protval(_PAGE_CACHE_MODE_WC))
		return SHMBUF_MT_BUFFERABLE;
	return SHMBUF_MT_OTHER;
#endif
}

enum shmbuf_cache_type shmbuf_cpu_cache_type(void)
{
#ifdef CONFIG_ARM
	if (cache_is_vivt())
		return SHMBUF_CACHE_VIVT;
	if (cache_is_vipt_aliasing())
		return SHMBUF_CACHE_VIPT_ALIASING;
	return SHMBUF_CACHE_NONALIASING;
#elif defined(CONFIG_ARM64)
	return SHMBUF_CACHE_ARM64;
#elif defined(CONFIG_X86)
	return SHMBUF_CACHE_SNOOPING;
#else
#error "shmbuf knows the caches of ARM and x86 only"
#endif
}

unsigned int shmbuf_cpu_midr(void)
{
#ifdef CONFIG_ARM
	return read_cpuid_id();
#else
	return 0;
#endif
}

/* CCSIDR.WT of the level 1 data cache; there is no such register before ARMv7. */
bool shmbuf_cpu_writethrough_available(void)
{
#if defined(CONFIG_ARM) && __LINUX_ARM_ARCH__ >= 7
	u32 ccsidr;

	preempt_disable();
	asm volatile("mcr p15, 2, %0, c0, c0, 0" : : "r" (0));
	isb();
	asm volatile("mrc p15, 1, %0, c0, c0, 0" : "=r" (ccsidr));
	preempt_enable();
	return ccsidr & BIT(31);
#else
	return IS_ENABLED(CONFIG_ARM);
#endif
}

/* 64-bit ARM leaves CMA's linear mapping as it is. */
bool shmbuf_cma_remapped(struct device *dev)
{
	return IS_ENABLED(CONFIG_ARM) && dev_get_cma_area(dev);
}

bool shmbuf_has_cma(void)
{
	return dev_get_cma_area(NULL);
}

unsigned long shmbuf_free_cma_pages(void)
{
	return global_zone_page_state(NR_FREE_CMA_PAGES);
}

/* The DMA API wants no alignment where devices snoop. */
unsigned int shmbuf_dma_cache_alignment(void)
{
	return max_t(unsigned int, dma_get_cache_alignment(), L1_CACHE_BYTES);
}

pgprot_t shmbuf_prot(pgprot_t prot, enum shmbuf_cache_mode mode)
{
	switch (mode) {
#ifdef CONFIG_ARM
	case SHMBUF_MODE_WRITETHROUGH:
		return __pgprot_modify(prot, L_PTE_MT_MASK, L_PTE_MT_WRITETHROUGH);
#endif
	case SHMBUF_MODE_WRITECOMBINE:
		return pgprot_writecombine(prot);
	case SHMBUF_MODE_NONCACHED:
		return pgprot_noncached(prot);
	default:
		return prot;
	}
}

/*
 * The protection of the flags as they are now. On ARM, of 32 and of 64 bits,
 * a page is write-protected until a fault makes it dirty: make it so here.
 */
pgprot_t shmbuf_vma_prot(struct vm_area_struct *vma)
{
	const pgprot_t prot = vm_get_page_prot(vma->vm_flags);

#ifdef CONFIG_ARM
	if (vma->vm_flags & VM_WRITE)
		return __pgprot(pgprot_val(prot) | L_PTE_DIRTY);
#endif
#ifdef CONFIG_ARM64
	if (vma->vm_flags & VM_WRITE)
		return pte_pgprot(pte_mkdirty(__pte(pgprot_val(prot))));
#endif
	return prot;
}

void *shmbuf_vmap(struct page **pages, unsigned int count, enum shmbuf_cache_mode mode)
{
	return vmap(pages, count, VM_MAP, shmbuf_prot(PAGE_KERNEL, mode));
}

/* What is not cached has the type of ioremap(). */
int shmbuf_io_remap(struct vm_area_struct *vma, unsigned long pfn, enum shmbuf_cache_mode mode)
{
	const pgprot_t prot = shmbuf_vma_prot(vma);

	vma->vm_page_prot = mode == SHMBUF_MODE_NONCACHED ? pgprot_device(prot) :
							    shmbuf_prot(prot, mode);
	return io_remap_pfn_range(vma, vma->vm_start, pfn, vma->vm_end - vma->vm_start,
				  vma->vm_page_prot);
}

#ifdef HAS_FLUSHED_MAPPINGS
static unsigned long first_page(struct vm_area_struct *vma)
{
	return vma->vm_pgoff;
}

static unsigned long last_page(struct vm_area_struct *vma)
{
	return vma->vm_pgoff + vma_pages(vma) - 1;
}

/* The tree of mm/interval_tree.c, which modules cannot call; it is only searched. */
INTERVAL_TREE_DEFINE(struct vm_area_struct, shared.rb, unsigned long, shared.rb_subtree_last,
		     first_page, last_page, static inline, mappings)
#endif

bool shmbuf_is_mapped_by(struct mm_struct *mm, struct address_space *space, size_t start,
			 size_t end)
{
#ifdef HAS_FLUSHED_MAPPINGS
	const unsigned long first = start >> PAGE_SHIFT, last = (end - 1) >> PAGE_SHIFT;
	struct vm_area_struct *vma = mappings_iter_first(&space->i_mmap, first, last);

	for (; vma; vma = mappings_iter_next(vma, first, last))
		if (vma->vm_mm == mm)
			return true;
#endif
	return false;
}

/*
 * As flush_cache_range() of what is mapped where this CPU runs, but no more than
 * the lines: that flushes whole pages. It goes in steps of a line from the start
 * on. A kernel thread runs in the address space of whoever ran before it.
 */
void shmbuf_flush_mappings(struct address_space *space, size_t start, size_t end)
{
#ifdef HAS_FLUSHED_MAPPINGS
	const unsigned long first = start >> PAGE_SHIFT, last = (end - 1) >> PAGE_SHIFT;
	const bool all = shmbuf_flushes_all_instead(end - start);
	struct vm_area_struct *vma = mappings_iter_first(&space->i_mmap, first, last);

	if (!vma)
		return;
	for (; vma; vma = mappings_iter_next(vma, first, last)) {
		const size_t mapped = vma->vm_pgoff << PAGE_SHIFT;
		const size_t size = vma->vm_end - vma->vm_start;
		const unsigned long from = vma->vm_start + max(start, mapped) - mapped;

		if (vma->vm_mm != current->active_mm)
			continue;
		if (all) {
			/* Once, however many mappings there are. */
			flush_cache_all();
			break;
		}
		__cpuc_flush_user_range(round_down(from, L1_CACHE_BYTES),
					vma->vm_start + min(end - mapped, size), vma->vm_flags);
	}
	/* The flush of ARM926 and its like leaves the lines in the write buffer. */
	shmbuf_drain_write_buffer();
#endif
}

/*
 * One core with VIVT caches and no outer one: what is in no line of its data
 * cache is in memory, and no line comes by itself. The whole cache has so many
 * lines at most to clean, and one by one takes an operation for each line of the
 * range, whether it is there or not.
 */
bool shmbuf_flushes_all_instead(size_t size)
{
#ifdef HAS_FLUSHED_MAPPINGS
#ifdef CONFIG_OUTER_CACHE
	if (outer_cache.flush_range)
		return false;
#endif
	/* The size of the data cache: ARM DDI 0100, B2.2.2. */
	return size >= SZ_512 << (read_cpuid_cachetype() >> 18 & 7);
#else
	return false;
#endif
}

void shmbuf_flush_all(void)
{
#ifdef CONFIG_ARM
	flush_cache_all();
	shmbuf_drain_write_buffer();
#endif
}

/*
 * Clean and invalidate, line by line, so that a store at the same moment is
 * not lost. From the beginning of a line on: on ARMv5, and on an early PL310, it
 * goes in steps of a line from there, and from the middle of one may miss the
 * last.
 */
static void flush_inner(void *addr, size_t size)
{
#ifdef CONFIG_ARM
	const size_t before = (unsigned long)addr % L1_CACHE_BYTES;

	__cpuc_flush_dcache_area(addr - before, before + size);
#endif
#ifdef CONFIG_ARM64
	/* dcache_clean_inval_poc(), which modules cannot call. */
	const u64 ctr = read_sanitised_ftr_reg(SYS_CTR_EL0);
	const unsigned long line = sizeof(u32) << FIELD_GET(CTR_EL0_DminLine_MASK, ctr);
	const unsigned long end = (unsigned long)addr + size;
	unsigned long at;

	for (at = round_down((unsigned long)addr, line); at < end; at += line)
		asm volatile("dc civac, %0" : : "r" (at) : "memory");
	dsb(sy);
#endif
}

static void flush_outer(phys_addr_t phys, size_t size)
{
#if defined(CONFIG_ARM) && defined(CONFIG_OUTER_CACHE)
	outer_flush_range(round_down(phys, L1_CACHE_BYTES), phys + size);
#endif
}

/* What the inner cache had goes through the outer one. */
void shmbuf_flush_to_memory(void *addr, phys_addr_t phys, size_t size)
{
	flush_inner(addr, size);
	flush_outer(phys, size);
}

/* What the inner cache fetches from the outer one meanwhile is gone afterwards. */
void shmbuf_flush_from_memory(void *addr, phys_addr_t phys, size_t size)
{
	flush_outer(phys, size);
	flush_inner(addr, size);
}

void shmbuf_drain_write_buffer(void)
{
#if defined(CONFIG_ARM) && __LINUX_ARM_ARCH__ < 6
	/* mb() is a compiler barrier here, and there is a write buffer. */
	dsb();
#else
	/* A device may look as soon as we return; includes the outer cache. */
	mb();
#endif
}
