// SPDX-License-Identifier: GPL-2.0
/*
 * Seeded faults, as drivers in the field have them. Each function does one
 * thing wrong. The table at the end says what a checker has to report.
 *
 * "This core" is the emulated one. On ARM926EJ-S (VIVT, no speculation, lines
 * come by loads alone) most faults below load a line first, as a driver that
 * has used the memory before would have.
 */
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/platform_device.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "case.h"

/*
 * Maps the page as a program has it that has stored to it before, in the last
 * line. The first store faults, and in the fault an ARMv5 kernel flushes the
 * page's linear address (update_mmu_cache_range(), arch/arm/mm/fault-armv.c):
 * that once, the faults below would not show.
 */
static int map_and_store(struct run *r, enum type type)
{
	int ret = program_map(r, r->page, type);

	if (!ret)
		program_store(r, PAGE_SIZE / sizeof(u32) - 1, 0);
	return ret;
}

/*
 * The classic driver: cached kernel memory, mapped pgprot_noncached().
 * The program's store goes past the line that the kernel has loaded, and the
 * kernel reads that line again: 0, not 42. On both cores.
 * Right: one memory type for all who use the page.
 */
static int classic_stale_kernel(struct run *r)
{
	int ret = map_and_store(r, NONCACHED);

	if (ret)
		return ret;
	load_lines(r->kernel, LINE);
	program_store(r, 0, 42);
	load_lines(r->kernel, LINE);
	return 0;
}

/*
 * The same driver, the other way: the kernel's store stays in its line, and
 * the program, which goes past the caches, sees what was there before.
 */
static int classic_stale_program(struct run *r)
{
	int ret = program_map(r, r->page, NONCACHED);

	if (ret)
		return ret;
	store_lines(r->kernel, LINE, 42);
	program_load(r, 0);
	return 0;
}

/*
 * The same driver: a dirty line of the kernel's is evicted after the program's
 * store to another word of it, and takes the old word to memory.
 */
static int classic_lost_store(struct run *r)
{
	int ret = map_and_store(r, NONCACHED);

	if (ret)
		return ret;
	store_lines(r->kernel, LINE, 42);
	program_store(r, 1, 43);
	program_load(r, 1);
	return 0;
}

/*
 * The driver clears the page and maps it pgprot_noncached() at once.
 * The zeroes are in the cache; the program sees what the page held before,
 * perhaps another program's data. On both cores.
 * Right: clean and invalidate, through the outer cache, before mapping.
 */
static int zeroed_not_written_back(struct run *r)
{
	int ret;

	load_lines(r->kernel, PAGE_SIZE);
	memset(r->kernel, 0, PAGE_SIZE);
	ret = program_map(r, r->page, NONCACHED);
	if (ret)
		return ret;
	program_load(r, 0);
	return 0;
}

/*
 * A frame buffer: mapped pgprot_writecombine(), and the kernel draws into it
 * through the cached address. As the classic driver; ARMv7 leaves the use of
 * two types at once UNPREDICTABLE or nearly so (ARM DDI 0406C, A3.5.7).
 * Right: dma_alloc_wc() and dma_mmap_wc().
 */
static int write_combined_and_cached(struct run *r)
{
	int ret = map_and_store(r, WRITE_COMBINED);

	if (ret)
		return ret;
	load_lines(r->kernel, LINE);
	program_store(r, 0, 42);
	load_lines(r->kernel, LINE);
	return 0;
}

/*
 * Cached for both, nothing maintained. VIVT: two addresses, two lines. The
 * kernel does not see the program's store. Cortex-A9: one line, all is well,
 * which is why such drivers look right on newer boards.
 * Right on VIVT: clean the program's line, invalidate the kernel's.
 */
static int vivt_stale_kernel(struct run *r)
{
	int ret = map_and_store(r, CACHED);

	if (ret)
		return ret;
	load_lines(r->kernel, LINE);
	program_load(r, 0);
	program_store(r, 0, 42);
	load_lines(r->kernel, LINE);
	return 0;
}

/* The same, the other way: the program does not see the kernel's store. */
static int vivt_stale_program(struct run *r)
{
	int ret = program_map(r, r->page, CACHED);

	if (ret)
		return ret;
	program_load(r, 0);
	store_lines(r->kernel, LINE, 42);
	program_load(r, 0);
	return 0;
}

/*
 * The same: both have stored to one line, to different words. Whichever of the
 * two VIVT lines is written back last takes its old word over the other's new
 * one; here it is the kernel's. No maintenance after the fact repairs this.
 */
static int vivt_lost_store(struct run *r)
{
	int ret = map_and_store(r, CACHED);

	if (ret)
		return ret;
	program_load(r, 0);
	store_lines(r->kernel, LINE, 42);
	program_store(r, 1, 43);
	flush_program(r);
	flush_lines(r->kernel, r->pa, LINE);
	program_load(r, 1);
	return 0;
}

/*
 * The program fills a cached mapping, the driver does dma_map_single() on the
 * kernel's address. VIVT: that cleans the kernel's line, the data is in the
 * program's. Cortex-A9: the same line.
 * Right on VIVT: flush_cache_range() on the program's mapping first.
 */
static int vivt_program_not_cleaned(struct run *r)
{
	int ret = program_map(r, r->page, CACHED);
	dma_addr_t dma;

	if (ret)
		return ret;
	program_load(r, 0);
	program_store(r, 0, 42);
	dma = dma_map_single(r->dev, r->kernel, PAGE_SIZE, DMA_TO_DEVICE);
	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	coherence_device_reads(dma, LINE);
	dma_unmap_single(r->dev, dma, PAGE_SIZE, DMA_TO_DEVICE);
	return 0;
}

/*
 * The same on receive: the kernel's lines are invalidated, the program's are
 * not, and it reads what it has loaded before. VIVT alone.
 */
static int vivt_program_not_invalidated(struct run *r)
{
	int ret = program_map(r, r->page, CACHED);
	dma_addr_t dma;

	if (ret)
		return ret;
	program_load(r, 0);
	dma = dma_map_single(r->dev, r->kernel, PAGE_SIZE, DMA_FROM_DEVICE);
	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	coherence_device_writes(dma, LINE);
	dma_unmap_single(r->dev, dma, PAGE_SIZE, DMA_FROM_DEVICE);
	program_load(r, 0);
	return 0;
}

/*
 * The kernel writes through a vmap() of the page, the DMA API cleans the page's
 * linear address. VIVT: the data is in the lines of the vmap address, and the
 * device reads old memory. Cortex-A9: the same line.
 * Right: flush_kernel_vmap_range() before the transfer.
 */
