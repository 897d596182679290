// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * coherence-cases [NAME...]: runs the cases of faults.ko, all or some, and does
 * the program's part of them. Prints KTAP. "ok" says that a case ran, and for a
 * right sequence that the data was right; before it, "# expect" tells what a
 * checker has to report about it on this core.
 *
 * Exit status: 0 if all ran, 1 otherwise.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "errand.h"

#define NODE	"/dev/coherence-test"

static size_t page;	/* its size in bytes */

/* One run of a case. */
struct run {
	int fd;
	unsigned long number;
	int error;		/* an errno, or 0 */
};

static void *run_case(void *argument)
{
	struct run *r = argument;

	if (ioctl(r->fd, COHERENCE_RUN, r->number))
		r->error = errno;
	return NULL;
}

/* What the program does by itself returns whether all was right. */

static volatile uint32_t *map_page(int flags, int fd)
{
	void *map = mmap(NULL, page, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (map == MAP_FAILED)
		err(1, "mmap");
	return map;
}

/*
 * Memory of parent and child, private and shared, stored to by both: pages
 * that were the parent's are copied, and shared ones seen by both.
 */
static bool fork_and_share(void)
{
	volatile uint32_t *mine = map_page(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	volatile uint32_t *ours = map_page(MAP_SHARED | MAP_ANONYMOUS, -1);
	bool right;
	int status;
	pid_t child;

	mine[0] = 42;
	ours[0] = 42;
	child = fork();
	if (child < 0)
		err(1, "fork");
	if (!child) {
		right = mine[0] == 42 && ours[0] == 42;
		mine[0] = 43;
		ours[1] = 43;
		_exit(right && mine[0] == 43 ? 0 : 1);
	}
	mine[1] = 44;
	if (waitpid(child, &status, 0) != child)
		err(1, "waitpid");
	right = !status && mine[0] == 42 && mine[1] == 44 && ours[0] == 42 && ours[1] == 43;
	munmap((void *)mine, page);
	munmap((void *)ours, page);
	return right;
}

/* One file by mmap(), write() and read(), each seeing what the others did. */
static bool page_cache(void)
{
	char name[] = "/tmp/coherence-XXXXXX";
	int fd = mkstemp(name);
	volatile uint32_t *map;
	uint32_t word = 42;
	bool right;

	if (fd < 0 || unlink(name) || ftruncate(fd, page))
		err(1, "a file in /tmp");
	map = map_page(MAP_SHARED, fd);
	right = map[0] == 0;
	right &= pwrite(fd, &word, sizeof(word), 0) == sizeof(word) && map[0] == 42;
	map[0] = 43;
	right &= pread(fd, &word, sizeof(word), 0) == sizeof(word) && word == 43;
	right &= pwrite(fd, &word, sizeof(word), 4) == sizeof(word) && map[0] == 43 && map[1] == 43;
	munmap((void *)map, page);
	close(fd);
	return right;
}

/*
 * Writes two functions to one place, one after the other, and runs each. What
 * is not flushed is the second one: the first is in the instruction cache then.
 */
static bool code(bool flushed)
{
	uint32_t *text = mmap(NULL, page, PROT_READ | PROT_WRITE | PROT_EXEC,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t (*function)(void) = (uint32_t (*)(void))text;
	bool right = true;

	if (text == MAP_FAILED)
		err(1, "mmap");
	for (uint32_t value = 42; value <= 43; value++) {
		((volatile uint32_t *)text)[0] = 0xe3a00000 | value;	/* mov r0, #value */
		((volatile uint32_t *)text)[1] = 0xe12fff1e;		/* bx lr */
		if (flushed || value == 42)
			__builtin___clear_cache((char *)text, (char *)(text + 2));
		right &= function() == value;
	}
	munmap(text, page);
	return right;
}

/* Does what the case asks for, until it ends. */
static void serve(struct run *r)
{
	struct coherence_errand errand = { 0 };
	volatile uint32_t *map = NULL;

	for (;;) {
		if (ioctl(r->fd, COHERENCE_NEXT, &errand))
			err(1, "COHERENCE_NEXT");
		switch (errand.what) {
		case COHERENCE_END:
			return;
		case COHERENCE_MAP:
			map = map_page(MAP_SHARED, r->fd);
			break;
		case COHERENCE_MAP_OWN:
			map = map_page(MAP_PRIVATE | MAP_ANONYMOUS, -1);
			errand.value = (uintptr_t)map;
			break;
		case COHERENCE_UNMAP:
			munmap((void *)map, page);
			break;
		case COHERENCE_STORE:
			map[errand.word] = errand.value;
			break;
		case COHERENCE_LOAD:
			errand.value = map[errand.word];
			break;
		case COHERENCE_FORK:
			errand.value = fork_and_share();
			break;
		case COHERENCE_PAGE_CACHE:
			errand.value = page_cache();
			break;
		case COHERENCE_CODE:
			errand.value = code(false);
			break;
		case COHERENCE_CODE_FLUSHED:
			errand.value = code(true);
			break;
		default:
			errx(1, "an unknown errand, %u: is this program of that module?",
			     errand.what);
		}
	}
}

/* Returns an errno, or 0. */
static int run(unsigned long number)
{
	struct run r = { .number = number };
	pthread_t thread;

	r.fd = open(NODE, O_RDWR | O_CLOEXEC);
	if (r.fd < 0)
		err(1, NODE);
	errno = pthread_create(&thread, NULL, run_case, &r);
	if (errno)
		err(1, "pthread_create");
	serve(&r);
	pthread_join(thread, NULL);
	close(r.fd);
	return r.error;
}

/* Whether a case was asked for; all are if none was named. */
static bool wanted(const char *name, char **names)
{
	if (!*names)
		return true;
	for (; *names; names++) {
		if (!strcmp(name, *names))
			return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	FILE *list = fopen(NODE, "re");
	char name[64], expected[512];
	unsigned int done = 0;
	bool failed = false;

	(void)argc;
	if (!list)
		err(1, NODE);
	page = sysconf(_SC_PAGESIZE);
	puts("KTAP version 1");
	for (unsigned long number = 0; fscanf(list, "%63s %511[^\n]", name, expected) == 2;
	     number++) {
		int error;

		if (!wanted(name, argv + 1))
			continue;
		error = run(number);
		done++;
		printf("# expect %s\n", expected);
		if (error == EOPNOTSUPP)
			printf("ok %u - %s # SKIP not on this board\n", done, name);
		else if (error)
			printf("not ok %u - %s # %s\n", done, name, strerror(error));
		else
			printf("ok %u - %s\n", done, name);
		failed |= error && error != EOPNOTSUPP;
	}
	printf("1..%u\n", done);
	return failed || !done;
}
