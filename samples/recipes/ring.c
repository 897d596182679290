// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A ring of slots in one buffer: a device fills one slot while the program reads another:
 * Documentation/recipes.md. The device is the machine's DMA engine, which copies a picture of a
 * scene to a slot.
 *
 * ring FRAMES
 */
#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <shmbuf.h>

#define SLOTS	4
#define WORDS	4096
#define SLOT	(WORDS * sizeof(uint32_t))

struct buffer {
	int handle;
	volatile uint32_t *words;
};

static struct buffer make(int node, size_t size)
{
	struct shmbuf_alloc alloc = {
		.size = size,
		.kind = SHMBUF_KIND_STREAMING,
		.policy = SHMBUF_POLICY_WRITEBACK,
	};
	struct buffer buffer;

	buffer.handle = ioctl(node, SHMBUF_IOC_ALLOC, &alloc);
	if (buffer.handle < 0)
		err(1, "ALLOC (dmesg has the reason)");
	buffer.words = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, buffer.handle, 0);
	if (buffer.words == MAP_FAILED)
		err(1, "mmap");
	return buffer;
}

/* The device begins to fill a slot. Nobody else touches that slot until it has ended. */
static void begin(const struct buffer *ring, const struct buffer *scene, uint32_t frame)
{
	struct shmbuf_copy copy = {
		.src_fd = scene->handle,
		.dst_offset = frame % SLOTS * SLOT,
		.length = SLOT,
		.flags = SHMBUF_COPY_ASYNC,
	};
	size_t i;

	for (i = 0; i < WORDS; i++)
		scene->words[i] = frame + i;
	if (ioctl(ring->handle, SHMBUF_IOC_COPY, &copy))
		err(1, "COPY");
}

/* Waits for the device, which then has nothing of the ring. */
static void end(const struct buffer *ring)
{
	struct pollfd ready = { .fd = ring->handle, .events = POLLIN };

	if (poll(&ready, 1, -1) != 1)
		err(1, "poll");
	if (ioctl(ring->handle, SHMBUF_IOC_COPY_RESULT))
		err(1, "the copy failed");
}

static void check(const struct buffer *ring, uint32_t frame)
{
	const volatile uint32_t *slot = ring->words + frame % SLOTS * WORDS;
	size_t i;

	for (i = 0; i < WORDS; i++) {
		if (slot[i] != frame + i)
			errx(1, "frame %u is wrong", frame);
	}
}

int main(int argc, char **argv)
{
	struct buffer ring, scene;
	uint32_t frame, frames;
	int node;

	if (argc != 2)
		errx(64, "usage: ring FRAMES");
	frames = atoi(argv[1]);
	node = open("/dev/shmbuf", O_RDWR | O_CLOEXEC);
	if (node < 0)
		err(1, "/dev/shmbuf");
	ring = make(node, SLOTS * SLOT);
	scene = make(node, SLOT);

	begin(&ring, &scene, 0);
	for (frame = 0; frame < frames; frame++) {
		end(&ring);
		begin(&ring, &scene, frame + 1);
		/* Beside the device, which has the next slot. */
		check(&ring, frame);
	}
	end(&ring);
	printf("%u frames through %u slots\n", frames, SLOTS);
	return 0;
}
