// SPDX-License-Identifier: GPL-2.0
/*
 * Right sequences: a checker has nothing to say about any of them. Where the
 * architecture promises what a load gives, it is verified.
 */
#include <linux/dmapool.h>
#include <linux/highmem.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/platform_device.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "case.h"

static int verify(bool right)
{
	return right ? 0 : -EIO;
}

/* A device that reads and writes, as the direction allows. */
static void transfer(dma_addr_t dma, size_t bytes, enum dma_data_direction direction)
{
	if (direction != DMA_FROM_DEVICE)
		coherence_device_reads(dma, bytes);
	if (direction != DMA_TO_DEVICE)
		coherence_device_writes(dma, bytes);
}

static int mapped(struct run *r, enum dma_data_direction direction)
{
	dma_addr_t dma;

	store_lines(r->kernel, PAGE_SIZE, 42);
	dma = dma_map_single(r->dev, r->kernel, PAGE_SIZE, direction);
	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	transfer(dma, PAGE_SIZE, direction);
	dma_unmap_single(r->dev, dma, PAGE_SIZE, direction);
	load_lines(r->kernel, PAGE_SIZE);
	store_lines(r->kernel, PAGE_SIZE, 43);
	return verify(lines_hold(r->kernel, PAGE_SIZE, 43));
}

static int map_to_device(struct run *r)
{
	return mapped(r, DMA_TO_DEVICE);
}

static int map_from_device(struct run *r)
{
	return mapped(r, DMA_FROM_DEVICE);
}

static int map_bidirectional(struct run *r)
{
	return mapped(r, DMA_BIDIRECTIONAL);
}

/* A device that the CPU plays. */
static int played(struct run *r)
{
	dma_addr_t dma;

	store_lines(r->kernel, PAGE_SIZE, 42);
	dma = dma_map_single(r->dev, r->kernel, PAGE_SIZE, DMA_BIDIRECTIONAL);
	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	play_reading(r->kernel, PAGE_SIZE);
	play_writing(r->kernel, PAGE_SIZE, 43);
	dma_unmap_single(r->dev, dma, PAGE_SIZE, DMA_BIDIRECTIONAL);
	return verify(lines_hold(r->kernel, PAGE_SIZE, 43));
}

/*
 * A ring in one mapping: the CPU has one buffer at a time, and gives it back
 * before it takes the next, while the device goes on with the others.
 */
static int ring(struct run *r, enum dma_data_direction direction)
{
	const size_t bytes = PAGE_SIZE / 4;
	dma_addr_t dma = dma_map_single(r->dev, r->kernel, PAGE_SIZE, direction);
	size_t at;

	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	transfer(dma, bytes, direction);
	for (at = 0; at < 2 * PAGE_SIZE; at += bytes) {
		size_t mine = at % PAGE_SIZE, next = (at + bytes) % PAGE_SIZE;

		dma_sync_single_for_cpu(r->dev, dma + mine, bytes, direction);
		transfer(dma + next, bytes, direction);
		if (direction == DMA_TO_DEVICE)
			store_lines((void *)r->kernel + mine, bytes, at);
		else
			load_lines((void *)r->kernel + mine, bytes);
		dma_sync_single_for_device(r->dev, dma + mine, bytes, direction);
	}
	dma_unmap_single(r->dev, dma, PAGE_SIZE, direction);
	return 0;
}

static int transmit_ring(struct run *r)
{
	return ring(r, DMA_TO_DEVICE);
}

static int receive_ring(struct run *r)
{
	return ring(r, DMA_FROM_DEVICE);
}

/* Two receive buffers in one page, each unmapped when it is full. */
static int two_buffers(struct run *r)
{
	const size_t bytes = PAGE_SIZE / 2;
	void *next = (void *)r->kernel + bytes;
	dma_addr_t first = dma_map_single(r->dev, r->kernel, bytes, DMA_FROM_DEVICE);
	dma_addr_t second = dma_map_single(r->dev, next, bytes, DMA_FROM_DEVICE);

	if (dma_mapping_error(r->dev, first) || dma_mapping_error(r->dev, second))
		return -ENOMEM;
	coherence_device_writes(first, bytes);
	dma_unmap_single(r->dev, first, bytes, DMA_FROM_DEVICE);
	load_lines(r->kernel, bytes);
	coherence_device_writes(second, bytes);
	dma_unmap_single(r->dev, second, bytes, DMA_FROM_DEVICE);
	load_lines(next, bytes);
	return 0;
}

