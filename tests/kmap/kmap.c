// SPDX-License-Identifier: GPL-2.0
/*
 * Leaves highmem pages as users of kmap() do: kunmap() keeps the mapping, which
 * is write-back, until the kernel has gone round all its places for such ones.
 * The pages are free meanwhile, for whoever asks for some next.
 *
 * The pages are the first ones of each free block, or those of somebody.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/module.h>

static unsigned int order;
module_param(order, uint, 0);
MODULE_PARM_DESC(order, "Of the blocks: all of them that are free, and of larger ones");

static unsigned int pages = 1;
module_param(pages, uint, 0);
MODULE_PARM_DESC(pages, "How many of each block");

static unsigned long frame;
module_param(frame, ulong, 0);
MODULE_PARM_DESC(frame, "The frame number of the only block, which is not free");

/* In each, a page at least is mapped. */
static struct page *blocks[LAST_PKMAP];

static unsigned int take_all_blocks(void)
{
	const gfp_t flags = GFP_HIGHUSER | __GFP_NORETRY | __GFP_NOWARN;
	unsigned int n;

	for (n = 0; n < ARRAY_SIZE(blocks); n++) {
		struct page *first = alloc_pages(flags, order);

		if (!first)
			break;
		if (!PageHighMem(first)) {
			__free_pages(first, order);
			break;
		}
		blocks[n] = first;
	}
	return n;
}

static void map_and_unmap(unsigned int count)
{
	for (unsigned int n = 0; n < count; n++) {
		for (unsigned int i = 0; i < pages; i++) {
			struct page *page = pfn_to_page(page_to_pfn(blocks[n]) + i);

			/* kmap() itself, which this comes from, is deprecated. */
			kmap_high(page);
			kunmap_high(page);
		}
	}
}

static unsigned int count_mapped(unsigned int count)
{
	unsigned int mapped = 0;

	for (unsigned int n = 0; n < count; n++)
		for (unsigned int i = 0; i < pages; i++)
			mapped += !!page_address(pfn_to_page(page_to_pfn(blocks[n]) + i));
	return mapped;
}

static int __init kmap_init(void)
{
	unsigned int count, mapped;

	if (frame) {
		blocks[0] = pfn_to_page(frame);
		count = PageHighMem(blocks[0]) ? 1 : 0;
	} else {
		count = take_all_blocks();
	}
	/* On its way round the kernel removes the mappings of before, once. */
	map_and_unmap(count);
	map_and_unmap(count);
	mapped = count_mapped(count);
	for (unsigned int n = 0; !frame && n < count; n++)
		__free_pages(blocks[n], order);

	pr_info("%u blocks, %u pages remain mapped\n", count, mapped);
	return count && mapped == count * pages ? 0 : -EAGAIN;
}
module_init(kmap_init);

/* Nothing is kept; it is there to let the module go. */
static void __exit kmap_exit(void)
{
}
module_exit(kmap_exit);

MODULE_DESCRIPTION("Leaves mappings of free highmem pages");
MODULE_LICENSE("GPL");