static int vmap_not_flushed(struct run *r)
{
	u32 *alias = vmap(&r->page, 1, VM_MAP, PAGE_KERNEL);
	dma_addr_t dma;

	if (!alias)
		return -ENOMEM;
	store_lines(alias, LINE, 42);
	dma = dma_map_page(r->dev, r->page, 0, PAGE_SIZE, DMA_TO_DEVICE);
	if (!dma_mapping_error(r->dev, dma)) {
		coherence_device_reads(dma, LINE);
		dma_unmap_page(r->dev, dma, PAGE_SIZE, DMA_TO_DEVICE);
	}
	vunmap(alias);
	return 0;
}

/*
 * The same on receive: the lines of the vmap address are as old as they were.
 * VIVT alone. Right: invalidate_kernel_vmap_range() before reading.
 */
static int vmap_not_invalidated(struct run *r)
{
	u32 *alias = vmap(&r->page, 1, VM_MAP, PAGE_KERNEL);
	dma_addr_t dma;

	if (!alias)
		return -ENOMEM;
	load_lines(alias, LINE);
	dma = dma_map_page(r->dev, r->page, 0, PAGE_SIZE, DMA_FROM_DEVICE);
	if (!dma_mapping_error(r->dev, dma)) {
		coherence_device_writes(dma, LINE);
		dma_unmap_page(r->dev, dma, PAGE_SIZE, DMA_FROM_DEVICE);
		load_lines(alias, LINE);
	}
	vunmap(alias);
	return 0;
}

/*
 * virt_to_phys() is given to the device, and nothing else is done.
 * The data is in a dirty line; the device reads old memory. On both cores.
 * Right: dma_map_single().
 */
static int source_not_cleaned(struct run *r)
{
	store_lines(r->kernel, LINE, 42);
	coherence_device_reads(r->pa, LINE);
	return 0;
}

/*
 * The same on receive: the kernel reads the lines that it had before.
 * Right: dma_map_single() and dma_unmap_single().
 */
static int destination_not_invalidated(struct run *r)
{
	load_lines(r->kernel, LINE);
	coherence_device_writes(r->pa, LINE);
	load_lines(r->kernel, LINE);
	return 0;
}

/*
 * Both, with a DMA engine instead of hints: the first half of the page is
 * copied to the second, with physical addresses and no maintenance.
 */
static int engine_source_not_cleaned(struct run *r)
{
	store_lines(r->kernel, LINE, 42);
	return engine_copy(r->pa + PAGE_SIZE / 2, r->pa, LINE);
}

static int engine_destination_not_invalidated(struct run *r)
{
	void *destination = (void *)r->kernel + PAGE_SIZE / 2;
	int ret;

	load_lines(destination, LINE);
	ret = engine_copy(r->pa + PAGE_SIZE / 2, r->pa, LINE);
	load_lines(destination, LINE);
	return ret;
}

/*
 * And with the CPU that plays a device.
 */
static int played_source_not_cleaned(struct run *r)
{
	store_lines(r->kernel, LINE, 42);
	play_reading(r->kernel, LINE);
	return 0;
}

static int played_destination_not_invalidated(struct run *r)
{
	load_lines(r->kernel, LINE);
	play_writing(r->kernel, LINE, 42);
	load_lines(r->kernel, LINE);
	return 0;
}

/*
 * A picture drawn to cached memory, and shown. On both cores.
 * Right: memory of dma_alloc_wc(), which is what a display driver gives.
 */
static int picture_not_cleaned(struct run *r)
{
	/* First: on ARM926EJ-S a new mapping flushes the whole cache. */
	void __iomem *display = display_open();

	if (!display)
		return -EOPNOTSUPP;
	store_lines(r->kernel, PAGE_SIZE, 42);
	display_show(display, r->pa, PAGE_SIZE);
	iounmap(display);
	return 0;
}

/*
 * A receive buffer that is cleared first, "to be sure". The zeroes wait in
 * dirty lines, and are evicted over what the device has written.
 */
static int destination_dirty(struct run *r)
{
	store_lines(r->kernel, LINE, 0);
	coherence_device_writes(r->pa, LINE);
	return 0;
}

/*
 * dma_map_single() and dma_unmap_single() as "flush the cache", and then the
 * transfer. The device has no mapping any more. ARM926EJ-S does not speculate, so
 * the lines stay away: right there, by luck.
 * Cortex-A9 may fetch a line through the linear mapping while the device
 * writes, and the kernel reads that one.
 * Right: unmap, or sync for the CPU, after the transfer.
 */
static int invalidated_before_only(struct run *r)
{
	dma_addr_t dma = dma_map_single(r->dev, r->kernel, PAGE_SIZE, DMA_FROM_DEVICE);

	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	dma_unmap_single(r->dev, dma, PAGE_SIZE, DMA_FROM_DEVICE);
	coherence_device_writes(r->pa, LINE);
	load_lines(r->kernel, LINE);
	return 0;
}

/*
 * A receive buffer is mapped once and synced for the CPU after each transfer,
 * but never back for the device. ARM926EJ-S: the sync for the CPU does nothing,
 * it is the one for the device that invalidates, so the second transfer is not
 * seen. Cortex-A9: the sync for the CPU invalidates, and all is well by luck. On both
 * the second sync is of what the CPU has.
 */
static int no_sync_for_device(struct run *r)
{
	dma_addr_t dma = dma_map_single(r->dev, r->kernel, PAGE_SIZE, DMA_FROM_DEVICE);
	unsigned int i;

	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	for (i = 0; i < 2; i++) {
		coherence_device_writes(dma, LINE);
		dma_sync_single_for_cpu(r->dev, dma, PAGE_SIZE, DMA_FROM_DEVICE);
		load_lines(r->kernel, LINE);
	}
	dma_unmap_single(r->dev, dma, PAGE_SIZE, DMA_FROM_DEVICE);
	return 0;
}

/*
 * A counter behind a receive buffer of one and a half lines. Counting makes the
 * line dirty while the device owns half of it. If it is evicted, it takes old
 * bytes over the device's; if it is invalidated, the count is lost.
 * Right: align buffer and counter to ARCH_DMA_MINALIGN.
 */
static int shared_line(struct run *r)
{
	size_t bytes = LINE + LINE / 2;
	u32 *counter = (void *)r->kernel + bytes;
	dma_addr_t dma = dma_map_single(r->dev, r->kernel, bytes, DMA_FROM_DEVICE);

	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	WRITE_ONCE(*counter, READ_ONCE(*counter) + 1);
	coherence_device_writes(dma, bytes);
	dma_unmap_single(r->dev, dma, bytes, DMA_FROM_DEVICE);
	load_lines(r->kernel, bytes);
	return 0;
}

