// SPDX-License-Identifier: GPL-2.0
/*
 * Devices that import dma-bufs: one that snoops the CPU's caches, one that does
 * not, and one with fewer address bits than any kernel serves, which has the name
 * that the parameter "narrow" gives it. A program opens /dev/importer-snooping
 * or /dev/importer-plain and writes one command at a time:
 *
 *	map FD		maps the dma-buf for the device, which may read and write it
 *	receive FD	maps the dma-buf for the device, which only writes to it
 *	fill BYTE	the device writes BYTE all over the memory (it snoops)
 *	unmap		the device has it no more, as when the file is closed
 *
 * What the device writes goes by the CPU, through the kernel's cached mapping,
 * and stays in the cache: as it would of a device that snoops.
 */
#include <linux/dma-buf.h>
#include <linux/dma-direct.h>
#include <linux/dma-mapping.h>
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/kernel.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/of.h>
#include <linux/of_platform.h>
#include <linux/platform_device.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

struct importer {
	char *name;
	bool snoops;
	/* Or zero for as many as there are. */
	unsigned int address_bits;
	struct platform_device *pdev;
	struct miscdevice node;
};

/* What an open file has mapped, or nothing. */
struct file_of_importer {
	/* One command at a time. */
	struct mutex lock;
	struct importer *importer;
	struct dma_buf_attachment *attachment;
	struct sg_table *table;
	enum dma_data_direction direction;
};

static int map(struct file_of_importer *it, int fd, enum dma_data_direction direction)
{
	struct dma_buf *buf;
	int ret;

	if (it->attachment)
		return -EBUSY;
	buf = dma_buf_get(fd);
	if (IS_ERR(buf))
		return PTR_ERR(buf);
	it->attachment = dma_buf_attach(buf, &it->importer->pdev->dev);
	if (IS_ERR(it->attachment)) {
		ret = PTR_ERR(it->attachment);
		goto put;
	}
	it->direction = direction;
	it->table = dma_buf_map_attachment_unlocked(it->attachment, direction);
	if (IS_ERR(it->table)) {
		ret = PTR_ERR(it->table);
		goto detach;
	}
	return 0;

detach:
	dma_buf_detach(buf, it->attachment);
put:
	it->attachment = NULL;
	dma_buf_put(buf);
	return ret;
}

static int unmap(struct file_of_importer *it)
{
	struct dma_buf_attachment *attachment = it->attachment;
	struct dma_buf *buf;

	if (!attachment)
		return -EINVAL;
	buf = attachment->dmabuf;
	it->attachment = NULL;
	dma_buf_unmap_attachment_unlocked(attachment, it->table, it->direction);
	dma_buf_detach(buf, attachment);
	dma_buf_put(buf);
	return 0;
}

static int fill(struct file_of_importer *it, int byte)
{
	struct device *dev = &it->importer->pdev->dev;
	struct scatterlist *sg;
	unsigned int i;

	if (!it->attachment || !it->importer->snoops)
		return -EINVAL;
	for_each_sgtable_dma_sg(it->table, sg, i) {
		phys_addr_t at = dma_to_phys(dev, sg_dma_address(sg));
		phys_addr_t end = at + sg_dma_len(sg);

		for (; at < end; at += PAGE_SIZE) {
			void *page = kmap_local_pfn(PHYS_PFN(at));

			memset(page, byte, PAGE_SIZE);
			kunmap_local(page);
		}
	}
	return 0;
}

static int importer_open(struct inode *inode, struct file *file)
{
	struct file_of_importer *it = kzalloc(sizeof(*it), GFP_KERNEL);

	if (!it)
		return -ENOMEM;
	mutex_init(&it->lock);
	it->importer = container_of(file->private_data, struct importer, node);
	file->private_data = it;
	return 0;
}

