// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/classic: the small character driver that shares memory with a program,
 * as many texts have it. The parameter variant= says in which of their ways.
 * Documentation/classic-bug.md walks through it.
 *
 * Most of the ways are wrong, on one core or another. To be watched under the
 * coherence checker ("make classic"), and not to be copied.
 */
#include <linux/cacheflush.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#define SIZE	SZ_64K
#define PAGES	(SIZE / PAGE_SIZE)

/* The address by which the kernel reads and writes the memory. */
enum kernel_side {
	LINEAR,		/* what kmalloc() returned: cached */
	WINDOW,		/* a second, non-cached mapping of the same pages */
	COHERENT,	/* what dma_alloc_coherent() returned */
};

/* The memory type of the program's mapping. */
enum program_side { CACHED, NONCACHED };

/* When the program's mapping is filled. */
enum filled { BY_MMAP, BY_FAULT };

/* When the whole data cache is flushed. */
enum flushed { NEVER, BEFORE_READ_AFTER_WRITE };

struct variant {
	const char *name;
	enum kernel_side kernel;
	enum program_side program;
	enum filled filled;
	enum flushed flushed;
};

static const struct variant variants[] = {
	{ "cached" },
	{ "cached-by-fault", .filled = BY_FAULT },
	{ "noncached", .program = NONCACHED },
	{ "noncached-flush", .program = NONCACHED, .flushed = BEFORE_READ_AFTER_WRITE },
	{ "cached-flush", .flushed = BEFORE_READ_AFTER_WRITE },
	{ "noncached-both", .kernel = WINDOW, .program = NONCACHED },
	{ "coherent", .kernel = COHERENT },
};

static char *variant_name = "cached";
module_param_named(variant, variant_name, charp, 0444);
MODULE_PARM_DESC(variant, "how memory is shared, see classic.c");

static const struct variant *variant;
static struct platform_device *device;
static void *memory;	/* as it was allocated */
static void *view;	/* where the kernel reads and writes it */
static dma_addr_t dma;

static void *allocate(void)
{
	void *start;
	size_t at;

	if (variant->kernel == COHERENT)
		return dma_alloc_coherent(&device->dev, SIZE, &dma, GFP_KERNEL);
	start = kzalloc(SIZE, GFP_KERNEL);
	for (at = 0; start && at < SIZE; at += PAGE_SIZE)
		SetPageReserved(virt_to_page(start + at));
	return start;
}

static void free(void)
{
	size_t at;

	if (variant->kernel == COHERENT) {
		dma_free_coherent(&device->dev, SIZE, memory, dma);
		return;
	}
	for (at = 0; at < SIZE; at += PAGE_SIZE)
		ClearPageReserved(virt_to_page(memory + at));
	kfree(memory);
}

/*
 * ioremap_nocache() of the pages, said the texts. Today's ioremap() refuses RAM;
 * this is what it did.
 */
static void *map_window(void)
{
	struct page *pages[PAGES];
	unsigned int i;

	for (i = 0; i < PAGES; i++)
		pages[i] = virt_to_page(memory + i * PAGE_SIZE);
	return vmap(pages, PAGES, VM_MAP, pgprot_noncached(PAGE_KERNEL));
}

static ssize_t classic_read(struct file *file, char __user *to, size_t count, loff_t *pos)
{
	if (variant->flushed == BEFORE_READ_AFTER_WRITE)
		flush_cache_all();
	return simple_read_from_buffer(to, count, pos, view, SIZE);
}

static ssize_t classic_write(struct file *file, const char __user *from, size_t count,
			     loff_t *pos)
{
	ssize_t written = simple_write_to_buffer(view, SIZE, pos, from, count);

	if (variant->flushed == BEFORE_READ_AFTER_WRITE)
		flush_cache_all();
	return written;
}

static loff_t classic_llseek(struct file *file, loff_t offset, int whence)
{
	return fixed_size_llseek(file, offset, whence, SIZE);
}

static vm_fault_t classic_fault(struct vm_fault *vmf)
{
	return vmf_insert_pfn(vmf->vma, vmf->address, virt_to_pfn(memory) + vmf->pgoff);
}

static const struct vm_operations_struct classic_mapping = {
	.fault = classic_fault,
};

static int classic_mmap(struct file *file, struct vm_area_struct *vma)
{
	size_t bytes = vma->vm_end - vma->vm_start;

	if (bytes > SIZE || vma->vm_pgoff || !(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (variant->kernel == COHERENT)
		return dma_mmap_coherent(&device->dev, vma, memory, dma, bytes);
	if (variant->program == NONCACHED)
		vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
	if (variant->filled == BY_FAULT) {
		vm_flags_set(vma, VM_PFNMAP | VM_DONTEXPAND);
		vma->vm_ops = &classic_mapping;
		return 0;
	}
	return remap_pfn_range(vma, vma->vm_start, virt_to_pfn(memory), bytes,
			       vma->vm_page_prot);
}

static const struct file_operations classic_operations = {
	.owner = THIS_MODULE,
	.read = classic_read,
	.write = classic_write,
	.llseek = classic_llseek,
	.mmap = classic_mmap,
};

static struct miscdevice classic_node = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "classic",
	.fops = &classic_operations,
	.mode = 0600,
};

static int __init find_variant(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(variants); i++) {
		if (!strcmp(variants[i].name, variant_name)) {
			variant = &variants[i];
			return 0;
		}
	}
	pr_err("classic: there is no variant \"%s\"\n", variant_name);
	return -EINVAL;
}

static int __init classic_init(void)
{
	const struct platform_device_info info = {
		.name = "classic",
		.id = PLATFORM_DEVID_NONE,
		.dma_mask = DMA_BIT_MASK(32),
	};
	int ret = find_variant();

	if (ret)
		return ret;
	device = platform_device_register_full(&info);
	if (IS_ERR(device))
		return PTR_ERR(device);
	ret = -ENOMEM;
	memory = allocate();
	if (!memory)
		goto unregister;
	view = variant->kernel == WINDOW ? map_window() : memory;
	if (!view)
		goto free;
	ret = misc_register(&classic_node);
	if (!ret)
		return 0;
	if (variant->kernel == WINDOW)
		vunmap(view);
free:
	free();
unregister:
	platform_device_unregister(device);
	return ret;
}

static void __exit classic_exit(void)
{
	misc_deregister(&classic_node);
	if (variant->kernel == WINDOW)
		vunmap(view);
	free();
	platform_device_unregister(device);
}

module_init(classic_init);
module_exit(classic_exit);
MODULE_DESCRIPTION("The classic driver that shares memory with a program, in its variants");
MODULE_LICENSE("GPL");
