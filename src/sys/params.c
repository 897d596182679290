// SPDX-License-Identifier: GPL-2.0
/* Module parameters that the module! macro of the kernel crate does not have. */
#include <linux/ctype.h>
#include <linux/moduleparam.h>
#include <linux/overflow.h>
#include <linux/string.h>

#include "helpers.h"

static char *size = "1M";
module_param(size, charp, 0444);
MODULE_PARM_DESC(size, "size of the default buffer, a multiple of the page size; K, M, G (default 1M)");

static char *kind = "pages";
module_param(kind, charp, 0444);
MODULE_PARM_DESC(kind, "kind of the default buffer: pages, coherent, streaming, scatter (default pages)");

static char *policy = "default";
module_param(policy, charp, 0444);
MODULE_PARM_DESC(policy, "cache policy of the default buffer: writeback, writethrough, writecombine, noncached, default (what suits the kind)");

/* The same variable by its former name; policy frees it. */
static const struct kernel_param_ops cache_operations = {
	.set = param_set_charp,
	.get = param_get_charp,
};

module_param_cb(cache, &cache_operations, &policy, 0444);
MODULE_PARM_DESC(cache, "another name of policy, for scripts");

static char *mapping = "pfnmap";
module_param(mapping, charp, 0444);
MODULE_PARM_DESC(mapping, "mappings of the default buffer: pfnmap, strict, refcounted (default pfnmap)");

/*
 * Decimal bytes, with K, M, G when set: as size= takes them. memparse() would
 * take 0x10 and 010 for what they are in C, and let large ones wrap.
 */
static int limit_set(const char *text, const struct kernel_param *param)
{
	static const char suffixes[] = "kmg";
	const char *at = text;
	const char *suffix;
	unsigned long value = 0;

	for (; isdigit(*at); at++) {
		if (check_mul_overflow(value, 10UL, &value) ||
		    check_add_overflow(value, (unsigned long)(*at - '0'), &value))
			return -EINVAL;
	}
	if (at == text)
		return -EINVAL;
	suffix = *at ? strchr(suffixes, tolower(*at)) : NULL;
	if (suffix) {
		if (check_mul_overflow(value, 1UL << (10 * (suffix - suffixes + 1)), &value))
			return -EINVAL;
		at++;
	}
	if (*at && strcmp(at, "\n"))
		return -EINVAL;
	WRITE_ONCE(*(unsigned long *)param->arg, value);
	return 0;
}

static const struct kernel_param_ops limit_operations = {
	.set = limit_set,
	.get = param_get_ulong,
};

static unsigned long limit = 64 << 20;
module_param_cb(limit, &limit_operations, &limit, 0644);
MODULE_PARM_DESC(limit, "bytes that all private buffers together may have; K, M, G (default 64M)");

/* Decimal too, and no sign, which kstrtouint() would take. */
static int user_share_set(const char *text, const struct kernel_param *param)
{
	unsigned int value;

	if (!isdigit(*text) || kstrtouint(text, 10, &value) || value > 100)
		return -EINVAL;
	WRITE_ONCE(*(unsigned int *)param->arg, value);
	return 0;
}

static const struct kernel_param_ops user_share_operations = {
	.set = user_share_set,
	.get = param_get_uint,
};

static unsigned int user_share = 50;
module_param_cb(user_share, &user_share_operations, &user_share, 0644);
MODULE_PARM_DESC(user_share, "percent of limit that one user's private buffers may have; programs with CAP_SYS_RESOURCE are exempt (default 50)");

static char *engine = "";
module_param(engine, charp, 0444);
MODULE_PARM_DESC(engine, "DMA engine that copies: a name in /sys/class/dma, or its device's (default any that copies memory)");

static char *device = "default";
module_param(device, charp, 0444);
MODULE_PARM_DESC(device, "device that the default buffer is for: a name in /sys/bus/{platform,pci,amba}/devices, or BUS/NAME (default one of the driver's own)");

static bool accept_alias;
module_param(accept_alias, bool, 0444);
MODULE_PARM_DESC(accept_alias, "allow non-cached pages that keep a cacheable kernel alias, which the architecture calls unpredictable (default N)");

const char *shmbuf_param_size(void)
{
	return size;
}

const char *shmbuf_param_kind(void)
{
	return kind;
}

const char *shmbuf_param_policy(void)
{
	return policy;
}

const char *shmbuf_param_mapping(void)
{
	return mapping;
}

const char *shmbuf_param_engine(void)
{
	return engine;
}

const char *shmbuf_param_device(void)
{
	return device;
}

unsigned long shmbuf_param_limit(void)
{
	return READ_ONCE(limit);
}

unsigned int shmbuf_param_user_share(void)
{
	return READ_ONCE(user_share);
}

bool shmbuf_param_accept_alias(void)
{
	return accept_alias;
}
