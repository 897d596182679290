/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * A device without a driver, on PCI: its registers, and who stops its DMA. These are the registers
 * of QEMU's educational device (edu), which copies between memory and 4 KiB of its own. Put those
 * of your device here.
 */
#ifndef FPGA_H
#define FPGA_H

#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <shmbuf.h>

/* Offsets of registers. */
#define FPGA_SOURCE	0x80
#define FPGA_TARGET	0x88
#define FPGA_COUNT	0x90
#define FPGA_COMMAND	0x98

/* Bits of the command. The device clears the first when it is done. */
#define FPGA_RUN	1u
#define FPGA_TO_MEMORY	2u

/* Where the device's own memory is, for the device. */
#define FPGA_MEMORY	0x40000u
#define FPGA_BYTES	4096u

/* The register of each PCI device that allows access to its registers, and its DMA. */
#define PCI_COMMAND	4
#define PCI_MEMORY	2u
#define PCI_MASTER	4u

struct fpga {
	int config;
	volatile uint8_t *registers;
};

/* Without DMA, whatever the device had been told to do does not reach memory any more. */
static inline void fpga_allow_dma(const struct fpga *fpga, int allowed)
{
	uint16_t command;

	if (pread(fpga->config, &command, sizeof(command), PCI_COMMAND) != sizeof(command))
		err(1, "the device's command register");
	command = (command & ~PCI_MASTER) | PCI_MEMORY | (allowed ? PCI_MASTER : 0);
	if (pwrite(fpga->config, &command, sizeof(command), PCI_COMMAND) != sizeof(command))
		err(1, "the device's command register");
}

static inline volatile uint32_t *fpga_register(const struct fpga *fpga, unsigned int offset)
{
	return (volatile uint32_t *)(fpga->registers + offset);
}

/* Whether the device ends what it does, within a second. */
static inline int fpga_ends(const struct fpga *fpga)
{
	int patience = 1000;

	while (*fpga_register(fpga, FPGA_COMMAND) & FPGA_RUN && patience--)
		usleep(1000);
	return patience >= 0;
}

/* The device in a folder such as /sys/bus/pci/devices/0000:00:0d.0. */
static inline struct fpga fpga_open(const char *folder)
{
	struct fpga fpga;
	char path[256];
	int file;

	snprintf(path, sizeof(path), "%s/config", folder);
	fpga.config = open(path, O_RDWR | O_CLOEXEC);
	if (fpga.config < 0)
		err(1, "%s", path);
	/* A program that died may have left it running. */
	fpga_allow_dma(&fpga, 0);

	snprintf(path, sizeof(path), "%s/resource0", folder);
	file = open(path, O_RDWR | O_CLOEXEC);
	if (file < 0)
		err(1, "%s", path);
	fpga.registers = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (fpga.registers == MAP_FAILED)
		err(1, "%s: mmap", path);
	close(file);
	/* It ends without DMA what it was told, or would go on with it once DMA is allowed. */
	if (!fpga_ends(&fpga))
		errx(1, "the device does not end what it was told before: reset it");
	return fpga;
}

/* Starts the device, and waits for its end. */
static inline void fpga_run(const struct fpga *fpga, uint32_t source, uint32_t target,
			    uint32_t count, uint32_t command)
{
	int ended;

	fpga_allow_dma(fpga, 1);
	*fpga_register(fpga, FPGA_SOURCE) = source;
	*fpga_register(fpga, FPGA_TARGET) = target;
	*fpga_register(fpga, FPGA_COUNT) = count;
	*fpga_register(fpga, FPGA_COMMAND) = command | FPGA_RUN;
	ended = fpga_ends(fpga);
	fpga_allow_dma(fpga, 0);
	if (!ended)
		errx(1, "the device does not end");
}

/* A buffer that outlives this program, and where the device finds it. */
struct fpga_buffer {
	int handle;
	void *bytes;
	uint32_t address;
};

static inline struct fpga_buffer fpga_map(const char *path)
{
	struct shmbuf_info info = { 0 };
	struct fpga_buffer buffer;

	buffer.handle = open(path, O_RDWR | O_CLOEXEC);
	if (buffer.handle < 0)
		err(1, "%s", path);
	if (ioctl(buffer.handle, SHMBUF_IOC_INFO, &info))
		err(1, "INFO");
	if (!(info.flags & SHMBUF_INFO_PHYS_ADDR))
		errx(1, "no physical address without CAP_SYS_RAWIO");
	if (info.kind == SHMBUF_KIND_SCATTER || info.size < FPGA_BYTES)
		errx(1, "%s is not contiguous, or too small", path);
	buffer.address = info.phys_addr;
	if (buffer.address != info.phys_addr)
		errx(1, "the device drives 32 bits of an address");
	buffer.bytes = mmap(NULL, FPGA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
			    buffer.handle, 0);
	if (buffer.bytes == MAP_FAILED)
		err(1, "mmap");
	return buffer;
}

/* The CPU begins (START) or ends (END) an access to what the device has access to by turns. */
static inline void fpga_sync(const struct fpga_buffer *buffer, unsigned int flags)
{
	struct shmbuf_sync sync = { .length = FPGA_BYTES, .flags = flags };

	if (ioctl(buffer->handle, SHMBUF_IOC_SYNC, &sync))
		err(1, "SYNC");
}

#endif