/*
 * What a device answers, in the middle of a structure of the driver's, which looks at its
 * state meanwhile. That fetches the line. ARM926EJ-S keeps it when the answer is there, and
 * on any core a store to the state would be in the way of it, or be lost.
 * Right: the answer allocated by itself, or in lines of its own.
 */
struct command {
	u32 state;
	u8 answer[LONGEST_LINE];
};

static int answer_beside_a_state(struct run *r)
{
	struct command *command = kzalloc_obj(*command);
	dma_addr_t dma;

	if (!command)
		return -ENOMEM;
	dma = dma_map_single(r->dev, command->answer, LINE, DMA_FROM_DEVICE);
	if (!dma_mapping_error(r->dev, dma)) {
		READ_ONCE(command->state);
		coherence_device_writes(dma, LINE);
		dma_unmap_single(r->dev, dma, LINE, DMA_FROM_DEVICE);
	}
	kfree(command);
	return 0;
}

/* The same of a list. */
static int list_beside_a_state(struct run *r)
{
	struct command *command = kzalloc_obj(*command);
	struct scatterlist list;

	if (!command)
		return -ENOMEM;
	sg_init_one(&list, command->answer, LINE);
	if (dma_map_sg(r->dev, &list, 1, DMA_FROM_DEVICE)) {
		READ_ONCE(command->state);
		coherence_device_writes(sg_dma_address(&list), LINE);
		dma_unmap_sg(r->dev, &list, 1, DMA_FROM_DEVICE);
	}
	kfree(command);
	return 0;
}

/*
 * A buffer on the stack, which does not begin with a line this time. Who has the rest of
 * the line, and whether it is stored to while the device has the buffer, is up to the
 * compiler, and to an interrupt. On both cores. Right: kmalloc().
 */
static int buffer_on_the_stack(struct run *r)
{
	u8 room[4 * LONGEST_LINE];
	u8 *buffer = PTR_ALIGN(&room[0], LINE) + LINE / 2;
	dma_addr_t dma = dma_map_single(r->dev, buffer, LINE, DMA_FROM_DEVICE);

	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	coherence_device_writes(dma, LINE);
	dma_unmap_single(r->dev, dma, LINE, DMA_FROM_DEVICE);
	return 0;
}

/* The same of a list. */
static int list_on_the_stack(struct run *r)
{
	u8 room[4 * LONGEST_LINE];
	u8 *buffer = PTR_ALIGN(&room[0], LINE) + LINE / 2;
	struct scatterlist list;

	sg_init_one(&list, buffer, LINE);
	if (!dma_map_sg(r->dev, &list, 1, DMA_FROM_DEVICE))
		return -ENOMEM;
	coherence_device_writes(sg_dma_address(&list), LINE);
	dma_unmap_sg(r->dev, &list, 1, DMA_FROM_DEVICE);
	return 0;
}

/*
 * A driver invalidates by hand, from where its buffer begins: in the middle of
 * a line. The neighbour's store in the first half is thrown away. Both cores.
 * The DMA API would have cleaned such a line first.
 */
static int invalidated_with_neighbour(struct run *r)
{
	void *buffer = (void *)r->kernel + LINE / 2;

	store_lines(r->kernel, LINE, 42);
	/* DCIMVAC; ARM926EJ-S: invalidate DCache single entry (MVA). */
	asm volatile("mcr p15, 0, %0, c7, c6, 1" : : "r" (buffer) : "memory");
	load_lines(r->kernel, LINE);
	return 0;
}

/*
 * The next packet is written to a transmit buffer that the device still reads.
 * Nothing says which of the two packets goes out, or parts of which.
 * Right: wait for completion, then sync for the CPU or unmap.
 */
static int write_during_transfer(struct run *r)
{
	dma_addr_t dma;

	store_lines(r->kernel, LINE, 42);
	dma = dma_map_single(r->dev, r->kernel, PAGE_SIZE, DMA_TO_DEVICE);
	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	store_lines(r->kernel, LINE, 43);
	coherence_device_reads(dma, LINE);
	dma_unmap_single(r->dev, dma, PAGE_SIZE, DMA_TO_DEVICE);
	return 0;
}

/*
 * Two receive buffers, of which the first is unmapped twice and the second is
 * not: it stays with the device, and whoever has its memory next touches it. As
 * in nvme-pci of Linux 6.18, which unmapped the wrong scatterlist. On both cores.
 */
static int unmapped_twice(struct run *r)
{
	const size_t bytes = PAGE_SIZE / 2;
	void *next = (void *)r->kernel + bytes;
	dma_addr_t first = dma_map_single(r->dev, r->kernel, bytes, DMA_FROM_DEVICE);
	dma_addr_t second = dma_map_single(r->dev, next, bytes, DMA_FROM_DEVICE);

	if (dma_mapping_error(r->dev, first) || dma_mapping_error(r->dev, second))
		return -ENOMEM;
	dma_unmap_single(r->dev, first, bytes, DMA_FROM_DEVICE);
	dma_unmap_single(r->dev, first, bytes, DMA_FROM_DEVICE);
	load_lines(next, LINE);
	/* The next case has this page too. */
	dma_unmap_single(r->dev, second, bytes, DMA_FROM_DEVICE);
	return 0;
}

/*
 * The driver polls a length at the beginning of a receive buffer.
 * That loads the line, and what the device writes next is not seen: on
 * ARM926EJ-S not even after dma_unmap_single(), which does nothing there.
 * Right: poll a register, or a status word in coherent memory.
 */
static int read_during_receive(struct run *r)
{
	dma_addr_t dma = dma_map_single(r->dev, r->kernel, PAGE_SIZE, DMA_FROM_DEVICE);

	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	load_lines(r->kernel, LINE);
	coherence_device_writes(dma, LINE);
	dma_unmap_single(r->dev, dma, PAGE_SIZE, DMA_FROM_DEVICE);
	load_lines(r->kernel, LINE);
	return 0;
}

/*
 * A descriptor in write-combined memory, then writel_relaxed() to start the
 * device. The descriptor may still be in the write buffer: in the core's, or,
 * on Cortex-A9, in the PL310's. Right: wmb(), or writel(), which has one.
 */
static int not_drained(struct run *r)
{
	dma_addr_t dma;
	u32 *descriptor = dma_alloc_wc(r->dev, PAGE_SIZE, &dma, GFP_KERNEL);

	if (!descriptor)
		return -ENOMEM;
	drain_stores();
	WRITE_ONCE(*descriptor, 42);
	coherence_device_reads(dma, sizeof(*descriptor));
	dma_free_wc(r->dev, PAGE_SIZE, descriptor, dma);
	return 0;
}

