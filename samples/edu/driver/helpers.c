// SPDX-License-Identifier: GPL-2.0
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/err.h>
#include <linux/pci.h>

#include "helpers.h"

static_assert((int)EDU_DIRECTION_BIDIRECTIONAL == DMA_BIDIRECTIONAL);
static_assert((int)EDU_DIRECTION_TO_DEVICE == DMA_TO_DEVICE);
static_assert((int)EDU_DIRECTION_FROM_DEVICE == DMA_FROM_DEVICE);

/* The attachment keeps the dma-buf. */
struct dma_buf_attachment *edu_dma_buf_attach(struct device *dev, int fd)
{
	struct dma_buf *buf = dma_buf_get(fd);
	struct dma_buf_attachment *attachment;

	if (IS_ERR(buf))
		return ERR_CAST(buf);
	attachment = dma_buf_attach(buf, dev);
	if (IS_ERR(attachment))
		dma_buf_put(buf);
	return attachment;
}

unsigned long edu_dma_buf_size(struct dma_buf_attachment *attachment)
{
	return attachment->dmabuf->size;
}

struct sg_table *edu_dma_buf_map(struct dma_buf_attachment *attachment, unsigned int direction)
{
	return dma_buf_map_attachment_unlocked(attachment, direction);
}

void edu_dma_buf_unmap(struct dma_buf_attachment *attachment, struct sg_table *table,
		       unsigned int direction)
{
	dma_buf_unmap_attachment_unlocked(attachment, table, direction);
}

void edu_dma_buf_detach(struct dma_buf_attachment *attachment)
{
	struct dma_buf *buf = attachment->dmabuf;

	dma_buf_detach(buf, attachment);
	dma_buf_put(buf);
}

void edu_clear_master(struct device *dev)
{
	pci_clear_master(to_pci_dev(dev));
}
