// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A device without a driver writes a buffer: Documentation/recipes.md.
 *
 * fpga-writes BUFFER DEVICE COUNT: takes so many bytes, at most 4096, from the device's memory to
 * standard output.
 */
#include <stdlib.h>

#include "fpga.h"

int main(int argc, char **argv)
{
	struct fpga_buffer buffer;
	struct fpga fpga;
	unsigned int count;

	if (argc != 4)
		errx(64, "usage: fpga-writes BUFFER DEVICE COUNT");
	count = atoi(argv[3]);
	if (!count || count > FPGA_BYTES)
		errx(64, "COUNT is 1 to %u", FPGA_BYTES);
	fpga = fpga_open(argv[2]);
	buffer = fpga_map(argv[1]);

	/* From here on no cache has a line that could be written over what the device writes. */
	fpga_sync(&buffer, SHMBUF_SYNC_READ | SHMBUF_SYNC_END);
	fpga_run(&fpga, FPGA_MEMORY, buffer.address, count, FPGA_TO_MEMORY);
	/* And from here on none has a line from before. */
	fpga_sync(&buffer, SHMBUF_SYNC_READ | SHMBUF_SYNC_START);
	if (fwrite(buffer.bytes, 1, count, stdout) != count || fflush(stdout))
		err(1, "standard output");
	return 0;
}