/*
 * A descriptor in coherent memory, and then the bit that makes it the device's, which looks
 * there by itself. Stores to memory that is not cached arrive in any order, so the device may
 * find the bit and an old address. Cortex-A9 alone: on an ARM926EJ-S the kernel's coherent memory
 * is not buffered. Right: dma_wmb() before the bit.
 */
static int bit_before_the_address(struct run *r)
{
	unsigned long flags;
	dma_addr_t dma;
	u32 *descriptor = dma_alloc_coherent(r->dev, PAGE_SIZE, &dma, GFP_KERNEL);

	if (!descriptor)
		return -ENOMEM;
	drain_stores();
	local_irq_save(flags);
	WRITE_ONCE(descriptor[1], r->pa);
	WRITE_ONCE(descriptor[0], 1);
	coherence_device_reads(dma, 2 * sizeof(u32));
	local_irq_restore(flags);
	dma_free_coherent(r->dev, PAGE_SIZE, descriptor, dma);
	return 0;
}

/* The same, with the barrier after the bit. */
static int barrier_after_the_bit(struct run *r)
{
	unsigned long flags;
	dma_addr_t dma;
	u32 *descriptor = dma_alloc_coherent(r->dev, PAGE_SIZE, &dma, GFP_KERNEL);

	if (!descriptor)
		return -ENOMEM;
	drain_stores();
	local_irq_save(flags);
	WRITE_ONCE(descriptor[1], r->pa);
	WRITE_ONCE(descriptor[0], 1);
	dma_wmb();	/* too late */
	coherence_device_reads(dma, 2 * sizeof(u32));
	local_irq_restore(flags);
	dma_free_coherent(r->dev, PAGE_SIZE, descriptor, dma);
	return 0;
}

/*
 * __cpuc_flush_dcache_area() alone, from a driver of the days before the PL310.
 * On Cortex-A9 the line goes to the outer cache, where no device looks. On
 * ARM926EJ-S and Cortex-A15 it is enough. Right: the DMA API, or outer_clean_range() after it.
 */
static int inner_clean_only(struct run *r)
{
	store_lines(r->kernel, LINE, 42);
	__cpuc_flush_dcache_area(r->kernel, LINE);
	coherence_device_reads(r->pa, LINE);
	return 0;
}

/*
 * flush_icache_range(), which cleans so that instructions are seen. Their cache is filled from
 * the outer one, so on ARMv7 the line goes no further. On ARM926EJ-S, which has no outer
 * cache, it is enough. Right: the DMA API.
 */
static int cleaned_for_instructions(struct run *r)
{
	store_lines(r->kernel, LINE, 42);
	__cpuc_coherent_kern_range((unsigned long)r->kernel, (unsigned long)r->kernel + LINE);
	coherence_device_reads(r->pa, LINE);
	return 0;
}

/*
 * Both caches, in the wrong order: the inner one's line arrives in the outer
 * one after that was cleaned. Cortex-A9 alone.
 */
static int outer_clean_first(struct run *r)
{
	store_lines(r->kernel, LINE, 42);
	outer_clean_range(r->pa, r->pa + LINE);
	__cpuc_flush_dcache_area(r->kernel, LINE);
	coherence_device_reads(r->pa, LINE);
	return 0;
}

/*
 * A receive buffer is synced with DMA_TO_DEVICE: on Cortex-A9 that invalidates
 * nothing, and lines fetched while the device wrote are read. ARM926EJ-S needs
 * nothing after a transfer, so it is by luck that nothing happens there.
 * CONFIG_DMA_API_DEBUG sees this one too, and says "different direction".
 */
static int sync_wrong_direction(struct run *r)
{
	dma_addr_t dma = dma_map_single(r->dev, r->kernel, PAGE_SIZE, DMA_FROM_DEVICE);

	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	coherence_device_writes(dma, LINE);
	dma_sync_single_for_cpu(r->dev, dma, PAGE_SIZE, DMA_TO_DEVICE);
	load_lines(r->kernel, LINE);
	dma_unmap_single(r->dev, dma, PAGE_SIZE, DMA_FROM_DEVICE);
	return 0;
}

/*
 * A buffer for both ways is given back with DMA_FROM_DEVICE after the kernel
 * has written to it: that invalidates, and the store is lost. On both cores;
 * CONFIG_DMA_API_DEBUG has nothing against it. Right: DMA_BIDIRECTIONAL.
 */
static int sync_loses_store(struct run *r)
{
	dma_addr_t dma = dma_map_single(r->dev, r->kernel, PAGE_SIZE, DMA_BIDIRECTIONAL);

	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	dma_sync_single_for_cpu(r->dev, dma, PAGE_SIZE, DMA_BIDIRECTIONAL);
	store_lines(r->kernel, LINE, 42);
	dma_sync_single_for_device(r->dev, dma, PAGE_SIZE, DMA_FROM_DEVICE);
	coherence_device_reads(dma, LINE);
	dma_unmap_single(r->dev, dma, PAGE_SIZE, DMA_BIDIRECTIONAL);
	return 0;
}

/*
 * The header was not counted: the sync for the device ends a line before the
 * data does, and the device reads an old last line. On both cores.
 */
static int sync_too_short(struct run *r)
{
	dma_addr_t dma = dma_map_single(r->dev, r->kernel, PAGE_SIZE, DMA_TO_DEVICE);

	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	dma_sync_single_for_cpu(r->dev, dma, 4 * LINE, DMA_TO_DEVICE);
	store_lines(r->kernel, 4 * LINE, 42);
	dma_sync_single_for_device(r->dev, dma, 3 * LINE, DMA_TO_DEVICE);
	coherence_device_reads(dma, 4 * LINE);
	dma_unmap_single(r->dev, dma, PAGE_SIZE, DMA_TO_DEVICE);
	return 0;
}

/*
 * The same on receive: the kernel reads a last line that is still the device's.
 * On Cortex-A9 it may be one that was fetched while the device wrote.
 */
static int receive_sync_too_short(struct run *r)
{
	dma_addr_t dma = dma_map_single(r->dev, r->kernel, PAGE_SIZE, DMA_FROM_DEVICE);

	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	coherence_device_writes(dma, 4 * LINE);
	dma_sync_single_for_cpu(r->dev, dma, 3 * LINE, DMA_FROM_DEVICE);
	load_lines(r->kernel, 4 * LINE);
	dma_unmap_single(r->dev, dma, PAGE_SIZE, DMA_FROM_DEVICE);
	return 0;
}

