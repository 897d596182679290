// SPDX-License-Identifier: MIT OR Apache-2.0
/* A buffer of our own that goes to a device and comes back: Documentation/first-program.md. */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <shmbuf.h>

#define SIZE 65536

/* Lends all of the buffer to the device, or takes it back. */
static void sync_all(int buffer, unsigned int which)
{
	struct shmbuf_sync all = {
		.length = SIZE,
		.flags = SHMBUF_SYNC_READ | SHMBUF_SYNC_WRITE | which,
	};

	if (ioctl(buffer, SHMBUF_IOC_SYNC, &all))
		err(1, "SYNC");
}

int main(void)
{
	struct shmbuf_alloc alloc = {
		.size = SIZE,
		.kind = SHMBUF_KIND_STREAMING,
		.policy = SHMBUF_POLICY_WRITEBACK,
	};
	int node = open("/dev/shmbuf", O_RDWR | O_CLOEXEC);
	int buffer;
	unsigned char *bytes;

	if (node < 0)
		err(1, "/dev/shmbuf");
	buffer = ioctl(node, SHMBUF_IOC_ALLOC, &alloc);
	if (buffer < 0)
		err(1, "ALLOC (dmesg has the reason)");
	bytes = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, buffer, 0);
	if (bytes == MAP_FAILED)
		err(1, "mmap");

	bytes[0] = 42;
	sync_all(buffer, SHMBUF_SYNC_END);
	/* The device works here. Until START the buffer is the device's. */
	if (pread(buffer, &(char){ 0 }, 1, 0) < 0)
		warn("while the device has it, pread");
	sync_all(buffer, SHMBUF_SYNC_START);
	printf("back from the device: %d\n", bytes[0]);
	return 0;
}
