// SPDX-License-Identifier: GPL-2.0
/*
 * A picture on a PL110 or PL111, where the board has one: a device that reads
 * memory over and over, which a checker can watch without a hint.
 */
#include <linux/io.h>
#include <linux/of.h>
#include <linux/of_address.h>

#include "case.h"

/* Registers (ARM DDI 0293C, chapter 3), in the order in which they are set. */
#define TIMING0		0x00
#define TIMING1		0x04
#define UPPER_BASE	0x10
#define CONTROL		0x18
#define PERIPHERAL_ID0	0xfe0

/* Enabled and powered, 32 bits a pixel. */
#define CONTROL_ON	(BIT(0) | BIT(11) | (5 << 1))

static const u32 registers[] = { TIMING0, TIMING1, UPPER_BASE, CONTROL };

static const struct of_device_id displays[] = {
	{ .compatible = "arm,pl110" },
	{ .compatible = "arm,pl111" },
	{ }
};

/* The device tree may name more than there are. */
static bool is_there(void __iomem *display)
{
	u32 id = readl(display + PERIPHERAL_ID0) & 0xff;

	return id == 0x10 || id == 0x11;
}

void __iomem *display_open(void)
{
	struct device_node *node;

	for_each_matching_node(node, displays) {
		void __iomem *display = of_iomap(node, 0);

		if (display && is_there(display)) {
			of_node_put(node);
			return display;
		}
		if (display)
			iounmap(display);
	}
	return NULL;
}

void display_show(void __iomem *display, dma_addr_t picture, size_t bytes)
{
	/* Lines of 16 pixels. */
	const u32 values[] = { 0, bytes / (16 * sizeof(u32)) - 1, picture, CONTROL_ON };
	u32 before[ARRAY_SIZE(registers)];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(registers); i++)
		before[i] = readl(display + registers[i]);
	writel(0, display + CONTROL);
	for (i = 0; i < ARRAY_SIZE(registers); i++)
		writel(values[i], display + registers[i]);
	writel(0, display + CONTROL);
	for (i = 0; i < ARRAY_SIZE(registers); i++)
		writel(before[i], display + registers[i]);
}