/*
 * The driver hands on all of a receive buffer, and not what the device has said
 * that it wrote: the rest is what the memory held before, perhaps another
 * program's. On both cores. Right: no more than was received.
 */
static int more_than_received(struct run *r)
{
	dma_addr_t dma = dma_map_single(r->dev, r->kernel, PAGE_SIZE, DMA_FROM_DEVICE);

	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	coherence_device_writes(dma, LINE + 6);
	dma_unmap_single(r->dev, dma, PAGE_SIZE, DMA_FROM_DEVICE);
	load_lines(r->kernel, 3 * LINE);
	return 0;
}

/*
 * The descriptor says more bytes than were mapped, and the device reads what is
 * behind the buffer. Right: the length that was mapped.
 */
static int beyond_the_mapping(struct run *r)
{
	dma_addr_t dma;

	store_lines(r->kernel, 2 * LINE, 42);
	flush_lines(r->kernel, r->pa, 2 * LINE);
	dma = dma_map_single(r->dev, r->kernel, LINE, DMA_TO_DEVICE);
	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	coherence_device_reads(dma, LINE + LINE / 2);
	dma_unmap_single(r->dev, dma, LINE, DMA_TO_DEVICE);
	return 0;
}

/*
 * A ring of descriptors is freed before the device was stopped, and the device
 * looks there for the next one. Right: stop the device, then free.
 */
static int freed_before_stopped(struct run *r)
{
	dma_addr_t dma;
	void *ring = dma_alloc_coherent(r->dev, PAGE_SIZE, &dma, GFP_KERNEL);

	if (!ring)
		return -ENOMEM;
	drain_stores();
	coherence_device_reads(dma, LINE);
	dma_free_coherent(r->dev, PAGE_SIZE, ring, dma);
	coherence_device_reads(dma, LINE);
	return 0;
}

/*
 * A status word in a buffer for transmitting, which the device writes: nothing
 * was invalidated for that. Right: DMA_BIDIRECTIONAL.
 */
static int against_the_direction(struct run *r)
{
	dma_addr_t dma = dma_map_single(r->dev, r->kernel, PAGE_SIZE, DMA_TO_DEVICE);

	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	coherence_device_writes(dma, sizeof(u32));
	dma_unmap_single(r->dev, dma, PAGE_SIZE, DMA_TO_DEVICE);
	return 0;
}

/*
 * The other way: the device reads a command from a buffer for receiving, whose lines were
 * invalidated and not written back. Right: DMA_BIDIRECTIONAL.
 */
static int read_against_the_direction(struct run *r)
{
	dma_addr_t dma = dma_map_single(r->dev, r->kernel, PAGE_SIZE, DMA_FROM_DEVICE);

	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	coherence_device_reads(dma, sizeof(u32));
	dma_unmap_single(r->dev, dma, PAGE_SIZE, DMA_FROM_DEVICE);
	return 0;
}

/*
 * A packet is unmapped when its descriptor was filled, and not when the device has said that it
 * was sent. On both cores. Right: unmap it then.
 */
static int unmapped_before_it_was_sent(struct run *r)
{
	dma_addr_t dma;

	store_lines(r->kernel, PAGE_SIZE, 42);
	dma = dma_map_single(r->dev, r->kernel, PAGE_SIZE, DMA_TO_DEVICE);
	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	dma_unmap_single(r->dev, dma, PAGE_SIZE, DMA_TO_DEVICE);
	coherence_device_reads(dma, PAGE_SIZE);
	return 0;
}

/*
 * In place, in the wrong order: what was received is sent on, and the mapping by
 * which the device wrote it is still there. On both cores. Right: unmap first.
 */
static int mapped_both_ways(struct run *r)
{
	dma_addr_t received, sent;

	received = dma_map_single(r->dev, r->kernel, PAGE_SIZE, DMA_FROM_DEVICE);
	if (dma_mapping_error(r->dev, received))
		return -ENOMEM;
	coherence_device_writes(received, PAGE_SIZE);
	sent = dma_map_single(r->dev, r->kernel, PAGE_SIZE, DMA_TO_DEVICE);
	if (!dma_mapping_error(r->dev, sent)) {
		coherence_device_reads(sent, PAGE_SIZE);
		dma_unmap_single(r->dev, sent, PAGE_SIZE, DMA_TO_DEVICE);
	}
	dma_unmap_single(r->dev, received, PAGE_SIZE, DMA_FROM_DEVICE);
	return 0;
}

/*
 * Two events of one and a half lines each, one after the other, each mapped by itself:
 * what is done to the line in the middle for one is done to the other too. On both
 * cores. Right: events that begin and end with lines.
 */
static int two_in_a_line(struct run *r)
{
	const size_t bytes = LINE + LINE / 2;
	void *next = (void *)r->kernel + bytes;
	dma_addr_t first = dma_map_single(r->dev, r->kernel, bytes, DMA_FROM_DEVICE);
	dma_addr_t second = dma_map_single(r->dev, next, bytes, DMA_FROM_DEVICE);

	if (dma_mapping_error(r->dev, first) || dma_mapping_error(r->dev, second))
		return -ENOMEM;
	dma_unmap_single(r->dev, first, bytes, DMA_FROM_DEVICE);
	dma_unmap_single(r->dev, second, bytes, DMA_FROM_DEVICE);
	return 0;
}

/*
 * A page is freed, and then unmapped: in between it is somebody else's, and the
 * device has it. On both cores. Right: the other way round.
 */
static int freed_before_unmapped(struct run *r)
{
	struct page *page = alloc_page(GFP_KERNEL);
	dma_addr_t dma;

	if (!page)
		return -ENOMEM;
	dma = dma_map_page(r->dev, page, 0, PAGE_SIZE, DMA_TO_DEVICE);
	__free_page(page);
	if (!dma_mapping_error(r->dev, dma))
		dma_unmap_page(r->dev, dma, PAGE_SIZE, DMA_TO_DEVICE);
	return 0;
}

/* The same with an object. */
static int object_freed_before_unmapped(struct run *r)
{
	void *object = kmalloc(PAGE_SIZE / 2, GFP_KERNEL);
	dma_addr_t dma;

	if (!object)
		return -ENOMEM;
	dma = dma_map_single(r->dev, object, PAGE_SIZE / 2, DMA_TO_DEVICE);
	kfree(object);
	if (!dma_mapping_error(r->dev, dma))
		dma_unmap_single(r->dev, dma, PAGE_SIZE / 2, DMA_TO_DEVICE);
	return 0;
}

