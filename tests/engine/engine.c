// SPDX-License-Identifier: GPL-2.0
/*
 * A DMA engine that copies by the CPU: for boards without one, and for what the
 * quick and faultless engines of an emulator do not show. It takes as long as it
 * is told to, and fails if it is told to. One transfer at a time. A program that
 * has an address for it can have it write there, and look there.
 *
 * To the coherence checker the CPU plays the device meanwhile.
 */
#include <linux/bottom_half.h>
#include <linux/dma-direct.h>
#include <linux/dma-mapping.h>
#include <linux/dmaengine.h>
#include <linux/highmem.h>
#include <linux/irqflags.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/pm.h>
#include <linux/workqueue.h>

#ifdef CONFIG_ARM
#include "../../tools/coherence/hint.h"
#else
/* The checker follows no such processor. */
static void coherence_as_device(const void *bytes, size_t len)
{
}
#endif

static unsigned int delay_ms;
module_param(delay_ms, uint, 0644);
MODULE_PARM_DESC(delay_ms, "How long a transfer takes, at least");

static bool fail;
module_param(fail, bool, 0644);
MODULE_PARM_DESC(fail, "Transfers end with an error, and copy nothing");

static bool unstoppable;
module_param(unstoppable, bool, 0444);
MODULE_PARM_DESC(unstoppable, "The driver has no way to stop a transfer");

static bool stop_fails;
module_param(stop_fails, bool, 0644);
MODULE_PARM_DESC(stop_fails, "To stop a transfer fails");

static bool snoops;
module_param(snoops, bool, 0444);
MODULE_PARM_DESC(snoops, "To the DMA API, the engine snoops the CPU's caches");

static struct platform_device *pdev;

/* Freed when the driver leaves: who uses them later is caught by poisoned slabs. */
struct engine {
	struct dma_device device;
	struct dma_chan channel;
	/* The transfer. Its cookie is positive from its submission on. */
	struct dma_async_tx_descriptor tx;
};

static struct engine *engine;
static phys_addr_t from, to;
static size_t left;

/* The engine's own memory. */
static char fifo[PAGE_SIZE];

/* What the engine reads or writes in a page: nobody else may use the mapping meanwhile. */
static void access(phys_addr_t address, size_t len, bool write)
{
	char *page = kmap_local_pfn(PHYS_PFN(address));
	char *bytes = page + offset_in_page(address);
	unsigned long flags;

	local_irq_save(flags);
	coherence_as_device(bytes, len);
	if (write)
		memcpy(bytes, fifo, len);
	else
		memcpy(fifo, bytes, len);
	coherence_as_device(NULL, 0);
	local_irq_restore(flags);
	kunmap_local(page);
}

/* "ADDRESS LENGTH BYTE": the engine writes it all over, or says EILSEQ if it is not all over. */
static int at_address(const char *value, bool write)
{
	unsigned long long address;
	unsigned int length, byte;
	phys_addr_t at;

	if (sscanf(value, "%llx %u %u", &address, &length, &byte) != 3)
		return -EINVAL;
	if (!engine)
		return -ENODEV;
	at = dma_to_phys(engine->device.dev, address);
	while (length) {
		unsigned int len = min_t(unsigned int, length, PAGE_SIZE - offset_in_page(at));

		if (write)
			memset(fifo, byte, len);
		access(at, len, write);
		if (!write && memchr_inv(fifo, byte, len))
			return -EILSEQ;
		at += len;
		length -= len;
	}
	return 0;
}

static int set_fill(const char *value, const struct kernel_param *kp)
{
	return at_address(value, true);
}

static const struct kernel_param_ops fill_ops = { .set = set_fill };
module_param_cb(fill, &fill_ops, NULL, 0200);
MODULE_PARM_DESC(fill, "ADDRESS LENGTH BYTE: the engine writes there");

static int set_check(const char *value, const struct kernel_param *kp)
{
	return at_address(value, false);
}

static const struct kernel_param_ops check_ops = { .set = set_check };
module_param_cb(check, &check_ops, NULL, 0200);
MODULE_PARM_DESC(check, "ADDRESS LENGTH BYTE: the engine looks whether all is so");

static void copy(void)
{
	while (left) {
		size_t len = min3(left, PAGE_SIZE - offset_in_page(from),
				  PAGE_SIZE - offset_in_page(to));

		access(from, len, false);
		access(to, len, true);
		from += len;
		to += len;
		left -= len;
	}
}