/* A receive buffer that its driver syncs, and a part of it again, as page_pool does. */
static int synced_by_driver(struct run *r)
{
	const enum dma_data_direction from = DMA_FROM_DEVICE;
	dma_addr_t dma = dma_map_single_attrs(r->dev, r->kernel, PAGE_SIZE, from,
					      DMA_ATTR_SKIP_CPU_SYNC);
	unsigned int i;

	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	store_lines(r->kernel, LINE, 42);
	for (i = 0; i < 2; i++) {
		dma_sync_single_for_device(r->dev, dma, PAGE_SIZE / 2, from);
		coherence_device_writes(dma, LINE);
		dma_sync_single_for_cpu(r->dev, dma, PAGE_SIZE / 2, from);
		load_lines(r->kernel, LINE);
	}
	dma_unmap_single_attrs(r->dev, dma, PAGE_SIZE, from, DMA_ATTR_SKIP_CPU_SYNC);
	return 0;
}

/* And one that is mapped, never used, and unmapped. */
static int mapped_for_nothing(struct run *r)
{
	dma_addr_t dma = dma_map_single_attrs(r->dev, r->kernel, PAGE_SIZE, DMA_FROM_DEVICE,
					      DMA_ATTR_SKIP_CPU_SYNC);

	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	dma_unmap_single_attrs(r->dev, dma, PAGE_SIZE, DMA_FROM_DEVICE, DMA_ATTR_SKIP_CPU_SYNC);
	return 0;
}

/* Commands and answers in memory that the DMA API allocates, of which the driver syncs. */
static void commands(struct run *r, void *cpu, dma_addr_t dma)
{
	const enum dma_data_direction both = DMA_BIDIRECTIONAL;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		store_lines(cpu, PAGE_SIZE, i);
		dma_sync_single_for_device(r->dev, dma, PAGE_SIZE, both);
		transfer(dma, PAGE_SIZE, both);
		dma_sync_single_for_cpu(r->dev, dma, PAGE_SIZE, both);
		load_lines(cpu, PAGE_SIZE);
	}
}

static int noncoherent_memory(struct run *r)
{
	dma_addr_t dma;
	void *cpu = dma_alloc_noncoherent(r->dev, PAGE_SIZE, &dma, DMA_BIDIRECTIONAL, GFP_KERNEL);

	if (!cpu)
		return -ENOMEM;
	commands(r, cpu, dma);
	dma_free_noncoherent(r->dev, PAGE_SIZE, cpu, dma, DMA_BIDIRECTIONAL);
	return 0;
}

static int noncontiguous_memory(struct run *r)
{
	struct sg_table *table = dma_alloc_noncontiguous(r->dev, PAGE_SIZE, DMA_BIDIRECTIONAL,
							 GFP_KERNEL, 0);

	if (!table)
		return -ENOMEM;
	commands(r, sg_virt(table->sgl), sg_dma_address(table->sgl));
	dma_free_noncontiguous(r->dev, PAGE_SIZE, table, DMA_BIDIRECTIONAL);
	return 0;
}

static int allocated_pages(struct run *r)
{
	dma_addr_t dma;
	struct page *pages = dma_alloc_pages(r->dev, PAGE_SIZE, &dma, DMA_BIDIRECTIONAL,
					     GFP_KERNEL);

	if (!pages)
		return -ENOMEM;
	commands(r, page_address(pages), dma);
	dma_free_pages(r->dev, PAGE_SIZE, pages, dma, DMA_BIDIRECTIONAL);
	return 0;
}

/* A list of two buffers, of which the CPU reads what was synced, and gives it back. */
static int list_synced_whole(struct run *r)
{
	const size_t half = PAGE_SIZE / 2;
	struct scatterlist list[2];
	unsigned int i;

	sg_init_table(list, 2);
	sg_set_page(&list[0], r->page, half, 0);
	sg_set_page(&list[1], r->page, half, half);
	if (dma_map_sg(r->dev, list, 2, DMA_FROM_DEVICE) != 2)
		return -ENOMEM;
	for (i = 0; i < 2; i++) {
		coherence_device_writes(sg_dma_address(list), PAGE_SIZE);
		dma_sync_sg_for_cpu(r->dev, list, 2, DMA_FROM_DEVICE);
		load_lines(r->kernel, PAGE_SIZE);
		dma_sync_sg_for_device(r->dev, list, 2, DMA_FROM_DEVICE);
	}
	dma_unmap_sg(r->dev, list, 2, DMA_FROM_DEVICE);
	return 0;
}

/* A device that looks into the caches: nobody maintains anything. */
static int snooped(struct run *r)
{
	struct platform_device *device = snooping_device();
	dma_addr_t dma;
	void *ring;

	if (IS_ERR(device))
		return PTR_ERR(device);
	store_lines(r->kernel, PAGE_SIZE, 42);
	dma = dma_map_page(&device->dev, r->page, 0, PAGE_SIZE, DMA_BIDIRECTIONAL);
	transfer(dma, PAGE_SIZE, DMA_BIDIRECTIONAL);
	load_lines(r->kernel, PAGE_SIZE);
	store_lines(r->kernel, PAGE_SIZE, 43);
	transfer(dma, PAGE_SIZE, DMA_BIDIRECTIONAL);
	dma_unmap_page(&device->dev, dma, PAGE_SIZE, DMA_BIDIRECTIONAL);
	load_lines(r->kernel, PAGE_SIZE);
	ring = dma_alloc_coherent(&device->dev, PAGE_SIZE, &dma, GFP_KERNEL);
	if (ring) {
		store_lines(ring, PAGE_SIZE, 44);
		transfer(dma, PAGE_SIZE, DMA_BIDIRECTIONAL);
		load_lines(ring, PAGE_SIZE);
		dma_free_coherent(&device->dev, PAGE_SIZE, ring, dma);
	}
	platform_device_unregister(device);
	return ring ? 0 : -ENOMEM;
}

