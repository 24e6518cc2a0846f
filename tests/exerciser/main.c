/* SPDX-License-Identifier: GPL-2.0-or-later */
/* exerciser - random reads, writes, truncations, mappings, renames ... of a few files by two
 * processes, with a model that knows every byte. Prints what it did as one line, or what was wrong,
 * with the last operations and how to repeat them, and exits with 1.
 *
 *     exerciser [--seed N] [--seconds S | --ops N] [--mix NAME] [--server-path DIR] [--peer DIR]
 *               [--last N] DIRECTORY
 *
 * DIRECTORY is on the mount, and empty. --server-path: the same on the server's disk, where fsync,
 * close and synchronous writes must have put everything. --peer: the same by another mount.
 *
 * The processes take turns, and all chance comes from the seed. What NFS does not promise is not
 * asked: two hosts that have a file open at once, O_DIRECT next to a mapping. */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "handle.h"
#include "model.h"
#include "op.h"

enum { STUCK_S = 100 };

static const char *const mixes[] = { "data", "truncate", "map", "append", "names" };
enum { N_MIXES = 5 };

/* clang-format off */
static const struct {
	struct file *(*run)(struct world *world, struct process *process);
	unsigned int weights[N_MIXES];
} operations[] = {
	{ op_read, { 20, 15, 15, 12, 8 } },
	{ op_read_all, { 4, 4, 4, 4, 4 } },
	{ op_write, { 25, 15, 12, 8, 8 } },
	{ op_stream, { 8, 4, 3, 4, 3 } },
	{ op_append, { 4, 3, 2, 25, 3 } },
	{ op_append_burst, { 1, 1, 1, 6, 1 } },
	{ op_copy, { 3, 2, 2, 2, 2 } },
	{ op_direct, { 5, 4, 1, 2, 1 } },
	{ op_seek_end, { 1, 2, 1, 2, 1 } },
	{ op_map, { 5, 5, 30, 3, 3 } },
	{ op_truncate, { 3, 20, 6, 4, 3 } },
	{ op_empty, { 1, 6, 1, 1, 2 } },
	{ op_sync, { 5, 5, 5, 5, 3 } },
	{ op_open, { 3, 3, 3, 3, 8 } },
	{ op_close, { 8, 8, 6, 8, 12 } },
	{ op_times, { 2, 2, 2, 2, 4 } },
	{ op_rename, { 1, 1, 1, 1, 8 } },
	{ op_unlink, { 1, 1, 1, 1, 6 } },
	{ op_peer, { 3, 3, 3, 3, 3 } },
	{ op_burst, { 5, 3, 2, 2, 1 } },
};
/* clang-format on */
enum { N_OPERATIONS = sizeof(operations) / sizeof(operations[0]) };

/* ---- turns ------------------------------------------------------------------------------- */

static int mix_number(const char *name)
{
	for (int i = 0; i < N_MIXES; i++)
		if (strcmp(mixes[i], name) == 0)
			return i;
	errx(2, "--mix: data, truncate, map, append or names");
}

static unsigned int pick_operation(struct world *world)
{
	int mix = mix_number(world->settings.mix);
	uint64_t sum = 0, place;
	unsigned int i;

	for (i = 0; i < N_OPERATIONS; i++)
		sum += operations[i].weights[mix];
	place = below(world, sum);
	for (i = 0; place >= operations[i].weights[mix]; i++)
		place -= operations[i].weights[mix];
	return i;
}

static void act(struct world *world, unsigned int number)
{
	struct process *process = &world->processes[number];
	struct file *file;

	world->actor = number;
	file = operations[pick_operation(world)].run(world, process);
	if (file)
		file_check(world, process, file);
}

/* The second process: a letter is a turn, the end of the stream the end. */
_Noreturn static void follow(struct world *world, int sock)
{
	char turn;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(sock, &turn, 1) == 1) {
		act(world, 1);
		if (write(sock, &turn, 1) != 1)
			_exit(2);
	}
	process_end(world, &world->processes[1]);
	_exit(0);
}

