/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Compiled before a program of samples/recipes, it makes the program forget each SYNC that the
 * environment's FORGET names: START or END.
 *
 * To the coherence checker it plays the device as well, since the checker sees only what it is told
 * of a device that it does not watch: at each END a device reads what the CPU has written, or
 * writes what the CPU will read.
 */
#include <err.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <shmbuf.h>

#include "../../tools/coherence/hint.h"

#ifdef __arm__
static void play_device(int fd, const struct shmbuf_sync *sync)
{
	struct shmbuf_info info = { 0 };

	if (!(sync->flags & SHMBUF_SYNC_END))
		return;
	if (ioctl(fd, SHMBUF_IOC_INFO, &info))
		err(1, "INFO");
	if (sync->flags & SHMBUF_SYNC_WRITE)
		coherence_device_reads(info.phys_addr + sync->offset, sync->length);
	else
		coherence_device_writes(info.phys_addr + sync->offset, sync->length);
}
#else
static void play_device(int fd, const struct shmbuf_sync *sync)
{
	(void)fd;
	(void)sync;
}
#endif

static int forgetful_sync(int fd, struct shmbuf_sync *sync)
{
	const char *forget = getenv("FORGET");
	const char *phase = sync->flags & SHMBUF_SYNC_END ? "END" : "START";
	int result = 0;

	if (!forget || strcmp(forget, phase))
		result = ioctl(fd, SHMBUF_IOC_SYNC, sync);
	play_device(fd, sync);
	return result;
}

static inline int forgetful_ioctl(int fd, unsigned long request, ...)
{
	va_list arguments;
	void *argument;

	va_start(arguments, request);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	if (request == SHMBUF_IOC_SYNC)
		return forgetful_sync(fd, argument);
	return ioctl(fd, request, argument);
}

#define ioctl forgetful_ioctl