/* Such a device whose driver syncs by itself, which nobody has to. */
static int snooped_unsynced(struct run *r)
{
	struct platform_device *device = snooping_device();
	dma_addr_t dma;

	if (IS_ERR(device))
		return PTR_ERR(device);
	store_lines(r->kernel, PAGE_SIZE, 42);
	dma = dma_map_page_attrs(&device->dev, r->page, 0, PAGE_SIZE, DMA_BIDIRECTIONAL,
				 DMA_ATTR_SKIP_CPU_SYNC);
	transfer(dma, PAGE_SIZE, DMA_BIDIRECTIONAL);
	load_lines(r->kernel, PAGE_SIZE);
	store_lines(r->kernel, PAGE_SIZE, 43);
	transfer(dma, PAGE_SIZE, DMA_BIDIRECTIONAL);
	load_lines(r->kernel, PAGE_SIZE);
	dma_unmap_page_attrs(&device->dev, dma, PAGE_SIZE, DMA_BIDIRECTIONAL,
			     DMA_ATTR_SKIP_CPU_SYNC);
	platform_device_unregister(device);
	return 0;
}

/* Such a device that has nothing but memory without an address of the kernel's. */
static int snooped_unmapped(struct run *r)
{
	struct platform_device *device = snooping_device();
	dma_addr_t dma;
	void *window;
	struct page *page;

	if (IS_ERR(device))
		return PTR_ERR(device);
	page = dma_alloc_attrs(&device->dev, PAGE_SIZE, &dma, GFP_KERNEL,
			       DMA_ATTR_NO_KERNEL_MAPPING);
	if (page) {
		window = kmap_local_page(page);
		store_lines(window, PAGE_SIZE, 42);
		transfer(dma, PAGE_SIZE, DMA_BIDIRECTIONAL);
		load_lines(window, PAGE_SIZE);
		kunmap_local(window);
		dma_free_attrs(&device->dev, PAGE_SIZE, page, dma, DMA_ATTR_NO_KERNEL_MAPPING);
	}
	platform_device_unregister(device);
	return page ? 0 : -ENOMEM;
}

/* A page for such a device and for one that does not, in turns. */
static int one_of_two_snoops(struct run *r)
{
	const enum dma_data_direction both = DMA_BIDIRECTIONAL;
	struct platform_device *device = snooping_device();
	dma_addr_t snooped, plain;
	unsigned int i;

	if (IS_ERR(device))
		return PTR_ERR(device);
	snooped = dma_map_page_attrs(&device->dev, r->page, 0, PAGE_SIZE, both,
				     DMA_ATTR_SKIP_CPU_SYNC);
	plain = dma_map_page_attrs(r->dev, r->page, 0, PAGE_SIZE, both, DMA_ATTR_SKIP_CPU_SYNC);
	for (i = 0; i < 2; i++) {
		store_lines(r->kernel, PAGE_SIZE, 42);
		dma_sync_single_for_device(r->dev, plain, PAGE_SIZE, both);
		transfer(plain, PAGE_SIZE, both);
		dma_sync_single_for_cpu(r->dev, plain, PAGE_SIZE, both);
		load_lines(r->kernel, PAGE_SIZE);
		store_lines(r->kernel, PAGE_SIZE / 2, 43);
		transfer(snooped, PAGE_SIZE, both);
		load_lines(r->kernel, PAGE_SIZE);
	}
	dma_unmap_page_attrs(r->dev, plain, PAGE_SIZE, both, DMA_ATTR_SKIP_CPU_SYNC);
	dma_unmap_page_attrs(&device->dev, snooped, PAGE_SIZE, both, DMA_ATTR_SKIP_CPU_SYNC);
	platform_device_unregister(device);
	return 0;
}

/* What was received is sent on in place, one mapping after the other. */
static int mapped_in_turns(struct run *r)
{
	dma_addr_t dma;

	dma = dma_map_single(r->dev, r->kernel, PAGE_SIZE, DMA_FROM_DEVICE);
	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	coherence_device_writes(dma, PAGE_SIZE);
	dma_unmap_single(r->dev, dma, PAGE_SIZE, DMA_FROM_DEVICE);
	dma = dma_map_single(r->dev, r->kernel, PAGE_SIZE, DMA_TO_DEVICE);
	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	coherence_device_reads(dma, PAGE_SIZE);
	dma_unmap_single(r->dev, dma, PAGE_SIZE, DMA_TO_DEVICE);
	return 0;
}