static void finish(struct work_struct *work)
{
	struct dmaengine_result result = {
		.result = fail ? DMA_TRANS_WRITE_FAILED : DMA_TRANS_NOERROR,
	};

	if (!fail)
		copy();
	engine->channel.completed_cookie = engine->tx.cookie;
	/* As a tasklet would. */
	local_bh_disable();
	engine->tx.callback_result(engine->tx.callback_param, &result);
	local_bh_enable();
}

static DECLARE_DELAYED_WORK(work, finish);

static dma_cookie_t submit(struct dma_async_tx_descriptor *descriptor)
{
	struct dma_chan *channel = &engine->channel;

	channel->cookie = channel->cookie == INT_MAX ? DMA_MIN_COOKIE : channel->cookie + 1;
	return descriptor->cookie = channel->cookie;
}

static struct dma_async_tx_descriptor *prepare(struct dma_chan *chan, dma_addr_t dst,
					       dma_addr_t src, size_t len, unsigned long flags)
{
	if (delayed_work_pending(&work))
		return NULL;
	from = dma_to_phys(engine->device.dev, src);
	to = dma_to_phys(engine->device.dev, dst);
	left = len;
	dma_async_tx_descriptor_init(&engine->tx, chan);
	engine->tx.tx_submit = submit;
	return &engine->tx;
}

static void issue_pending(struct dma_chan *chan)
{
	schedule_delayed_work(&work, msecs_to_jiffies(delay_ms));
}

static enum dma_status tx_status(struct dma_chan *chan, dma_cookie_t cookie,
				 struct dma_tx_state *state)
{
	return dma_async_is_complete(cookie, chan->completed_cookie, chan->cookie);
}

static int terminate_all(struct dma_chan *chan)
{
	if (stop_fails)
		return -EIO;
	cancel_delayed_work(&work);
	return 0;
}

static void synchronize(struct dma_chan *chan)
{
	cancel_delayed_work_sync(&work);
}

static void free_chan_resources(struct dma_chan *chan)
{
}

static int probe(struct platform_device *device)
{
	int ret = dma_coerce_mask_and_coherent(&device->dev, DMA_BIT_MASK(32));
	struct dma_device *dma;

	if (ret)
		return ret;
	dev_assign_dma_coherent(&device->dev, snoops);
	engine = devm_kzalloc(&device->dev, sizeof(*engine), GFP_KERNEL);
	if (!engine)
		return -ENOMEM;
	dma = &engine->device;
	dma->dev = &device->dev;
	dma_cap_set(DMA_MEMCPY, dma->cap_mask);
	dma->device_prep_dma_memcpy = prepare;
	dma->device_issue_pending = issue_pending;
	dma->device_tx_status = tx_status;
	dma->device_terminate_all = unstoppable ? NULL : terminate_all;
	dma->device_synchronize = synchronize;
	dma->device_free_chan_resources = free_chan_resources;
	INIT_LIST_HEAD(&dma->channels);
	engine->channel.device = dma;
	engine->channel.cookie = DMA_MIN_COOKIE;
	list_add_tail(&engine->channel.device_node, &dma->channels);
	return dma_async_device_register(dma);
}

static void remove(struct platform_device *device)
{
	dma_async_device_unregister(&engine->device);
}

/* Nobody may use it while the system sleeps. */
static int suspend(struct device *dev)
{
	if (!work_busy(&work.work))
		return 0;
	dev_err(dev, "a transfer runs\n");
	return -EBUSY;
}

static DEFINE_SIMPLE_DEV_PM_OPS(pm, suspend, NULL);

static struct platform_driver driver = {
	.driver = { .name = "test-engine", .pm = pm_sleep_ptr(&pm) },
	.probe = probe,
	.remove = remove,
};

static int __init engine_init(void)
{
	int ret = platform_driver_register(&driver);

	if (ret)
		return ret;
	pdev = platform_device_register_simple("test-engine", PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(pdev))
		platform_driver_unregister(&driver);
	return PTR_ERR_OR_ZERO(pdev);
}
module_init(engine_init);

static void __exit engine_exit(void)
{
	platform_device_unregister(pdev);
	platform_driver_unregister(&driver);
}
module_exit(engine_exit);

MODULE_DESCRIPTION("A DMA engine that is slow or fails");
MODULE_LICENSE("GPL");
