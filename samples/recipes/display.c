// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A display shows buffers of ours, which DRM imports: Documentation/recipes.md.
 *
 * display CARD FRAMES [streaming]: shows so many pictures, the last of them until standard input
 * ends.
 */
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <drm/drm.h>
#include <drm/drm_fourcc.h>
#include <drm/drm_mode.h>

#include <shmbuf.h>

/* One is shown while the program draws in the other. */
#define BUFFERS 2

static struct buffer {
	int handle;
	uint32_t *pixels;
	uint32_t framebuffer;
} buffers[BUFFERS];

static size_t size;	/* of each, whole pages */

/* The first display, in its preferred mode. */
static uint32_t crtc, connector;
static struct drm_mode_modeinfo mode;

static void find_display(int card)
{
	struct drm_mode_card_res resources = {
		.crtc_id_ptr = (uintptr_t)&crtc,
		.connector_id_ptr = (uintptr_t)&connector,
		.count_crtcs = 1,
		.count_connectors = 1,
	};
	struct drm_mode_get_connector found = { 0 };
	struct drm_mode_modeinfo *modes;
	size_t page = sysconf(_SC_PAGESIZE);

	if (ioctl(card, DRM_IOCTL_MODE_GETRESOURCES, &resources))
		err(1, "GETRESOURCES");
	found.connector_id = connector;
	if (ioctl(card, DRM_IOCTL_MODE_GETCONNECTOR, &found))
		err(1, "GETCONNECTOR");
	if (!found.count_modes)
		errx(1, "the first connector has no display");
	modes = calloc(found.count_modes, sizeof(*modes));
	if (!modes)
		err(1, "calloc");
	found.modes_ptr = (uintptr_t)modes;
	found.count_props = 0;
	found.count_encoders = 0;
	if (ioctl(card, DRM_IOCTL_MODE_GETCONNECTOR, &found))
		err(1, "GETCONNECTOR");
	mode = modes[0];
	free(modes);
	size = ((size_t)mode.hdisplay * mode.vdisplay * 4 + page - 1) / page * page;
}

/* Import lends the buffer to the display, for as long as it has the handle. */
static uint32_t import(int card, int dma_buf)
{
	struct drm_prime_handle prime = { .fd = dma_buf };
	struct drm_mode_fb_cmd2 command = {
		.width = mode.hdisplay,
		.height = mode.vdisplay,
		.pixel_format = DRM_FORMAT_XRGB8888,
		.pitches = { mode.hdisplay * 4 },
	};

	if (ioctl(card, DRM_IOCTL_PRIME_FD_TO_HANDLE, &prime))
		err(1, "PRIME_FD_TO_HANDLE");
	command.handles[0] = prime.handle;
	if (ioctl(card, DRM_IOCTL_MODE_ADDFB2, &command))
		err(1, "ADDFB2");
	return command.fb_id;
}

static void make(struct buffer *buffer, int node, int card, unsigned int kind)
{
	struct shmbuf_alloc alloc = {
		.size = size,
		.kind = kind,
		.policy = SHMBUF_POLICY_DEFAULT,
	};
	struct shmbuf_export export = { .length = size };
	int dma_buf;

	buffer->handle = ioctl(node, SHMBUF_IOC_ALLOC, &alloc);
	if (buffer->handle < 0)
		err(1, "ALLOC (dmesg has the reason)");
	buffer->pixels = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, buffer->handle, 0);
	if (buffer->pixels == MAP_FAILED)
		err(1, "mmap");
	dma_buf = ioctl(buffer->handle, SHMBUF_IOC_EXPORT, &export);
	if (dma_buf < 0)
		err(1, "EXPORT");
	buffer->framebuffer = import(card, dma_buf);
	close(dma_buf);
}

/* The CPU begins to draw (START), or ends (END). */
static void sync_picture(const struct buffer *buffer, unsigned int which)
{
	struct shmbuf_sync sync = { .length = size, .flags = SHMBUF_SYNC_WRITE | which };

	if (ioctl(buffer->handle, SHMBUF_IOC_SYNC, &sync))
		err(1, "SYNC");
}

/* Shades of grey, which wander. */
static void draw(const struct buffer *buffer, unsigned int frame)
{
	volatile uint32_t *pixel = buffer->pixels;
	unsigned int x, y;

	for (y = 0; y < mode.vdisplay; y++) {
		for (x = 0; x < mode.hdisplay; x++)
			*pixel++ = ((x + y + 16 * frame) & 0xff) * 0x010101;
	}
}

/* Returns when the display reads this one, and no longer the one before. */
static void show(int card, const struct buffer *buffer)
{
	struct drm_mode_crtc command = {
		.crtc_id = crtc,
		.fb_id = buffer->framebuffer,
		.set_connectors_ptr = (uintptr_t)&connector,
		.count_connectors = 1,
		.mode = mode,
		.mode_valid = 1,
	};

	if (ioctl(card, DRM_IOCTL_MODE_SETCRTC, &command))
		err(1, "SETCRTC (another program may be the display's master)");
}

int main(int argc, char **argv)
{
	unsigned int kind = SHMBUF_KIND_COHERENT;
	unsigned int frame, frames;
	int node, card, i;
	char byte;

	if (argc < 3)
		errx(64, "usage: display CARD FRAMES [streaming]");
	frames = atoi(argv[2]);
	if (argc > 3 && !strcmp(argv[3], "streaming"))
		kind = SHMBUF_KIND_STREAMING;
	node = open("/dev/shmbuf", O_RDWR | O_CLOEXEC);
	if (node < 0)
		err(1, "/dev/shmbuf");
	card = open(argv[1], O_RDWR | O_CLOEXEC);
	if (card < 0)
		err(1, "%s", argv[1]);

	find_display(card);
	for (i = 0; i < BUFFERS; i++)
		make(&buffers[i], node, card, kind);
	for (frame = 0; frame < frames; frame++) {
		const struct buffer *buffer = &buffers[frame % BUFFERS];

		sync_picture(buffer, SHMBUF_SYNC_START);
		draw(buffer, frame);
		sync_picture(buffer, SHMBUF_SYNC_END);
		show(card, buffer);
	}
	printf("shown: %u pictures of %ux%u\n", frames, mode.hdisplay, mode.vdisplay);
	if (fflush(stdout))
		err(1, "standard output");
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return 0;
}