/* Two headers in one line that are sent, each mapped by itself: the device only reads. */
static int two_sent_from_a_line(struct run *r)
{
	dma_addr_t dma[2];
	unsigned int i;

	store_lines(r->kernel, LINE, 42);
	for (i = 0; i < 2; i++) {
		dma[i] = dma_map_single(r->dev, (void *)r->kernel + i * LINE / 2, LINE / 2,
					DMA_TO_DEVICE);
		if (dma_mapping_error(r->dev, dma[i]))
			return -ENOMEM;
		coherence_device_reads(dma[i], LINE / 2);
	}
	while (i--)
		dma_unmap_single(r->dev, dma[i], LINE / 2, DMA_TO_DEVICE);
	return 0;
}

/* One list whose entries meet within a line, unmapped whole, and then freed. */
static int entries_in_a_line(struct run *r)
{
	const size_t bytes = LINE + LINE / 2;
	struct page *page = alloc_page(GFP_KERNEL);
	struct scatterlist list[2];

	if (!page)
		return -ENOMEM;
	sg_init_table(list, 2);
	sg_set_page(&list[0], page, bytes, 0);
	sg_set_page(&list[1], page, bytes, bytes);
	if (dma_map_sg(r->dev, list, 2, DMA_FROM_DEVICE) == 2) {
		coherence_device_writes(sg_dma_address(list), 2 * bytes);
		dma_sync_sg_for_cpu(r->dev, list, 2, DMA_FROM_DEVICE);
		load_lines(page_address(page), 2 * bytes);
		dma_unmap_sg(r->dev, list, 2, DMA_FROM_DEVICE);
	}
	__free_page(page);
	return 0;
}

/*
 * Two receive buffers meet within a word. The device has the second one when the kernel copies
 * the first, whole words, and drops what is not its own of the last one.
 */
static int last_word(struct run *r)
{
	void *second = (void *)r->kernel + LINE + 6;
	dma_addr_t dma = dma_map_single(r->dev, second, LINE, DMA_FROM_DEVICE);

	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	READ_ONCE(r->kernel[(LINE + 6) / sizeof(u32)]);
	dma_unmap_single(r->dev, dma, LINE, DMA_FROM_DEVICE);
	return 0;
}

/* A packet that ends within a word, of which the kernel reads no more than is there. */
static int short_packet(struct run *r)
{
	const size_t bytes = LINE + 6;
	dma_addr_t dma = dma_map_single(r->dev, r->kernel, PAGE_SIZE, DMA_FROM_DEVICE);

	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	coherence_device_writes(dma, bytes);
	dma_unmap_single(r->dev, dma, PAGE_SIZE, DMA_FROM_DEVICE);
	load_lines(r->kernel, bytes);
	/* Words are what a checksum adds. */
	READ_ONCE(r->kernel[bytes / sizeof(u32)]);
	return 0;
}

/* A copy that fails, to memory that nobody has stored to since it was written back. */
static int failed_copy_keeps_store(struct run *r)
{
	dma_addr_t dma;

	store_lines(r->kernel, LINE, 42);
	flush_lines(r->kernel, r->pa, LINE);
	dma = dma_map_single(r->dev, r->kernel, LINE, DMA_BIDIRECTIONAL);
	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	coherence_device_reads(dma, LINE);
	dma_unmap_single(r->dev, dma, LINE, DMA_BIDIRECTIONAL);
	return verify(lines_hold(r->kernel, LINE, 42));
}

/* A counter next to a receive buffer, in a line of its own. */
static int separate_lines(struct run *r)
{
	const size_t bytes = 2 * LINE;
	u32 *counter = (void *)r->kernel + bytes;
	dma_addr_t dma = dma_map_single(r->dev, r->kernel, bytes, DMA_FROM_DEVICE);
	u32 before = READ_ONCE(*counter);

	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	WRITE_ONCE(*counter, before + 1);
	coherence_device_writes(dma, bytes);
	dma_unmap_single(r->dev, dma, bytes, DMA_FROM_DEVICE);
	load_lines(r->kernel, bytes);
	return verify(READ_ONCE(*counter) == before + 1);
}

/* What a device answers, in lines of its own of a structure, and the driver's state. */
struct command {
	u32 state;
	u8 answer[LONGEST_LINE] ____cacheline_aligned;
	u32 count ____cacheline_aligned;
};

static int answer_in_its_own_lines(struct run *r)
{
	struct command *command = kzalloc_obj(*command);
	dma_addr_t dma;

	if (!command)
		return -ENOMEM;
	dma = dma_map_single(r->dev, command->answer, LINE, DMA_FROM_DEVICE);
	if (!dma_mapping_error(r->dev, dma)) {
		READ_ONCE(command->state);
		coherence_device_writes(dma, LINE);
		WRITE_ONCE(command->count, READ_ONCE(command->count) + 1);
		dma_unmap_single(r->dev, dma, LINE, DMA_FROM_DEVICE);
		load_lines(command->answer, LINE);
	}
	kfree(command);
	return 0;
}