/*
 * A driver goes, or its device, and leaves a mapping behind: nobody can unmap it any
 * more. On both cores.
 */
static int mapping_left_behind(struct run *r)
{
	const struct platform_device_info info = {
		.name = "coherence-test-leaves",
		.id = PLATFORM_DEVID_AUTO,
		.dma_mask = DMA_BIT_MASK(32),
	};
	struct platform_device *device = platform_device_register_full(&info);
	dma_addr_t dma;

	if (IS_ERR(device))
		return PTR_ERR(device);
	dma = dma_map_page(&device->dev, r->page, 0, PAGE_SIZE, DMA_TO_DEVICE);
	platform_device_unregister(device);
	return dma == DMA_MAPPING_ERROR ? -ENOMEM : 0;
}

/*
 * A receive buffer is synced for the CPU again after it was looked at, instead of
 * back for the device. On both cores.
 */
static int synced_for_the_cpu_twice(struct run *r)
{
	dma_addr_t dma = dma_map_single(r->dev, r->kernel, PAGE_SIZE, DMA_FROM_DEVICE);
	unsigned int i;

	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	coherence_device_writes(dma, PAGE_SIZE);
	for (i = 0; i < 2; i++) {
		dma_sync_single_for_cpu(r->dev, dma, PAGE_SIZE, DMA_FROM_DEVICE);
		load_lines(r->kernel, PAGE_SIZE);
	}
	dma_unmap_single(r->dev, dma, PAGE_SIZE, DMA_FROM_DEVICE);
	return 0;
}

/*
 * A list of two entries is unmapped as one of one. On both cores. Right: the number
 * that was mapped.
 */
static int list_unmapped_in_part(struct run *r)
{
	const size_t half = PAGE_SIZE / 2;
	struct scatterlist list[2];

	sg_init_table(list, 2);
	sg_set_page(&list[0], r->page, half, 0);
	sg_set_page(&list[1], r->page, half, half);
	if (dma_map_sg(r->dev, list, 2, DMA_TO_DEVICE) != 2)
		return -ENOMEM;
	dma_unmap_sg(r->dev, list, 1, DMA_TO_DEVICE);
	return 0;
}

/*
 * The same list, of which one entry is synced for the CPU, which reads both. On both cores.
 */
static int list_synced_in_part(struct run *r)
{
	const size_t half = PAGE_SIZE / 2;
	struct scatterlist list[2];

	sg_init_table(list, 2);
	sg_set_page(&list[0], r->page, half, 0);
	sg_set_page(&list[1], r->page, half, half);
	if (dma_map_sg(r->dev, list, 2, DMA_FROM_DEVICE) != 2)
		return -ENOMEM;
	coherence_device_writes(sg_dma_address(list), PAGE_SIZE);
	dma_sync_sg_for_cpu(r->dev, list, 1, DMA_FROM_DEVICE);
	load_lines(r->kernel, PAGE_SIZE);
	dma_unmap_sg(r->dev, list, 2, DMA_FROM_DEVICE);
	return 0;
}

/*
 * Receive buffers as page_pool has them: mapped without a sync, because the driver
 * syncs what it uses. This one forgot it before the first use. On both cores.
 * Right: dma_sync_single_for_device() before the device gets the buffer.
 */
static int never_given_received(struct run *r)
{
	dma_addr_t dma = dma_map_single_attrs(r->dev, r->kernel, PAGE_SIZE, DMA_FROM_DEVICE,
					      DMA_ATTR_SKIP_CPU_SYNC);

	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	coherence_device_writes(dma, PAGE_SIZE);
	dma_sync_single_for_cpu(r->dev, dma, PAGE_SIZE, DMA_FROM_DEVICE);
	load_lines(r->kernel, PAGE_SIZE);
	dma_unmap_single_attrs(r->dev, dma, PAGE_SIZE, DMA_FROM_DEVICE, DMA_ATTR_SKIP_CPU_SYNC);
	return 0;
}

/*
 * Command memory of dma_alloc_noncoherent(), filled and never synced for the device,
 * which reads old memory. Of the device nobody says anything: the sync for the CPU
 * afterwards is what tells. On both cores.
 */
static int never_given_allocated(struct run *r)
{
	dma_addr_t dma;
	void *commands = dma_alloc_noncoherent(r->dev, PAGE_SIZE, &dma, DMA_BIDIRECTIONAL,
					       GFP_KERNEL);

	if (!commands)
		return -ENOMEM;
	store_lines(commands, PAGE_SIZE, 42);
	dma_sync_single_for_cpu(r->dev, dma, PAGE_SIZE, DMA_BIDIRECTIONAL);
	dma_free_noncoherent(r->dev, PAGE_SIZE, commands, dma, DMA_BIDIRECTIONAL);
	return 0;
}

/* The same of dma_alloc_noncontiguous(), */
static int never_given_noncontiguous(struct run *r)
{
	struct sg_table *table = dma_alloc_noncontiguous(r->dev, PAGE_SIZE, DMA_BIDIRECTIONAL,
							 GFP_KERNEL, 0);

	if (!table)
		return -ENOMEM;
	store_lines(sg_virt(table->sgl), PAGE_SIZE, 42);
	dma_sync_sgtable_for_cpu(r->dev, table, DMA_BIDIRECTIONAL);
	dma_free_noncontiguous(r->dev, PAGE_SIZE, table, DMA_BIDIRECTIONAL);
	return 0;
}

/* and of dma_alloc_pages(). */
static int never_given_pages(struct run *r)
{
	dma_addr_t dma;
	struct page *pages = dma_alloc_pages(r->dev, PAGE_SIZE, &dma, DMA_BIDIRECTIONAL,
					     GFP_KERNEL);

	if (!pages)
		return -ENOMEM;
	store_lines(page_address(pages), PAGE_SIZE, 42);
	dma_sync_single_for_cpu(r->dev, dma, PAGE_SIZE, DMA_BIDIRECTIONAL);
	dma_free_pages(r->dev, PAGE_SIZE, pages, dma, DMA_BIDIRECTIONAL);
	return 0;
}

/* The same, and an unmap that syncs is what tells. */
static int never_given_unmapped(struct run *r)
{
	dma_addr_t dma = dma_map_single_attrs(r->dev, r->kernel, PAGE_SIZE, DMA_FROM_DEVICE,
					      DMA_ATTR_SKIP_CPU_SYNC);

	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	dma_unmap_single(r->dev, dma, PAGE_SIZE, DMA_FROM_DEVICE);
	return 0;
}