static ssize_t importer_write(struct file *file, const char __user *from, size_t len, loff_t *at)
{
	struct file_of_importer *it = file->private_data;
	char command[32] = "";
	int number, ret;

	if (len >= sizeof(command))
		return -EINVAL;
	if (copy_from_user(command, from, len))
		return -EFAULT;
	mutex_lock(&it->lock);
	if (sscanf(command, "map %d", &number) == 1)
		ret = map(it, number, DMA_BIDIRECTIONAL);
	else if (sscanf(command, "receive %d", &number) == 1)
		ret = map(it, number, DMA_FROM_DEVICE);
	else if (sscanf(command, "fill %d", &number) == 1)
		ret = fill(it, number);
	else if (!strcmp(command, "unmap"))
		ret = unmap(it);
	else
		ret = -EINVAL;
	mutex_unlock(&it->lock);
	return ret ?: len;
}

static int importer_release(struct inode *inode, struct file *file)
{
	struct file_of_importer *it = file->private_data;

	unmap(it);
	mutex_destroy(&it->lock);
	kfree(it);
	return 0;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.open = importer_open,
	.write = importer_write,
	.release = importer_release,
};

static struct importer importers[] = {
	{ .name = "importer-snooping", .snoops = true },
	{ .name = "importer-plain" },
	/* No driver could set this mask. */
	{ .name = "importer-narrow", .address_bits = 12 },
};

module_param_named(narrow, importers[2].name, charp, 0);

static int add(struct importer *it)
{
	struct device *dev;
	int ret;

	it->pdev = platform_device_register_simple(it->name, PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(it->pdev))
		return PTR_ERR(it->pdev);
	dev = &it->pdev->dev;
	ret = dma_coerce_mask_and_coherent(dev, DMA_BIT_MASK(64));
	if (ret)
		goto unregister;
	if (it->address_bits)
		dev->coherent_dma_mask = DMA_BIT_MASK(it->address_bits);
	dev_assign_dma_coherent(dev, it->snoops);
	it->node = (struct miscdevice){
		.minor = MISC_DYNAMIC_MINOR,
		.name = it->name,
		.fops = &operations,
	};
	ret = misc_register(&it->node);
	if (ret)
		goto unregister;
	return 0;

unregister:
	platform_device_unregister(it->pdev);
	return ret;
}

static void take_away(struct importer *it)
{
	misc_deregister(&it->node);
	platform_device_unregister(it->pdev);
}

static void take_away_first(size_t count)
{
	while (count)
		take_away(&importers[--count]);
}

/*
 * A device of a node that no bus has, and which is not there before this module.
 * That its driver takes it has the kernel try again who waited for it.
 */
static struct platform_device *late;

static int late_probe(struct platform_device *pdev)
{
	return 0;
}

static const struct of_device_id late_ids[] = {
	{ .compatible = "shmbuf,test-late" },
	{ }
};

static struct platform_driver late_driver = {
	.probe = late_probe,
	.driver = {
		.name = "importer-late",
		.of_match_table = late_ids,
	},
};

static int __init importer_init(void)
{
	struct device_node *node;
	size_t i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(importers); i++) {
		ret = add(&importers[i]);
		if (ret)
			goto take_away;
	}
	node = of_find_matching_node(NULL, late_ids);
	if (node)
		late = of_platform_device_create(node, "importer-late", NULL);
	of_node_put(node);
	ret = platform_driver_register(&late_driver);
	if (ret)
		goto destroy;
	return 0;

destroy:
	if (late)
		of_platform_device_destroy(&late->dev, NULL);
take_away:
	take_away_first(i);
	return ret;
}
module_init(importer_init);

static void __exit importer_exit(void)
{
	platform_driver_unregister(&late_driver);
	if (late)
		of_platform_device_destroy(&late->dev, NULL);
	take_away_first(ARRAY_SIZE(importers));
}
module_exit(importer_exit);

MODULE_IMPORT_NS("DMA_BUF");
MODULE_DESCRIPTION("Importers of dma-bufs, one of which snoops");
MODULE_LICENSE("GPL");