/*
 * Buffers that do not end with a line, of which nobody has the rest: one allocated with its
 * own length, one mapped as far as it is used, and one from two bytes on, as for a packet
 * whose header has 14.
 */
static int no_whole_lines(struct run *r)
{
	const size_t mapped[][2] = { { 0, 60 }, { 0, 13 }, { 2, 40 } };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(mapped); i++) {
		size_t from = mapped[i][0], bytes = mapped[i][1];
		u8 *buffer = kmalloc(60, GFP_KERNEL);
		dma_addr_t dma;

		if (!buffer)
			return -ENOMEM;
		memset(buffer, 0, 60);
		dma = dma_map_single(r->dev, buffer + from, bytes, DMA_FROM_DEVICE);
		if (!dma_mapping_error(r->dev, dma)) {
			coherence_device_writes(dma, bytes);
			dma_unmap_single(r->dev, dma, bytes, DMA_FROM_DEVICE);
			READ_ONCE(buffer[from]);
		}
		kfree(buffer);
	}
	return 0;
}

/* What is sent from the stack: the device only reads. */
static int sent_from_the_stack(struct run *r)
{
	u32 words[3] = { 42, 43, 44 };
	dma_addr_t dma = dma_map_single(r->dev, words, sizeof(words), DMA_TO_DEVICE);

	if (dma_mapping_error(r->dev, dma))
		return -ENOMEM;
	coherence_device_reads(dma, sizeof(words));
	dma_unmap_single(r->dev, dma, sizeof(words), DMA_TO_DEVICE);
	return 0;
}

static int scatterlist(struct run *r)
{
	struct page *pages[2] = { r->page, alloc_page(GFP_KERNEL) };
	struct scatterlist *sg;
	struct sg_table table;
	unsigned int i;
	int ret;

	if (!pages[1])
		return -ENOMEM;
	ret = sg_alloc_table_from_pages(&table, pages, 2, LINE, 2 * PAGE_SIZE - LINE, GFP_KERNEL);
	if (ret)
		goto free_page;
	for (i = 0; i < 2; i++)
		store_lines(page_address(pages[i]), PAGE_SIZE, 42);
	ret = dma_map_sgtable(r->dev, &table, DMA_BIDIRECTIONAL, 0);
	if (ret)
		goto free_table;
	for_each_sgtable_dma_sg(&table, sg, i)
		transfer(sg_dma_address(sg), sg_dma_len(sg), DMA_BIDIRECTIONAL);
	dma_sync_sgtable_for_cpu(r->dev, &table, DMA_BIDIRECTIONAL);
	for (i = 0; i < 2; i++)
		store_lines(page_address(pages[i]), PAGE_SIZE, 43);
	dma_sync_sgtable_for_device(r->dev, &table, DMA_BIDIRECTIONAL);
	for_each_sgtable_dma_sg(&table, sg, i)
		transfer(sg_dma_address(sg), sg_dma_len(sg), DMA_BIDIRECTIONAL);
	dma_unmap_sgtable(r->dev, &table, DMA_BIDIRECTIONAL, 0);
	for (i = 0; i < 2; i++)
		load_lines(page_address(pages[i]), PAGE_SIZE);
free_table:
	sg_free_table(&table);
free_page:
	__free_page(pages[1]);
	return ret;
}

/* A page that may have no linear address, filled and read through windows. */
static int highmem(struct run *r)
{
	struct page *page = alloc_page(GFP_HIGHUSER);
	dma_addr_t dma;
	void *window;
	int ret = -ENOMEM;

	if (!page)
		return ret;
	window = kmap_local_page(page);
	store_lines(window, PAGE_SIZE, 42);
	kunmap_local(window);
	dma = dma_map_page(r->dev, page, 0, PAGE_SIZE, DMA_BIDIRECTIONAL);
	if (dma_mapping_error(r->dev, dma))
		goto free_page;
	transfer(dma, PAGE_SIZE, DMA_BIDIRECTIONAL);
	dma_unmap_page(r->dev, dma, PAGE_SIZE, DMA_BIDIRECTIONAL);
	window = kmap_local_page(page);
	load_lines(window, PAGE_SIZE);
	kunmap_local(window);
	ret = 0;
free_page:
	__free_page(page);
	return ret;
}

/*
 * The kernel fills a page through a vmap() of it, the device reads it, writes
 * it, and the kernel reads it there again: Documentation/core-api/cachetlb.rst.
 */
