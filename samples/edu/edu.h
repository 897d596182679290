/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * /dev/edu: QEMU's educational PCI device, which copies between memory and 4 KiB
 * of its own. One program has it open at a time. The one definition of the
 * interface: the Rust side is generated from it, in the module and in user space.
 */
#ifndef _UAPI_EDU_H
#define _UAPI_EDU_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Bytes in the device. */
#define EDU_MEMORY	4096U

/* What the device does with memory. */
enum edu_direction {
	EDU_DIRECTION_BIDIRECTIONAL	= 0,
	EDU_DIRECTION_TO_DEVICE		= 1,
	EDU_DIRECTION_FROM_DEVICE	= 2,
};

/**
 * struct edu_attach - the memory to copy from and to
 * @fd: a dma-buf, of any driver
 * @direction: enum edu_direction; transfers the other way are refused then
 */
struct edu_attach {
	__s32 fd;
	__u32 direction;
};

/**
 * struct edu_transfer - a copy
 * @offset: bytes, in the dma-buf
 * @device_offset: bytes, in the device
 * @length: bytes, not zero
 * @direction: EDU_DIRECTION_TO_DEVICE or EDU_DIRECTION_FROM_DEVICE
 * @reserved: zero
 * @dma_addr: out: the address by which the device found the first byte
 */
struct edu_transfer {
	__u64 offset;
	__u32 device_offset;
	__u32 length;
	__u32 direction;
	__u32 reserved;
	__u64 dma_addr;
};

#define EDU_IOC_MAGIC		0xBD

/*
 * Map a dma-buf for the device, in place of the one before. It stays mapped, so
 * what the CPU does with the memory in between wants DMA_BUF_IOCTL_SYNC or
 * SHMBUF_IOC_SYNC.
 *	EINVAL		no such direction
 *	EBADF		fd is no file
 *	EINVAL		fd is no dma-buf
 *	ENODEV		the driver was unbound from the device, or the device
 *			failed
 *	EFAULT		bad pointer
 *	any other	as the exporter and the DMA API say: EACCES for a
 *			read-only dma-buf and another direction than TO_DEVICE,
 *			EIO if the device cannot address the memory
 */
#define EDU_IOC_ATTACH		_IOW(EDU_IOC_MAGIC, 0x00, struct edu_attach)

/*
 * Copy, and wait for the interrupt.
 *	EINVAL		no such direction; length is zero; reserved is not zero
 *	ERANGE		past the end of the dma-buf or of the device's memory
 *	EACCES		not the direction of ATTACH
 *	ENODATA		there is no dma-buf: ATTACH first
 *	ENODEV		as ATTACH
 *	ETIMEDOUT	no interrupt came; the device is not used any more
 *	EFAULT		bad pointer; the copy may have been made
 */
#define EDU_IOC_TRANSFER	_IOWR(EDU_IOC_MAGIC, 0x01, struct edu_transfer)

#endif /* _UAPI_EDU_H */