static void hand_over(int sock)
{
	char turn = 't';

	if (write(sock, &turn, 1) != 1 || read(sock, &turn, 1) != 1)
		exit(1); /* it has said why */
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void take_turns(struct world *world, int sock)
{
	const struct settings *settings = &world->settings;
	double end = now() + settings->seconds;

	while (settings->n_operations ? world->operation < settings->n_operations : now() < end) {
		unsigned int number = (unsigned int)below(world, N_PROCESSES);

		world->operation++;
		if (number)
			hand_over(sock);
		else
			act(world, 0);
	}
}

/* ---- the end ----------------------------------------------------------------------------- */

/* All is closed: what is read now, and what is on the disk. */
static void compare_all(struct world *world)
{
	static uint8_t found[MAX_SIZE];

	world->actor = 0;
	for (int i = 0; i < N_FILES; i++) {
		struct file *file = &world->files[i];
		int fd;

		if (!file->linked)
			continue;
		note(world, "compare %s", file->name);
		fd = open(path_of(world->settings.directory, file->name).text, O_RDONLY);
		if (fd < 0)
			fail_errno(world, "open", file);
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		model_check(world, file, "in the end", found, pread(fd, found, MAX_SIZE, 0), 0,
			    MAX_SIZE);
		if (fsync(fd) != 0)
			fail_errno(world, "fsync", file);
		model_check_disk(world, file, "in the end, the disk");
		model_check_stat(world, file, fd, true);
		close(fd);
	}
}

static void *watch(void *arg)
{
	struct world *world = arg;
	uint64_t last = 0;
	int seconds = 0;

	while (seconds < STUCK_S) {
		seconds = last == world->n_lines ? seconds + 1 : 0;
		last = world->n_lines;
		sleep(1);
	}
	fail(world, "nothing has moved for %d s", seconds);
}

static struct world *bus_world;

static void bus_error(int number)
{
	fail(bus_world, "SIGBUS");
}

static void parse(struct settings *settings, int argc, char **argv)
{
	static const struct option options[] = { { "seed", required_argument, NULL, 's' },
						 { "ops", required_argument, NULL, 'o' },
						 { "seconds", required_argument, NULL, 't' },
						 { "mix", required_argument, NULL, 'm' },
						 { "server-path", required_argument, NULL, 'd' },
						 { "peer", required_argument, NULL, 'p' },
						 { "last", required_argument, NULL, 'l' },
						 { NULL, 0, NULL, 0 } };
	int word;

	while ((word = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (word) {
		case 's':
			settings->seed = strtoull(optarg, NULL, 0);
			break;
		case 'o':
			settings->n_operations = strtoull(optarg, NULL, 0);
			break;
		case 't':
			settings->seconds = strtod(optarg, NULL);
			break;
		case 'm':
			settings->mix = optarg;
			break;
		case 'd':
			settings->disk = optarg;
			break;
		case 'p':
			settings->peer = optarg;
			break;
		case 'l':
			settings->n_told = strtoull(optarg, NULL, 0);
			break;
		default:
			exit(2);
		}
	}
	if (argc != optind + 1)
		errx(2, "one directory is needed");
	settings->directory = argv[optind];
	mix_number(settings->mix);
}

int main(int argc, char **argv)
{
	struct settings settings = {
		.seed = (uint64_t)time(NULL), .mix = "data", .seconds = 10, .n_told = 40
	};
	struct world *world;
	pthread_t watcher;
	int socks[2], status;
	pid_t child;

	parse(&settings, argc, argv);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	bus_world = world = world_new(&settings);
	signal(SIGBUS, bus_error);
	signal(SIGPIPE, SIG_IGN);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks) != 0)
		err(2, "socketpair");
	child = fork();
	if (child == 0) {
		close(socks[0]);
		follow(world, socks[1]);
	}
	close(socks[1]);
	if (child < 0 || pthread_create(&watcher, NULL, watch, world) != 0)
		err(2, "cannot start");
	take_turns(world, socks[0]);
	process_end(world, &world->processes[0]);
	close(socks[0]);
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status))
		exit(1);
	compare_all(world);
	printf("seed %llu mix %s: %u operations, %u comparisons with the disk\n",
	       (unsigned long long)settings.seed, settings.mix, world->operation, world->n_checks);
	return 0;
}