static int vmap_flushed(struct run *r)
{
	u32 *alias = vmap(&r->page, 1, VM_MAP, PAGE_KERNEL);
	dma_addr_t dma;
	int ret = -ENOMEM;

	if (!alias)
		return ret;
	store_lines(alias, PAGE_SIZE, 42);
	flush_kernel_vmap_range(alias, PAGE_SIZE);
	dma = dma_map_page(r->dev, r->page, 0, PAGE_SIZE, DMA_BIDIRECTIONAL);
	if (dma_mapping_error(r->dev, dma))
		goto unmap;
	transfer(dma, PAGE_SIZE, DMA_BIDIRECTIONAL);
	dma_unmap_page(r->dev, dma, PAGE_SIZE, DMA_BIDIRECTIONAL);
	invalidate_kernel_vmap_range(alias, PAGE_SIZE);
	load_lines(alias, PAGE_SIZE);
	ret = 0;
unmap:
	vunmap(alias);
	return ret;
}

/* The first half of the page is copied to the second by a DMA engine. */
static int engine_mapped(struct run *r)
{
	const size_t half = PAGE_SIZE / 2;
	void *destination = (void *)r->kernel + half;
	dma_addr_t from, to;
	int ret = -ENOMEM;

	store_lines(r->kernel, half, 42);
	store_lines(destination, half, 0);
	from = dma_map_single(r->dev, r->kernel, half, DMA_TO_DEVICE);
	if (dma_mapping_error(r->dev, from))
		return ret;
	to = dma_map_single(r->dev, destination, half, DMA_FROM_DEVICE);
	if (!dma_mapping_error(r->dev, to)) {
		ret = engine_copy(to, from, half);
		dma_unmap_single(r->dev, to, half, DMA_FROM_DEVICE);
	}
	dma_unmap_single(r->dev, from, half, DMA_TO_DEVICE);
	return ret ?: verify(lines_hold(destination, half, 42));
}

/* Memory that was never mapped for any device, as an FPGA has it, or firmware. */
static int never_mapped(struct run *r)
{
	struct page *page = alloc_page(GFP_KERNEL);

	if (!page)
		return -ENOMEM;
	store_lines(page_address(page), PAGE_SIZE, 42);
	flush_lines(page_address(page), page_to_phys(page), PAGE_SIZE);
	transfer(page_to_phys(page), PAGE_SIZE, DMA_BIDIRECTIONAL);
	__free_page(page);
	return 0;
}

/* A picture where a display driver has it. */
static int picture(struct run *r)
{
	void __iomem *display = display_open();
	int ret = -ENOMEM;
	dma_addr_t dma;
	void *pixels;

	if (!display)
		return -EOPNOTSUPP;
	pixels = dma_alloc_wc(r->dev, PAGE_SIZE, &dma, GFP_KERNEL);
	if (pixels) {
		store_lines(pixels, PAGE_SIZE, 42);
		display_show(display, dma, PAGE_SIZE);
		dma_free_wc(r->dev, PAGE_SIZE, pixels, dma);
		ret = 0;
	}
	iounmap(display);
	return ret;
}

/* Coherent memory that kernel, program and device use, with no maintenance. */
static int coherent_memory(struct run *r)
{
	dma_addr_t dma;
	u32 *words = dma_alloc_coherent(r->dev, PAGE_SIZE, &dma, GFP_KERNEL);
	bool right;
	int ret;

	if (!words)
		return -ENOMEM;
	ret = program_map_coherent(r, words, dma);
	if (ret)
		goto free;
	WRITE_ONCE(words[0], 42);
	right = program_load(r, 0) == 42;
	program_store(r, 1, 43);
	right &= READ_ONCE(words[1]) == 43;
	drain_stores();
	transfer(dma, PAGE_SIZE, DMA_BIDIRECTIONAL);
	load_lines(words, PAGE_SIZE);
	program_load(r, 1);
	program_unmap(r);
	ret = verify(right);
free:
	dma_free_coherent(r->dev, PAGE_SIZE, words, dma);
	return ret;
}

static int write_combined_drained(struct run *r)
{
	dma_addr_t dma;
	u32 *descriptor = dma_alloc_wc(r->dev, PAGE_SIZE, &dma, GFP_KERNEL);

	if (!descriptor)
		return -ENOMEM;
	WRITE_ONCE(*descriptor, 42);
	drain_stores();
	coherence_device_reads(dma, PAGE_SIZE);
	dma_free_wc(r->dev, PAGE_SIZE, descriptor, dma);
	return 0;
}

/*
 * Descriptors that the device looks at by itself: each has an address, then, after a
 * barrier, the bit that makes it the device's. The device has seen the first when it gets
 * the second, and then the first again, of which the bit alone was stored.
 */
