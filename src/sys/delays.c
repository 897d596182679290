// SPDX-License-Identifier: GPL-2.0
/*
 * Delays around each lock and each wait of the driver, for who looks for races:
 * make SHMBUF_DELAYS=1. The linker lets the driver call what is here instead
 * of the kernel's functions (--wrap), so that not a line of it differs.
 */
#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/device/bus.h>
#include <linux/dma-fence.h>
#include <linux/dma-resv.h>
#include <linux/jhash.h>
#include <linux/mm_types.h>
#include <linux/moduleparam.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sysfs.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/ww_mutex.h>

#include "delays.h"

static unsigned int delays_seed;
module_param(delays_seed, uint, 0444);
MODULE_PARM_DESC(delays_seed, "what the delays of this debug build depend on (default 0)");

/* Places passed until now. */
static atomic_t delays;

static int delays_get(char *buffer, const struct kernel_param *param)
{
	return sysfs_emit(buffer, "%u\n", atomic_read(&delays));
}

static const struct kernel_param_ops delays_operations = {
	.get = delays_get,
};

module_param_cb(delays, &delays_operations, NULL, 0444);
MODULE_PARM_DESC(delays, "places of this debug build passed until now");

/*
 * Lets others run, on this processor and on others. A thread that has said that
 * it is going to sleep, and who must not sleep, waste some time instead.
 */
static void delay(void)
{
	u32 random = jhash_1word(atomic_inc_return(&delays), delays_seed);
	u32 some = random >> 8;
	bool sleeps = preemptible() && !rcu_preempt_depth() && task_is_running(current);

	if (random % 8 < 2)
		udelay(some % 32);
	else if (sleeps && random % 8 < 4)
		usleep_range(some % 256, some % 256 + 32);
	else if (sleeps && random % 256 == 4)
		usleep_range(2000, 8000);
}

static void delay_after(bool *delayed)
{
	delay();
}

/*
 * A function that is delayed: its name, type, parameters, and their names. Kbuild
 * reads the names here.
 */
#define DELAYED(name, return_t, parameters, arguments)		\
	__typeof__(name) __real_##name, __wrap_##name;		\
	return_t __wrap_##name parameters			\
	{							\
		bool delayed __cleanup(delay_after) = true;	\
								\
		delay();					\
		return __real_##name arguments;			\
	}

#ifdef CONFIG_DEBUG_LOCK_ALLOC
DELAYED(rust_helper_mutex_lock, void, (struct mutex *lock), (lock))
DELAYED(mutex_lock_interruptible_nested, int, (struct mutex *lock, unsigned int subclass),
	(lock, subclass))
#else
DELAYED(mutex_lock, void, (struct mutex *lock), (lock))
DELAYED(mutex_lock_interruptible, int, (struct mutex *lock), (lock))
#endif
DELAYED(mutex_unlock, void, (struct mutex *lock), (lock))
DELAYED(ww_mutex_lock_interruptible, int, (struct ww_mutex *lock, struct ww_acquire_ctx *context),
	(lock, context))
DELAYED(ww_mutex_trylock, int, (struct ww_mutex *lock, struct ww_acquire_ctx *context),
	(lock, context))
DELAYED(ww_mutex_unlock, void, (struct ww_mutex *lock), (lock))
DELAYED(down_read, void, (struct rw_semaphore *lock), (lock))
DELAYED(up_read, void, (struct rw_semaphore *lock), (lock))

DELAYED(prepare_to_wait, void,
	(struct wait_queue_head *head, struct wait_queue_entry *entry, int state),
	(head, entry, state))
DELAYED(prepare_to_wait_exclusive, bool,
	(struct wait_queue_head *head, struct wait_queue_entry *entry, int state),
	(head, entry, state))
DELAYED(schedule, void, (void), ())
DELAYED(schedule_timeout, long, (long patience), (patience))
DELAYED(finish_wait, void,
	(struct wait_queue_head *head, struct wait_queue_entry *entry), (head, entry))
DELAYED(__wake_up, int,
	(struct wait_queue_head *head, unsigned int mode, int count, void *key),
	(head, mode, count, key))
DELAYED(wait_for_completion_interruptible_timeout, long,
	(struct completion *completion, unsigned long patience), (completion, patience))
DELAYED(wait_for_completion, void, (struct completion *completion), (completion))
DELAYED(complete, void, (struct completion *completion), (completion))
DELAYED(synchronize_rcu, void, (void), ())

DELAYED(queue_work_on, bool,
	(int cpu, struct workqueue_struct *queue, struct work_struct *work), (cpu, queue, work))
DELAYED(cancel_work, bool, (struct work_struct *work), (work))
DELAYED(destroy_workqueue, void, (struct workqueue_struct *queue), (queue))
DELAYED(bus_register_notifier, int, (const struct bus_type *bus, struct notifier_block *block),
	(bus, block))
DELAYED(bus_unregister_notifier, int, (const struct bus_type *bus, struct notifier_block *block),
	(bus, block))

DELAYED(dma_fence_signal, void, (struct dma_fence *fence), (fence))
DELAYED(dma_fence_wait_timeout, long, (struct dma_fence *fence, bool interruptible, long patience),
	(fence, interruptible, patience))
DELAYED(dma_resv_add_fence, void,
	(struct dma_resv *reservation, struct dma_fence *fence, enum dma_resv_usage usage),
	(reservation, fence, usage))
