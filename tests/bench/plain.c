// SPDX-License-Identifier: GPL-2.0
/*
 * The least that shares memory with a program: a misc device with kmalloc'ed
 * memory, read(2), write(2) and mmap(2). It is what the benchmarks compare with.
 * It maintains no cache: on a VIVT cache the program and the kernel may see
 * different bytes.
 *
 * An open file can also import a dma-buf, as a device that has it mapped for DMA
 * until the file is closed. Other importers map late, or not on every board.
 */
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/thread_info.h>

#include "../../tools/coherence/hint.h"

#define SIZE SZ_4M

/* Imports the dma-buf whose descriptor is the argument. */
#define PLAIN_IOC_IMPORT _IO('P', 0)

/* The number of the memory's first page frame, for /dev/mem. */
#define PLAIN_IOC_FRAME _IO('P', 1)

/* Tells the plugin where the process counts what keeps it from being preempted. */
#define PLAIN_IOC_PREEMPTION _IO('P', 2)

static void *memory;

/* What a file has imported. */
struct import {
	struct dma_buf_attachment *attach;
	struct sg_table *table;
};

static struct miscdevice plain;

static int plain_open(struct inode *inode, struct file *file)
{
	file->private_data = NULL;
	return 0;
}

static int plain_release(struct inode *inode, struct file *file)
{
	struct import *import = file->private_data;
	struct dma_buf *dmabuf;

	if (import) {
		dmabuf = import->attach->dmabuf;
		dma_buf_unmap_attachment_unlocked(import->attach, import->table, DMA_BIDIRECTIONAL);
		dma_buf_detach(dmabuf, import->attach);
		dma_buf_put(dmabuf);
		kfree(import);
	}
	return 0;
}

static int import_dmabuf(struct import *import, struct dma_buf *dmabuf)
{
	import->attach = dma_buf_attach(dmabuf, plain.this_device);
	if (IS_ERR(import->attach))
		return PTR_ERR(import->attach);
	import->table = dma_buf_map_attachment_unlocked(import->attach, DMA_BIDIRECTIONAL);
	if (IS_ERR(import->table)) {
		dma_buf_detach(dmabuf, import->attach);
		return PTR_ERR(import->table);
	}
	return 0;
}

static long plain_import(struct file *file, unsigned long arg)
{
	struct dma_buf *dmabuf;
	struct import *import;
	int err;

	if (file->private_data)
		return -EBUSY;
	import = kzalloc_obj(*import);
	if (!import)
		return -ENOMEM;
	dmabuf = dma_buf_get(arg);
	err = PTR_ERR_OR_ZERO(dmabuf);
	if (!err) {
		err = import_dmabuf(import, dmabuf);
		if (err)
			dma_buf_put(dmabuf);
	}
	if (err)
		kfree(import);
	else
		file->private_data = import;
	return err;
}

static long plain_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	switch (cmd) {
	case PLAIN_IOC_IMPORT:
		return plain_import(file, arg);
	case PLAIN_IOC_FRAME:
		return PHYS_PFN(virt_to_phys(memory));
	case PLAIN_IOC_PREEMPTION:
		coherence_hint(COHERENCE_COUNT_PREEMPTION,
			       (unsigned long)&current_thread_info()->preempt_count, 0);
		return 0;
	default:
		return -ENOTTY;
	}
}

static ssize_t plain_read(struct file *file, char __user *to, size_t count, loff_t *pos)
{
	return simple_read_from_buffer(to, count, pos, memory, SIZE);
}

static ssize_t plain_write(struct file *file, const char __user *from, size_t count, loff_t *pos)
{
	return simple_write_to_buffer(memory, SIZE, pos, from, count);
}

static int plain_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned long len = vma->vm_end - vma->vm_start;

	if (vma->vm_pgoff || len > SIZE)
		return -EINVAL;
	return remap_pfn_range(vma, vma->vm_start, PHYS_PFN(virt_to_phys(memory)), len,
			       vma->vm_page_prot);
}

static const struct file_operations plain_fops = {
	.owner = THIS_MODULE,
	.open = plain_open,
	.release = plain_release,
	.unlocked_ioctl = plain_ioctl,
	.read = plain_read,
	.write = plain_write,
	.mmap = plain_mmap,
};

static struct miscdevice plain = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "plain",
	.fops = &plain_fops,
};

static int __init plain_init(void)
{
	int err;

	memory = kzalloc(SIZE, GFP_KERNEL);
	if (!memory)
		return -ENOMEM;
	err = misc_register(&plain);
	if (err)
		goto free;
	err = dma_coerce_mask_and_coherent(plain.this_device, DMA_BIT_MASK(32));
	if (err)
		goto deregister;
	return 0;

deregister:
	misc_deregister(&plain);
free:
	kfree(memory);
	return err;
}
module_init(plain_init);

static void __exit plain_exit(void)
{
	misc_deregister(&plain);
	kfree(memory);
}
module_exit(plain_exit);

MODULE_DESCRIPTION("A plain character device, to compare with");
MODULE_IMPORT_NS("DMA_BUF");
MODULE_LICENSE("GPL");
