// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Takes a buffer from a socket, and reads the frames that sender.c writes to it, in turns:
 * Documentation/recipes.md.
 *
 * receiver SOCKET
 */
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <shmbuf.h>

#include "turns.h"

/* Waits for it if it is not there yet. */
static int connect_to_sender(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int patience = 300;
	int sender = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (sender < 0)
		err(1, "socket");
	if (strlen(path) >= sizeof(address.sun_path))
		errx(64, "%s is too long", path);
	memcpy(address.sun_path, path, strlen(path));
	while (connect(sender, (struct sockaddr *)&address, sizeof(address))) {
		if ((errno != ENOENT && errno != ECONNREFUSED) || !patience--)
			err(1, "%s", path);
		usleep(100000);
	}
	return sender;
}

/* Waits for the turn. Returns the handle that came with it, or -1. */
static int take_turn(int sender, struct turn *turn)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec part = { turn, sizeof(*turn) };
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *header;
	int handle = -1;

	if (recvmsg(sender, &message, MSG_CMSG_CLOEXEC) != sizeof(*turn))
		errx(1, "the sender is gone");
	header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
	    header->cmsg_len == CMSG_LEN(sizeof(handle)))
		memcpy(&handle, CMSG_DATA(header), sizeof(handle));
	return handle;
}

static const volatile uint32_t *map_buffer(int buffer)
{
	struct shmbuf_info info = { 0 };
	const volatile uint32_t *words;

	/* Whoever sent it may have sent anything. */
	if (ioctl(buffer, SHMBUF_IOC_INFO, &info))
		err(1, "what came is not a shmbuf buffer");
	if (info.size < WORDS * sizeof(*words))
		errx(1, "the buffer is too small");
	words = mmap(NULL, WORDS * sizeof(*words), PROT_READ, MAP_SHARED, buffer, 0);
	if (words == MAP_FAILED)
		err(1, "mmap");
	return words;
}

int main(int argc, char **argv)
{
	const volatile uint32_t *words;
	struct turn turn;
	uint32_t frames = 0;
	int sender;

	if (argc != 2)
		errx(64, "usage: receiver SOCKET");
	sender = connect_to_sender(argv[1]);
	words = map_buffer(take_turn(sender, &turn));
	while (turn.frame) {
		if (sum_of(words) != turn.sum)
			errx(1, "frame %u is not what was sent", turn.frame);
		frames++;
		if (send(sender, "", 1, MSG_NOSIGNAL) != 1)
			errx(1, "the sender is gone");
		take_turn(sender, &turn);
	}
	printf("%u frames, each as it was sent\n", frames);
	return 0;
}
