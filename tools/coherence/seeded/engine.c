// SPDX-License-Identifier: GPL-2.0
/*
 * Copying by a DMA engine, where the board has one that does this: a transfer
 * that a checker can watch without a hint.
 */
#include <linux/dmaengine.h>

#include "case.h"

int engine_copy(dma_addr_t to, dma_addr_t from, size_t bytes)
{
	struct dma_async_tx_descriptor *copy;
	struct dma_chan *channel;
	dma_cap_mask_t mask;
	int ret = -EIO;

	dma_cap_zero(mask);
	dma_cap_set(DMA_MEMCPY, mask);
	channel = dma_request_chan_by_mask(&mask);
	if (IS_ERR(channel))
		return -EOPNOTSUPP;
	copy = dmaengine_prep_dma_memcpy(channel, to, from, bytes, DMA_CTRL_ACK);
	if (copy && dma_sync_wait(channel, dmaengine_submit(copy)) == DMA_COMPLETE)
		ret = 0;
	dmaengine_terminate_sync(channel);
	dma_release_channel(channel);
	return ret;
}
