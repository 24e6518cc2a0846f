/* SPDX-License-Identifier: GPL-2.0-or-later */
/* guard - see guard.h. Between fork and exit only what is async-signal-safe: other threads may have held any lock. */
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../conn/util.h"
#include "log.h"

static void keep_only(unsigned int a, unsigned int b)
{
	unsigned int low = a < b ? a : b, high = a < b ? b : a;

	if (low > 0)
		close_range(0, low - 1, 0);
	if (high > low + 1)
		close_range(low + 1, high - 1, 0);
	close_range(high + 1, ~0U, 0);
}

/* One byte: a clean end. */
static void guard_main(int wait_fd, int abort_fd)
{
	char byte;
	ssize_t n;

	keep_only((unsigned int)wait_fd, (unsigned int)abort_fd);
	prctl(PR_SET_NAME, "fusenfs-guard");
	do
		n = read(wait_fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		n = write(abort_fd, "1", 1);
	_exit(n == 1 ? 0 : 1);
}

void guard_start(struct guard *guard, int abort_fd)
{
	int fds[2];
	pid_t pid;

	*guard = (struct guard){ .alive_fd = -1 };
	if (abort_fd < 0 || pipe2(fds, O_CLOEXEC))
		return;
	pid = _Fork();
	if (pid == 0)
		guard_main(fds[0], abort_fd);
	close(fds[0]);
	if (pid < 0) {
		log_debug("no guard: error %d", errno);
		close(fds[1]);
		return;
	}
	guard->pid = pid;
	guard->alive_fd = fds[1];
}

void guard_end(struct guard *guard)
{
	if (!guard->pid)
		return;
	if (write(guard->alive_fd, "q", 1) == 1)
		waitpid(guard->pid, NULL, 0);
	close(guard->alive_fd);
	guard->pid = 0;
}
