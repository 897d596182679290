// SPDX-License-Identifier: GPL-2.0
/*
 * Traffic through drivers of a kernel that is not ours, with what came back compared:
 *   traffic disk DEVICE           through the page cache and past it (O_DIRECT)
 *   traffic tcp ADDRESS PORT      to somebody who sends all of it back
 *   traffic shared-line DEVICE    wrong: the program stores beside what the device reads into
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BYTES (1024 * 1024u)
#define PAGE 4096u

/* What belongs at this offset in this round. */
static uint32_t pattern(uint32_t round, uint32_t at)
{
	return (round << 24 ^ at) * 2654435761u;
}

static void fill(uint32_t *words, size_t bytes, uint32_t round, uint32_t at)
{
	for (size_t i = 0; i < bytes / 4; i++)
		words[i] = pattern(round, at + i);
}

static void compare(const uint32_t *words, size_t bytes, uint32_t round, uint32_t at)
{
	for (size_t i = 0; i < bytes / 4; i++)
		if (words[i] != pattern(round, at + i))
			errx(1, "round %u: another word came back at %zu", round, (at + i) * 4);
}

static void all_of(ssize_t done, size_t bytes, const char *what)
{
	if (done < 0)
		err(1, "%s", what);
	if ((size_t)done != bytes)
		errx(1, "%s: %zd bytes of %zu", what, done, bytes);
}

/* Its driver may still be looking for it. */
static int opened(const char *device, int flags)
{
	int fd;

	for (int i = 0; (fd = open(device, flags)) < 0; i++) {
		if (i == 60)
			err(1, "%s", device);
		sleep(1);
	}
	return fd;
}

/* Of nobody's but the program's. */
static uint32_t *pages(size_t bytes)
{
	void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED)
		err(1, "mmap");
	return map;
}

/* Written by one way, read by the other, and the other way round. */
static void disk(const char *device)
{
	const size_t bytes = 64 << 10;
	uint32_t *buffer = pages(bytes);

	for (uint32_t round = 0; round < 4; round++) {
		bool direct_write = round & 1, direct_read = round & 2;
		int fd = opened(device, O_RDWR | (direct_write ? O_DIRECT : 0));

		for (uint32_t at = 0; at < BYTES; at += bytes) {
			fill(buffer, bytes, round, at / 4);
			all_of(pwrite(fd, buffer, bytes, at), bytes, "write");
		}
		if (fsync(fd))
			err(1, "fsync");
		if (posix_fadvise(fd, 0, BYTES, POSIX_FADV_DONTNEED))
			errx(1, "fadvise");
		close(fd);
		fd = opened(device, O_RDONLY | (direct_read ? O_DIRECT : 0));
		for (uint32_t at = 0; at < BYTES; at += bytes) {
			all_of(pread(fd, buffer, bytes, at), bytes, "read");
			compare(buffer, bytes, round, at / 4);
		}
		close(fd);
	}
}

static void tcp(const char *address, const char *port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
	static uint32_t out[BYTES / 4], in[BYTES / 4];
	size_t sent = 0, received = 0;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || inet_pton(AF_INET, address, &to.sin_addr) != 1)
		err(1, "%s", address);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)))
		err(1, "connect");
	fill(out, sizeof(out), 9, 0);
	while (received < sizeof(in)) {
		/* Not so much on its way that both ends wait for each other. */
		bool more = sent < sizeof(out) && sent - received < 16 << 10;
		struct pollfd ready = { .fd = fd, .events = POLLIN | (more ? POLLOUT : 0) };
		ssize_t done;

		if (poll(&ready, 1, 60000) != 1)
			errx(1, "poll: silence after %zu bytes", received);
		if (ready.revents & POLLIN) {
			done = read(fd, (char *)in + received, sizeof(in) - received);
			if (done <= 0)
				err(1, "read: the end after %zu bytes", received);
			received += done;
		} else {
			size_t next = sizeof(out) - sent < PAGE ? sizeof(out) - sent : PAGE;

			done = write(fd, (char *)out + sent, next);
			if (done < 0)
				err(1, "write");
			sent += done;
		}
	}
	compare(in, sizeof(in), 9, 0);
}

/*
 * Reads past the page cache into memory that begins and ends in the middle of a cache line, and
 * stores to the rest of the first line before the device is done.
 */
static void shared_line(const char *device)
{
	uint32_t *page = pages(2 * PAGE);
	int fd = opened(device, O_RDONLY | O_DIRECT);
	aio_context_t context = 0;
	struct io_event event;

	if (syscall(SYS_io_setup, 1, &context))
		err(1, "io_setup");
	memset(page, 0, 2 * PAGE);
	for (uint32_t i = 1; i < 256; i++) {
		struct iocb control = {
			.aio_lio_opcode = IOCB_CMD_PREAD,
			.aio_fildes = fd,
			.aio_buf = (uintptr_t)(page + 1),
			.aio_nbytes = PAGE,
		}, *list = &control;

		if (syscall(SYS_io_submit, context, 1, &list) != 1)
			err(1, "io_submit");
		page[0] = i;
		if (syscall(SYS_io_getevents, context, 1, 1, &event, NULL) != 1)
			err(1, "io_getevents");
		all_of(event.res, PAGE, "read");
		if (page[0] != i)
			errx(1, "the store is lost");
	}
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "disk"))
		disk(argv[2]);
	else if (argc == 4 && !strcmp(argv[1], "tcp"))
		tcp(argv[2], argv[3]);
	else if (argc == 3 && !strcmp(argv[1], "shared-line"))
		shared_line(argv[2]);
	else
		errx(2, "traffic disk DEVICE|tcp ADDRESS PORT|shared-line DEVICE");
	return 0;
}
