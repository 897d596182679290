/* SPDX-License-Identifier: GPL-2.0 */
/* What the kernel crate lacks: importing dma-bufs, stopping a PCI device. */
#ifndef _EDU_HELPERS_H
#define _EDU_HELPERS_H

#include "../edu.h"

struct device;
struct dma_buf_attachment;
struct sg_table;

struct dma_buf_attachment *edu_dma_buf_attach(struct device *dev, int fd);
unsigned long edu_dma_buf_size(struct dma_buf_attachment *attachment);
struct sg_table *edu_dma_buf_map(struct dma_buf_attachment *attachment, unsigned int direction);
void edu_dma_buf_unmap(struct dma_buf_attachment *attachment, struct sg_table *table,
		       unsigned int direction);
void edu_dma_buf_detach(struct dma_buf_attachment *attachment);
void edu_clear_master(struct device *dev);

#endif /* _EDU_HELPERS_H */