/*
 * A device that looks into the caches (dma-coherent), and a frame buffer of it that is
 * mapped non-cached, as for one that does not: what is stored there goes past the lines
 * that the device finds. Cortex-A9 alone has such devices. Right: a cached mapping.
 */
static int snooped_uncached(struct run *r)
{
	struct platform_device *device = snooping_device();
	u32 *window;
	dma_addr_t dma;

	if (IS_ERR(device))
		return PTR_ERR(device);
	load_lines(r->kernel, LINE);
	dma = dma_map_page(&device->dev, r->page, 0, PAGE_SIZE, DMA_BIDIRECTIONAL);
	window = vmap(&r->page, 1, VM_MAP, pgprot_noncached(PAGE_KERNEL));
	if (window) {
		WRITE_ONCE(*window, 42);
		drain_stores();
		coherence_device_reads(dma, LINE);
		vunmap(window);
	}
	dma_unmap_page(&device->dev, dma, PAGE_SIZE, DMA_BIDIRECTIONAL);
	platform_device_unregister(device);
	return window ? 0 : -ENOMEM;
}

/*
 * The same of a driver that syncs by itself: nothing that the kernel does when it maps
 * tells that the device looks into the caches. Cortex-A9 alone.
 */
static int snooped_unsynced_uncached(struct run *r)
{
	struct platform_device *device = snooping_device();
	u32 *window;
	dma_addr_t dma;

	if (IS_ERR(device))
		return PTR_ERR(device);
	load_lines(r->kernel, LINE);
	dma = dma_map_page_attrs(&device->dev, r->page, 0, PAGE_SIZE, DMA_BIDIRECTIONAL,
				 DMA_ATTR_SKIP_CPU_SYNC);
	window = vmap(&r->page, 1, VM_MAP, pgprot_noncached(PAGE_KERNEL));
	if (window) {
		WRITE_ONCE(*window, 42);
		drain_stores();
		coherence_device_reads(dma, LINE);
		vunmap(window);
	}
	dma_unmap_page_attrs(&device->dev, dma, PAGE_SIZE, DMA_BIDIRECTIONAL,
			     DMA_ATTR_SKIP_CPU_SYNC);
	platform_device_unregister(device);
	return window ? 0 : -ENOMEM;
}

/*
 * A device that is to write over what the kernel has stored fails, and the kernel
 * goes on with what it has: but its lines were invalidated when the device got
 * the buffer. On both cores. Right: DMA_BIDIRECTIONAL, which writes them back.
 */
static int failed_copy_loses_store(struct run *r)
{
	dma_addr_t dma;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		store_lines(r->kernel, LINE, 42);
		dma = dma_map_single(r->dev, r->kernel, LINE, DMA_FROM_DEVICE);
		if (dma_mapping_error(r->dev, dma))
			return -ENOMEM;
		/* The first time it does not. */
		if (!i)
			coherence_device_writes(dma, LINE);
		dma_unmap_single(r->dev, dma, LINE, DMA_FROM_DEVICE);
		load_lines(r->kernel, LINE);
	}
	return 0;
}

/*
 * A program writes a function, runs it, writes another one to the same place
 * and runs that. The instruction cache still has the first. On both cores.
 * Right: cacheflush(2), which is what __builtin___clear_cache() calls.
 */
static int code_not_flushed(struct run *r)
{
	/* What it returned is not judged. */
	program_does(r, COHERENCE_CODE);
	return 0;
}

#define ARMV7(...) .cortex_a9 = { __VA_ARGS__ }, .cortex_a15 = { __VA_ARGS__ }
#define EVERY_CORE(...) .arm926 = { __VA_ARGS__ }, ARMV7(__VA_ARGS__)

