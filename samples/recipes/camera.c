// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A camera fills buffers of ours, which V4L2 imports: Documentation/recipes.md.
 *
 * camera VIDEO WIDTH HEIGHT FRAMES: writes so many frames to standard output.
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/videodev2.h>

#include <shmbuf.h>

/* The camera fills one while the program reads another. Some cameras want more. */
#define BUFFERS 2
#define MOST_BUFFERS 32

static struct buffer {
	int handle;
	int dma_buf;
	void *bytes;
} buffers[MOST_BUFFERS];

static unsigned int count;
static size_t size;	/* of each, whole pages */

static void set_format(int video, unsigned int width, unsigned int height)
{
	struct v4l2_format format = {
		.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
		.fmt.pix = {
			.width = width,
			.height = height,
			.pixelformat = V4L2_PIX_FMT_YUYV,
		},
	};
	struct v4l2_requestbuffers request = {
		.count = BUFFERS,
		.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
		.memory = V4L2_MEMORY_DMABUF,
	};
	struct v4l2_capability capability;
	size_t page = sysconf(_SC_PAGESIZE);

	if (ioctl(video, VIDIOC_QUERYCAP, &capability))
		err(1, "VIDIOC_QUERYCAP");
	if (!(capability.device_caps & V4L2_CAP_VIDEO_CAPTURE))
		errx(1, "this is no camera");
	if (ioctl(video, VIDIOC_S_FMT, &format))
		err(1, "VIDIOC_S_FMT");
	if (format.fmt.pix.pixelformat != V4L2_PIX_FMT_YUYV)
		errx(1, "the camera has no YUYV");
	if (ioctl(video, VIDIOC_REQBUFS, &request))
		err(1, "VIDIOC_REQBUFS");
	count = request.count;
	if (count > MOST_BUFFERS)
		errx(1, "the camera wants %u buffers", count);
	warnx("%ux%u, %u bytes", format.fmt.pix.width, format.fmt.pix.height,
	      format.fmt.pix.sizeimage);
	size = (format.fmt.pix.sizeimage + page - 1) / page * page;
}

static void make(struct buffer *buffer, int node)
{
	struct shmbuf_alloc alloc = {
		.size = size,
		.kind = SHMBUF_KIND_STREAMING,
		.policy = SHMBUF_POLICY_WRITEBACK,
		.mapping = SHMBUF_MAPPING_STRICT,
		.direction = SHMBUF_DIRECTION_FROM_DEVICE,
	};
	struct shmbuf_export export = { .length = size };

	buffer->handle = ioctl(node, SHMBUF_IOC_ALLOC, &alloc);
	if (buffer->handle < 0)
		err(1, "ALLOC (dmesg has the reason)");
	buffer->dma_buf = ioctl(buffer->handle, SHMBUF_IOC_EXPORT, &export);
	if (buffer->dma_buf < 0)
		err(1, "EXPORT");
	buffer->bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, buffer->handle, 0);
	if (buffer->bytes == MAP_FAILED)
		err(1, "mmap");
}

/* The CPU begins to read a frame (START), or ends (END). */
static void sync_frame(const struct buffer *buffer, unsigned int which)
{
	struct shmbuf_sync sync = { .length = size, .flags = SHMBUF_SYNC_READ | which };

	if (ioctl(buffer->handle, SHMBUF_IOC_SYNC, &sync))
		err(1, "SYNC");
}

/* The first time, V4L2 maps the dma-buf for the camera, which lends the buffer. */
static void queue(int video, unsigned int index)
{
	struct v4l2_buffer buffer = {
		.index = index,
		.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
		.memory = V4L2_MEMORY_DMABUF,
		.m.fd = buffers[index].dma_buf,
	};

	if (ioctl(video, VIDIOC_QBUF, &buffer))
		err(1, "VIDIOC_QBUF");
}

static void write_frame(int video)
{
	struct v4l2_buffer done = {
		.type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
		.memory = V4L2_MEMORY_DMABUF,
	};
	const struct buffer *buffer;

	if (ioctl(video, VIDIOC_DQBUF, &done))
		err(1, "VIDIOC_DQBUF");
	buffer = &buffers[done.index];
	sync_frame(buffer, SHMBUF_SYNC_START);
	if (done.flags & V4L2_BUF_FLAG_ERROR)
		warnx("a frame has errors");
	if (fwrite(buffer->bytes, 1, done.bytesused, stdout) != done.bytesused)
		err(1, "standard output");
	sync_frame(buffer, SHMBUF_SYNC_END);
	queue(video, done.index);
}

int main(int argc, char **argv)
{
	int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
	int node, video, frames;
	unsigned int index;

	if (argc != 5)
		errx(64, "usage: camera VIDEO WIDTH HEIGHT FRAMES");
	node = open("/dev/shmbuf", O_RDWR | O_CLOEXEC);
	if (node < 0)
		err(1, "/dev/shmbuf");
	video = open(argv[1], O_RDWR | O_CLOEXEC);
	if (video < 0)
		err(1, "%s", argv[1]);

	set_format(video, atoi(argv[2]), atoi(argv[3]));
	for (index = 0; index < count; index++) {
		make(&buffers[index], node);
		queue(video, index);
	}
	if (ioctl(video, VIDIOC_STREAMON, &type))
		err(1, "VIDIOC_STREAMON");
	for (frames = atoi(argv[4]); frames > 0; frames--)
		write_frame(video);
	if (ioctl(video, VIDIOC_STREAMOFF, &type))
		err(1, "VIDIOC_STREAMOFF");
	if (fflush(stdout))
		err(1, "standard output");
	return 0;
}
