// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A device without a driver reads a buffer: Documentation/recipes.md.
 *
 * fpga-reads BUFFER DEVICE: takes at most 4096 bytes from standard input to the device's memory.
 */
#include <string.h>

#include "fpga.h"

int main(int argc, char **argv)
{
	struct fpga_buffer buffer;
	struct fpga fpga;
	char input[FPGA_BYTES];
	size_t count;

	if (argc != 3)
		errx(64, "usage: fpga-reads BUFFER DEVICE");
	fpga = fpga_open(argv[2]);
	buffer = fpga_map(argv[1]);
	count = fread(input, 1, sizeof(input), stdin);
	if (!count)
		errx(1, "nothing on standard input");

	fpga_sync(&buffer, SHMBUF_SYNC_WRITE | SHMBUF_SYNC_START);
	memcpy(buffer.bytes, input, count);
	/* Now it is in memory, and the device's. */
	fpga_sync(&buffer, SHMBUF_SYNC_WRITE | SHMBUF_SYNC_END);
	fpga_run(&fpga, buffer.address, FPGA_MEMORY, count, 0);
	/* And the CPU's again, for the next program. */
	fpga_sync(&buffer, SHMBUF_SYNC_WRITE | SHMBUF_SYNC_START);
	return 0;
}