static int bit_after_the_address(struct run *r)
{
	dma_addr_t dma;
	u32 *descriptor = dma_alloc_coherent(r->dev, PAGE_SIZE, &dma, GFP_KERNEL);
	unsigned int i;

	if (!descriptor)
		return -ENOMEM;
	for (i = 0; i < 4; i += 2) {
		WRITE_ONCE(descriptor[i + 1], r->pa);
		dma_wmb();	/* before the bit */
		WRITE_ONCE(descriptor[i], 1);
		coherence_device_reads(dma + i * sizeof(u32), 2 * sizeof(u32));
	}
	WRITE_ONCE(descriptor[3], r->pa);
	wmb();	/* the same, and drains */
	WRITE_ONCE(descriptor[2], 1);
	coherence_device_reads(dma, 4 * sizeof(u32));
	coherence_device_writes(dma, sizeof(u32));
	WRITE_ONCE(descriptor[0], 1);
	coherence_device_reads(dma, 2 * sizeof(u32));
	dma_free_coherent(r->dev, PAGE_SIZE, descriptor, dma);
	return 0;
}

/* A ring, and then the number of its last entry, in a page of its own. */
static int number_after_the_entry(struct run *r)
{
	dma_addr_t dma[2];
	u32 *ring = dma_alloc_coherent(r->dev, PAGE_SIZE, &dma[0], GFP_KERNEL);
	u32 *number = dma_alloc_coherent(r->dev, PAGE_SIZE, &dma[1], GFP_KERNEL);
	unsigned int i;

	for (i = 0; ring && number && i < 3; i++) {
		unsigned long flags;

		/* An interrupt may drain all in between, and then nothing tells of an order. */
		local_irq_save(flags);
		WRITE_ONCE(ring[2 * i], r->pa);
		WRITE_ONCE(ring[2 * i + 1], PAGE_SIZE);
		dma_wmb();	/* before the number */
		WRITE_ONCE(*number, i);
		coherence_device_reads(dma[1], sizeof(*number));
		coherence_device_reads(dma[0] + 2 * i * sizeof(u32), 2 * sizeof(u32));
		local_irq_restore(flags);
	}
	i = ring && number;
	if (ring)
		dma_free_coherent(r->dev, PAGE_SIZE, ring, dma[0]);
	if (number)
		dma_free_coherent(r->dev, PAGE_SIZE, number, dma[1]);
	return i ? 0 : -ENOMEM;
}

/* Two blocks of one page, one the device's, one being filled. */
static int pool(struct run *r)
{
	struct dma_pool *blocks = dma_pool_create("coherence-test", r->dev, 64, 64, 0);
	dma_addr_t dma[2];
	u32 *block[2];
	unsigned int i;

	if (!blocks)
		return -ENOMEM;
	for (i = 0; i < 2; i++) {
		block[i] = dma_pool_zalloc(blocks, GFP_KERNEL, &dma[i]);
		if (!block[i])
			break;
		WRITE_ONCE(*block[i], 42);
		drain_stores();
		transfer(dma[i], 64, DMA_BIDIRECTIONAL);
		READ_ONCE(*block[0]);
	}
	while (i--)
		dma_pool_free(blocks, block[i], dma[i]);
	dma_pool_destroy(blocks);
	return 0;
}

/*
 * A page of the program's own, pinned for a device. Pinning maintains the
 * program's mapping, which leaves the page alone until it is unpinned.
 */
static int user_page(struct run *r)
{
	int ret = program_map_own(r);
	struct page *page;
	dma_addr_t dma;

	if (ret)
		return ret;
	program_store(r, 0, 42);
	if (pin_user_pages_fast(r->program, 1, FOLL_WRITE, &page) != 1)
		return -ENOMEM;
	dma = dma_map_page(r->dev, page, 0, PAGE_SIZE, DMA_BIDIRECTIONAL);
	if (dma_mapping_error(r->dev, dma)) {
		ret = -ENOMEM;
	} else {
		transfer(dma, PAGE_SIZE, DMA_BIDIRECTIONAL);
		dma_unmap_page(r->dev, dma, PAGE_SIZE, DMA_BIDIRECTIONAL);
	}
	unpin_user_pages_dirty_lock(&page, 1, true);
	program_load(r, 0);
	program_unmap(r);
	return ret;
}

/* A cached page of the kernel's in a program, both aliases maintained. */
static int shared_with_program(struct run *r)
{
	int ret = program_map(r, r->page, CACHED);
	bool right;

	if (ret)
		return ret;
	store_lines(r->kernel, LINE, 42);
	flush_lines(r->kernel, r->pa, LINE);
	right = program_load(r, 0) == 42;
	program_store(r, 0, 43);
	flush_program(r);
	right &= READ_ONCE(r->kernel[0]) == 43;
	return verify(right);
}

/*
 * The classic driver put right: the zeroes go to memory and the lines go away
 * before the page is mapped non-cached, and from then on until it is unmapped
 * the kernel leaves its cached address alone.
 */
