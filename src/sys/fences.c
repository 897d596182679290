// SPDX-License-Identifier: GPL-2.0
/* What dma-buf's fences need of C: macros, inline functions, and a table. */
#include <linux/dma-fence.h>
#include <linux/dma-resv.h>
#include <linux/slab.h>
#include <linux/sync_file.h>
#include <linux/workqueue.h>

#include "helpers.h"

static const char *fence_name(struct dma_fence *fence)
{
	return "shmbuf";
}

/* Without release and wait, a signalled fence no longer needs the module. */
static const struct dma_fence_ops fence_operations = {
	.get_driver_name = fence_name,
	.get_timeline_name = fence_name,
};

struct dma_fence *shmbuf_fence_new(void)
{
	struct dma_fence *fence = kzalloc(sizeof(*fence), GFP_KERNEL_ACCOUNT);

	/* Fences of one context replace each other, so they would have to end in order. */
	if (fence)
		dma_fence_init(fence, &fence_operations, NULL, dma_fence_context_alloc(1), 1);
	return fence;
}

void shmbuf_fence_get(struct dma_fence *fence)
{
	dma_fence_get(fence);
}

void shmbuf_fence_put(struct dma_fence *fence)
{
	dma_fence_put(fence);
}

void shmbuf_fence_signal(struct dma_fence *fence, int error)
{
	if (error)
		dma_fence_set_error(fence, error);
	dma_fence_signal(fence);
}

struct file *shmbuf_sync_file(struct dma_fence *fence)
{
	struct sync_file *sync_file = sync_file_create(fence);

	return sync_file ? sync_file->file : NULL;
}

int shmbuf_resv_lock(struct dma_resv *resv)
{
	return dma_resv_lock_interruptible(resv, NULL);
}

bool shmbuf_resv_trylock(struct dma_resv *resv)
{
	return dma_resv_trylock(resv);
}

void shmbuf_resv_unlock(struct dma_resv *resv)
{
	dma_resv_unlock(resv);
}

bool shmbuf_resv_has(struct dma_resv *resv, bool writes,
		     bool (*waits)(struct dma_fence *fence, void *data), void *data)
{
	struct dma_resv_iter cursor;
	struct dma_fence *fence;
	bool has = false;

	dma_resv_iter_begin(&cursor, resv, dma_resv_usage_rw(writes));
	dma_resv_for_each_fence_unlocked(&cursor, fence) {
		has = !dma_fence_is_signaled(fence) && waits(fence, data);
		if (has)
			break;
	}
	dma_resv_iter_end(&cursor);
	return has;
}

long shmbuf_resv_wait(struct dma_resv *resv, bool writes,
		      bool (*waits)(struct dma_fence *fence, void *data), void *data)
{
	struct dma_resv_iter cursor;
	struct dma_fence *fence;
	long ret = 0;

	dma_resv_iter_begin(&cursor, resv, dma_resv_usage_rw(writes));
	dma_resv_for_each_fence_unlocked(&cursor, fence) {
		if (!waits(fence, data))
			continue;
		ret = dma_fence_wait(fence, true);
		if (ret < 0)
			break;
	}
	dma_resv_iter_end(&cursor);
	return ret;
}

struct workqueue_struct *shmbuf_ordered_queue(void)
{
	return alloc_ordered_workqueue("shmbuf", WQ_FREEZABLE | WQ_MEM_RECLAIM);
}
