/* SPDX-License-Identifier: GPL-2.0-or-later */
/* delay - links between two network namespaces, on which every packet takes a fixed time.
 *
 *     delay MICROSECONDS NETNS_A NETNS_B NAME...
 *
 * makes, for each NAME, a TUN device of that name in either namespace (paths, as in /run/netns), says
 * "ready", and carries packets between the two until its standard input ends; the devices go with it.
 * (The kernel's netem does this as well, where it is built.)
 *
 * A thread for each direction of each link, which shares nothing: it reads whatever comes, stamps it,
 * and writes it when its time has come. Segments stay together (IFF_VNET_HDR and TSO): a packet here
 * has up to 64 KiB and its checksum is left out, so that it costs two copies and no more. What does
 * not fit into QUEUE_SIZE is lost, as in a switch. */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum {
	PACKET_MAX = 66 << 10,
	QUEUE_SIZE = 64 << 20,
	BATCH = 16, /* packets read before those that are due get their turn */
};

/* In the queue, a packet follows its header. A length of 0: the next one is at the beginning. */
struct header {
	int64_t due_ns;
	uint32_t len;
};

struct direction {
	pthread_t thread;
	int from, to;
	int64_t delay_ns;
	uint8_t *queue;
	size_t head, tail; /* equal: empty */
};

static int64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Room for the largest packet at the tail, or NULL. The tail never catches up with the head. */
static struct header *room(struct direction *direction)
{
	const size_t need = sizeof(struct header) + PACKET_MAX;

	if (direction->head > direction->tail)
		return direction->head - direction->tail > need
			       ? (struct header *)(direction->queue + direction->tail)
			       : NULL;
	if (direction->tail + need + sizeof(struct header) > QUEUE_SIZE) {
		if (direction->head <= need)
			return NULL;
		((struct header *)(direction->queue + direction->tail))->len = 0;
		direction->tail = 0;
	}
	return (struct header *)(direction->queue + direction->tail);
}

static size_t aligned(size_t len)
{
	return (len + 15) & ~(size_t)15;
}

static struct header *first(struct direction *direction)
{
	struct header *header = (struct header *)(direction->queue + direction->head);

	if (direction->head == direction->tail)
		return NULL;
	if (header->len == 0) {
		direction->head = 0;
		return first(direction);
	}
	return header;
}

/* Takes what has come; false when there is nothing. */
static bool take(struct direction *direction)
{
	static _Thread_local uint8_t lost[PACKET_MAX];
	struct header *header = room(direction);
	ssize_t n = read(direction->from, header ? (uint8_t *)(header + 1) : lost, PACKET_MAX);

	if (n < 0 && errno == EAGAIN)
		return false;
	if (n < 0)
		err(1, "read");
	if (!header || n == 0)
		return true;
	header->due_ns = clock_ns() + direction->delay_ns;
	header->len = n;
	direction->tail += aligned(sizeof(*header) + n);
	return true;
}

/* Passes on what is due; returns the time until the next one, or -1. */
static int64_t pass(struct direction *direction)
{
	struct header *header;
	int64_t left_ns;

	while ((header = first(direction))) {
		left_ns = header->due_ns - clock_ns();
		if (left_ns > 0)
			return left_ns;
		/* A device that is not up yet refuses: the packet is lost. */
		if (write(direction->to, header + 1, header->len) < 0 && errno != EIO && errno != EAGAIN)
			err(1, "write");
		direction->head += aligned(sizeof(*header) + header->len);
	}
	return -1;
}

static void *carry(void *userdata)
{
	struct direction *direction = userdata;
	struct pollfd pollfd = { .fd = direction->from, .events = POLLIN };
	struct timespec timeout;
	int64_t left_ns;

	prctl(PR_SET_TIMERSLACK, 1);
	for (;;) {
		left_ns = pass(direction);
		timeout.tv_sec = left_ns / 1000000000;
		timeout.tv_nsec = left_ns % 1000000000;
		if (ppoll(&pollfd, 1, left_ns < 0 ? NULL : &timeout, NULL) > 0)
			for (int i = 0; i < BATCH && take(direction); i++)
				;
	}
	return NULL;
}

/* A TUN device in a namespace; the caller's thread stays there. */
static int device(const char *netns, const char *name)
{
	const int header_len = 10; /* struct virtio_net_hdr */
	struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR };
	int netns_fd = open(netns, O_RDONLY | O_CLOEXEC), fd;

	if (netns_fd < 0 || setns(netns_fd, CLONE_NEWNET) < 0)
		err(1, "%s", netns);
	close(netns_fd);
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		err(1, "/dev/net/tun");
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	if (ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &header_len) < 0
	    || ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4) < 0)
		err(1, "TUN device %s", name);
	return fd;
}

static void start(int from, int to, int64_t delay_ns)
{
	struct direction *direction = calloc(1, sizeof(*direction));

	if (!direction || !(direction->queue = malloc(QUEUE_SIZE)))
		err(1, "malloc");
	direction->from = from;
	direction->to = to;
	direction->delay_ns = delay_ns;
	if (pthread_create(&direction->thread, NULL, carry, direction) != 0)
		errx(1, "no thread");
}

int main(int argc, char **argv)
{
	int64_t delay_ns;
	char byte;

	if (argc < 5)
		errx(2, "usage: delay MICROSECONDS NETNS_A NETNS_B NAME...");
	delay_ns = atoll(argv[1]) * 1000;
	for (int i = 4; i < argc; i++) {
		int a = device(argv[2], argv[i]), b = device(argv[3], argv[i]);

		start(a, b, delay_ns);
		start(b, a, delay_ns);
	}
	puts("ready");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	return 0;
}