const struct coherence_case coherence_faults[] = {
	{ "classic-stale-kernel", classic_stale_kernel,
	  EVERY_CORE(.this_core = STALE_READ, .possible = TWO_TYPES) },
	{ "classic-stale-program", classic_stale_program,
	  EVERY_CORE(.this_core = STALE_READ, .possible = TWO_TYPES) },
	{ "classic-lost-store", classic_lost_store,
	  EVERY_CORE(.this_core = LOST_WRITE, .possible = TWO_TYPES) },
	{ "zeroed-not-written-back", zeroed_not_written_back,
	  EVERY_CORE(.this_core = STALE_READ, .possible = TWO_TYPES) },
	{ "write-combined-and-cached", write_combined_and_cached,
	  .arm926 = { .this_core = STALE_READ, .possible = TWO_TYPES },
	  ARMV7(.this_core = TWO_TYPES, .possible = STALE_READ) },
	{ "vivt-stale-kernel", vivt_stale_kernel,
	  .arm926 = { .this_core = STALE_READ } },
	{ "vivt-stale-program", vivt_stale_program,
	  .arm926 = { .this_core = STALE_READ } },
	{ "vivt-lost-store", vivt_lost_store,
	  .arm926 = { .this_core = LOST_WRITE } },
	{ "vivt-program-not-cleaned", vivt_program_not_cleaned,
	  .arm926 = { .this_core = STALE_READ } },
	{ "vivt-program-not-invalidated", vivt_program_not_invalidated,
	  .arm926 = { .this_core = STALE_READ } },
	{ "vmap-not-flushed", vmap_not_flushed,
	  .arm926 = { .this_core = STALE_READ } },
	{ "vmap-not-invalidated", vmap_not_invalidated,
	  .arm926 = { .this_core = STALE_READ } },
	{ "source-not-cleaned", source_not_cleaned,
	  EVERY_CORE(.this_core = STALE_READ) },
	{ "destination-not-invalidated", destination_not_invalidated,
	  EVERY_CORE(.this_core = STALE_READ) },
	{ "engine-source-not-cleaned", engine_source_not_cleaned,
	  EVERY_CORE(.this_core = STALE_READ) },
	{ "engine-destination-not-invalidated", engine_destination_not_invalidated,
	  EVERY_CORE(.this_core = STALE_READ) },
	{ "played-source-not-cleaned", played_source_not_cleaned,
	  EVERY_CORE(.this_core = STALE_READ) },
	{ "played-destination-not-invalidated", played_destination_not_invalidated,
	  EVERY_CORE(.this_core = STALE_READ) },
	{ "picture-not-cleaned", picture_not_cleaned,
	  EVERY_CORE(.this_core = STALE_READ) },
	{ "destination-dirty", destination_dirty,
	  EVERY_CORE(.this_core = DIRTY_OVER_DEVICE) },
	{ "invalidated-before-only", invalidated_before_only,
	  .arm926 = { .this_core = STRAY_DMA },
	  ARMV7(.this_core = STRAY_DMA | STALE_READ) },
	{ "no-sync-for-device", no_sync_for_device,
	  .arm926 = { .this_core = WRONG_SYNC | STALE_READ },
	  ARMV7(.this_core = WRONG_SYNC) },
	{ "shared-line", shared_line,
	  EVERY_CORE(.this_core = DIRTY_OVER_DEVICE | SHARED_LINE,
		     .possible = STALE_READ | LOST_WRITE) },
	{ "answer-beside-a-state", answer_beside_a_state,
	  .arm926 = { .this_core = SHARED_LINE },
	  ARMV7(.some_core = SHARED_LINE) },
	{ "list-beside-a-state", list_beside_a_state,
	  .arm926 = { .this_core = SHARED_LINE },
	  ARMV7(.some_core = SHARED_LINE) },
	{ "buffer-on-the-stack", buffer_on_the_stack,
	  EVERY_CORE(.this_core = SHARED_LINE) },
	{ "list-on-the-stack", list_on_the_stack,
	  EVERY_CORE(.this_core = SHARED_LINE) },
	{ "invalidated-with-neighbour", invalidated_with_neighbour,
	  EVERY_CORE(.this_core = LOST_WRITE) },
	{ "write-during-transfer", write_during_transfer,
	  EVERY_CORE(.this_core = OWNED_TOUCH, .possible = STALE_READ) },
	{ "unmapped-twice", unmapped_twice,
	  EVERY_CORE(.this_core = WRONG_SYNC | OWNED_TOUCH) },
	{ "read-during-receive", read_during_receive,
	  .arm926 = { .this_core = OWNED_TOUCH | STALE_READ },
	  ARMV7(.this_core = OWNED_TOUCH) },
	{ "not-drained", not_drained,
	  EVERY_CORE(.this_core = NOT_DRAINED) },
	{ "bit-before-the-address", bit_before_the_address,
	  ARMV7(.this_core = NOT_DRAINED) },
	{ "barrier-after-the-bit", barrier_after_the_bit,
	  ARMV7(.this_core = NOT_DRAINED) },
	{ "inner-clean-only", inner_clean_only,
	  .cortex_a9 = { .this_core = STALE_READ } },
	{ "cleaned-for-instructions", cleaned_for_instructions,
	  ARMV7(.this_core = STALE_READ) },
	{ "outer-clean-first", outer_clean_first,
	  .cortex_a9 = { .this_core = STALE_READ } },
	{ "sync-wrong-direction", sync_wrong_direction,
	  .arm926 = { .this_core = WRONG_SYNC },
	  ARMV7(.this_core = WRONG_SYNC | STALE_READ) },
	{ "sync-loses-store", sync_loses_store,
	  EVERY_CORE(.this_core = LOST_WRITE, .possible = WRONG_SYNC | STALE_READ) },
	{ "sync-too-short", sync_too_short,
	  EVERY_CORE(.this_core = STALE_READ) },
	{ "receive-sync-too-short", receive_sync_too_short,
	  .arm926 = { .this_core = OWNED_TOUCH },
	  ARMV7(.this_core = OWNED_TOUCH, .possible = STALE_READ) },
	{ "more-than-received", more_than_received,
	  EVERY_CORE(.this_core = UNWRITTEN_READ) },
	{ "failed-copy-loses-store", failed_copy_loses_store,
	  EVERY_CORE(.this_core = LOST_WRITE) },
	{ "beyond-the-mapping", beyond_the_mapping,
	  EVERY_CORE(.this_core = STRAY_DMA) },
	{ "freed-before-stopped", freed_before_stopped,
	  EVERY_CORE(.this_core = STRAY_DMA, .possible = STALE_READ) },
	{ "against-the-direction", against_the_direction,
	  EVERY_CORE(.this_core = STRAY_DMA) },
	{ "read-against-the-direction", read_against_the_direction,
	  EVERY_CORE(.this_core = STRAY_DMA) },
	{ "unmapped-before-it-was-sent", unmapped_before_it_was_sent,
	  EVERY_CORE(.this_core = STRAY_DMA) },
	{ "mapped-both-ways", mapped_both_ways,
	  EVERY_CORE(.this_core = TWO_MAPPINGS, .possible = STALE_READ) },
	{ "two-in-a-line", two_in_a_line,
	  EVERY_CORE(.this_core = TWO_MAPPINGS) },
	{ "freed-before-unmapped", freed_before_unmapped,
	  EVERY_CORE(.this_core = NEVER_UNMAPPED, .possible = OWNED_TOUCH) },
	{ "object-freed-before-unmapped", object_freed_before_unmapped,
	  EVERY_CORE(.this_core = NEVER_UNMAPPED, .possible = OWNED_TOUCH) },
	{ "mapping-left-behind", mapping_left_behind,
	  EVERY_CORE(.this_core = NEVER_UNMAPPED) },
	{ "synced-for-the-cpu-twice", synced_for_the_cpu_twice,
	  EVERY_CORE(.this_core = WRONG_SYNC) },
	{ "list-unmapped-in-part", list_unmapped_in_part,
	  EVERY_CORE(.this_core = WRONG_SYNC) },
	{ "list-synced-in-part", list_synced_in_part,
	  EVERY_CORE(.this_core = WRONG_SYNC | OWNED_TOUCH, .possible = STALE_READ) },
	{ "never-given-received", never_given_received,
	  EVERY_CORE(.this_core = WRONG_SYNC, .possible = STALE_READ) },
	{ "never-given-allocated", never_given_allocated,
	  EVERY_CORE(.this_core = WRONG_SYNC, .possible = LOST_WRITE) },
	{ "never-given-noncontiguous", never_given_noncontiguous,
	  EVERY_CORE(.this_core = WRONG_SYNC, .possible = LOST_WRITE) },
	{ "never-given-pages", never_given_pages,
	  EVERY_CORE(.this_core = WRONG_SYNC, .possible = LOST_WRITE) },
	{ "never-given-unmapped", never_given_unmapped,
	  EVERY_CORE(.this_core = WRONG_SYNC) },
	{ "snooped-uncached", snooped_uncached,
	  ARMV7(.this_core = TWO_TYPES | STALE_READ) },
	{ "snooped-unsynced-uncached", snooped_unsynced_uncached,
	  ARMV7(.this_core = TWO_TYPES | STALE_READ) },
	{ "code-not-flushed", code_not_flushed,
	  EVERY_CORE(.this_core = STALE_INSTRUCTION) },
};

const unsigned int coherence_faults_count = ARRAY_SIZE(coherence_faults);