static int zeroed_and_written_back(struct run *r)
{
	bool right;
	int ret;

	store_lines(r->kernel, PAGE_SIZE, 0);
	flush_lines(r->kernel, r->pa, PAGE_SIZE);
	ret = program_map(r, r->page, NONCACHED);
	if (ret)
		return ret;
	right = program_load(r, 0) == 0;
	program_store(r, 0, 42);
	right &= program_load(r, 0) == 42;
	program_unmap(r);
	drain_stores();
	flush_lines(r->kernel, r->pa, PAGE_SIZE);
	right &= READ_ONCE(r->kernel[0]) == 42;
	return verify(right);
}

/* Kernel and program both have it non-cached, from a window and a mapping. */
static int noncached_for_both(struct run *r)
{
	u32 *window;
	bool right;
	int ret;

	flush_lines(r->kernel, r->pa, PAGE_SIZE);
	window = vmap(&r->page, 1, VM_MAP, pgprot_noncached(PAGE_KERNEL));
	if (!window)
		return -ENOMEM;
	memset(window, 0, PAGE_SIZE);
	ret = program_map(r, r->page, NONCACHED);
	if (ret)
		goto unmap;
	right = program_load(r, 1) == 0;
	program_store(r, 0, 42);
	right &= READ_ONCE(window[0]) == 42;
	WRITE_ONCE(window[1], 43);
	right &= program_load(r, 1) == 43;
	program_unmap(r);
	ret = verify(right);
unmap:
	vunmap(window);
	return ret;
}

/* What the program does by itself, and the kernel keeps right: see run.c. */

static int fork_and_share(struct run *r)
{
	return verify(program_does(r, COHERENCE_FORK));
}

static int page_cache(struct run *r)
{
	return verify(program_does(r, COHERENCE_PAGE_CACHE));
}

static int code_flushed(struct run *r)
{
	return verify(program_does(r, COHERENCE_CODE_FLUSHED));
}

/*
 * A page that a program has stored to past the caches is freed as it is, while the
 * cache may have an old line of it. Whoever has it next may look at it: no value is promised.
 * With CONFIG_PAGE_POISONING the kernel itself stores to it in between.
 */
static int page_with_a_new_owner(struct run *r)
{
	struct page *page = alloc_page(GFP_KERNEL);
	int ret;

	if (!page)
		return -ENOMEM;
	ret = program_map(r, page, NONCACHED);
	if (!ret) {
		program_store(r, 0, 42);
		program_unmap(r);
	}
	__free_page(page);
	page = alloc_page(GFP_KERNEL);
	if (!page)
		return -ENOMEM;
	load_lines(page_address(page), LINE);
	__free_page(page);
	return ret;
}

const struct coherence_case coherence_right[] = {
	{ "map-to-device", map_to_device },
	{ "map-from-device", map_from_device },
	{ "map-bidirectional", map_bidirectional },
	{ "transmit-ring", transmit_ring },
	{ "receive-ring", receive_ring },
	{ "two-buffers", two_buffers },
	{ "synced-by-driver", synced_by_driver },
	{ "mapped-for-nothing", mapped_for_nothing },
	{ "noncoherent-memory", noncoherent_memory },
	{ "noncontiguous-memory", noncontiguous_memory },
	{ "allocated-pages", allocated_pages },
	{ "list-synced-whole", list_synced_whole },
	{ "snooped", snooped },
	{ "snooped-unsynced", snooped_unsynced },
	{ "snooped-unmapped", snooped_unmapped },
	{ "one-of-two-snoops", one_of_two_snoops },
	{ "mapped-in-turns", mapped_in_turns },
	{ "two-sent-from-a-line", two_sent_from_a_line },
	{ "entries-in-a-line", entries_in_a_line },
	{ "last-word", last_word },
	{ "short-packet", short_packet },
	{ "failed-copy-keeps-store", failed_copy_keeps_store },
	{ "separate-lines", separate_lines },
	{ "answer-in-its-own-lines", answer_in_its_own_lines },
	{ "no-whole-lines", no_whole_lines },
	{ "sent-from-the-stack", sent_from_the_stack },
	{ "scatterlist", scatterlist },
	{ "engine-mapped", engine_mapped },
	{ "played-mapped", played },
	{ "never-mapped", never_mapped },
	{ "picture", picture },
	{ "highmem", highmem },
	{ "vmap-flushed", vmap_flushed },
	{ "coherent-memory", coherent_memory },
	{ "write-combined-drained", write_combined_drained },
	{ "bit-after-the-address", bit_after_the_address },
	{ "number-after-the-entry", number_after_the_entry },
	{ "pool", pool },
	{ "user-page", user_page },
	{ "shared-with-program", shared_with_program },
	{ "zeroed-and-written-back", zeroed_and_written_back },
	{ "noncached-for-both", noncached_for_both },
	{ "page-with-a-new-owner", page_with_a_new_owner },
	{ "fork", fork_and_share },
	{ "page-cache", page_cache },
	{ "code-flushed", code_flushed },
};

const unsigned int coherence_right_count = ARRAY_SIZE(coherence_right);
