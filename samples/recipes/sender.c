// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Makes a buffer, hands it over a socket, and writes frames to it, in turns with receiver.c, which
 * reads them: Documentation/recipes.md.
 *
 * sender SOCKET FRAMES: waits there for the receiver.
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <shmbuf.h>

#include "turns.h"

static int wait_for_receiver(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int there = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	int receiver;

	if (there < 0)
		err(1, "socket");
	if (strlen(path) >= sizeof(address.sun_path))
		errx(64, "%s is too long", path);
	memcpy(address.sun_path, path, strlen(path));
	if (bind(there, (struct sockaddr *)&address, sizeof(address)))
		err(1, "%s", path);
	if (listen(there, 1))
		err(1, "listen");
	receiver = accept(there, NULL, NULL);
	if (receiver < 0)
		err(1, "accept");
	close(there);
	unlink(path);
	return receiver;
}

static int make_buffer(void)
{
	struct shmbuf_alloc alloc = {
		.size = WORDS * sizeof(uint32_t),
		.kind = SHMBUF_KIND_PAGES,
		.policy = SHMBUF_POLICY_WRITEBACK,
	};
	int node = open("/dev/shmbuf", O_RDWR | O_CLOEXEC);
	int buffer;

	if (node < 0)
		err(1, "/dev/shmbuf");
	buffer = ioctl(node, SHMBUF_IOC_ALLOC, &alloc);
	if (buffer < 0)
		err(1, "ALLOC (dmesg has the reason)");
	close(node);
	return buffer;
}

/* Gives the turn to the receiver, with a handle if there is one. */
static void give_turn(int receiver, const struct turn *turn, const int *handle)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec part = { (void *)turn, sizeof(*turn) };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	struct cmsghdr *header;

	if (handle) {
		message.msg_control = control;
		message.msg_controllen = sizeof(control);
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(*handle));
		memcpy(CMSG_DATA(header), handle, sizeof(*handle));
	}
	if (sendmsg(receiver, &message, MSG_NOSIGNAL) != sizeof(*turn))
		errx(1, "the receiver is gone");
}

static void wait_for_turn(int receiver)
{
	char byte;

	if (recv(receiver, &byte, 1, 0) != 1)
		errx(1, "the receiver is gone");
}

int main(int argc, char **argv)
{
	struct turn turn = { 0 };
	volatile uint32_t *words;
	uint32_t frames;
	int receiver, buffer, i;

	if (argc != 3)
		errx(64, "usage: sender SOCKET FRAMES");
	frames = atoi(argv[2]);
	buffer = make_buffer();
	words = mmap(NULL, WORDS * sizeof(*words), PROT_READ | PROT_WRITE, MAP_SHARED, buffer, 0);
	if (words == MAP_FAILED)
		err(1, "mmap");
	receiver = wait_for_receiver(argv[1]);

	while (turn.frame < frames) {
		turn.frame++;
		for (i = 0; i < WORDS; i++)
			words[i] = turn.frame * 0x9e3779b1u + i;
		turn.sum = sum_of(words);
		give_turn(receiver, &turn, turn.frame == 1 ? &buffer : NULL);
		wait_for_turn(receiver);
	}
	turn.frame = 0;
	give_turn(receiver, &turn, NULL);
	return 0;
}
