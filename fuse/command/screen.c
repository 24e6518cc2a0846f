/* SPDX-License-Identifier: GPL-2.0-or-later */
/* screen - see screen.h. What a signal handler does is write(2), tcsetattr(3) and raise(3), which it may. */
#include "screen.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "../../conn/util.h"

#define ENTER "\033[?1049h\033[?25l"
#define LEAVE "\033[0m\033[?25h\033[?1049l"

static struct termios before;
static volatile sig_atomic_t is_open;
static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP };

static void put(const char *text, size_t n)
{
	while (n > 0) {
		ssize_t done = write(STDOUT_FILENO, text, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return; /* the terminal is gone: screen_key() finds out */
		text += done;
		n -= (size_t)done;
	}
}

static void restore(void)
{
	if (!is_open)
		return;
	is_open = 0;
	put(LEAVE, sizeof(LEAVE) - 1);
	tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

static void enter(void)
{
	struct termios raw = before;

	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw.c_cc[VMIN] = 0;
	raw.c_cc[VTIME] = 0;
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	is_open = 1;
	put(ENTER, sizeof(ENTER) - 1);
}

static void set_handler(int number, void (*handler)(int number))
{
	struct sigaction action = { .sa_handler = handler };

	sigaction(number, &action, NULL);
}

/* The terminal first, then what the signal does by itself. */
static void on_end(int number)
{
	int error = errno;

	restore();
	set_handler(number, SIG_DFL);
	raise(number);
	errno = error;
}

static void on_continue(int number UNUSED)
{
	int error = errno;

	set_handler(SIGTSTP, on_end);
	if (!is_open)
		enter();
	errno = error;
}

static void on_resize(int number UNUSED)
{
}

int screen_open(void)
{
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &before))
		return -ENOTTY;
	for (unsigned int i = 0; i < ARRAY_SIZE(ends); i++)
		set_handler(ends[i], on_end);
	set_handler(SIGCONT, on_continue);
	set_handler(SIGWINCH, on_resize);
	enter();
	return 0;
}

void screen_close(void)
{
	set_handler(SIGCONT, SIG_DFL);
	restore();
}

/* Bytes of the line that fit into so many columns: UTF-8 counts by characters, sequences by nothing. */
static size_t fitting(const char *line, size_t n, unsigned int columns)
{
	unsigned int used = 0;
	size_t i = 0;

	while (i < n) {
		if (line[i] == '\033') {
			while (i < n && line[i] != 'm')
				i++;
			i += i < n;
			continue;
		}
		if (((unsigned char)line[i] & 0xc0) != 0x80 && used++ == columns)
			break;
		i++;
	}
	return i;
}

static struct winsize size_now(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !size.ws_row || !size.ws_col)
		return (struct winsize){ .ws_row = 24, .ws_col = 80 };
	return size;
}

unsigned int screen_columns(void)
{
	return size_now().ws_col;
}

void screen_draw(const char *page)
{
	struct winsize size = size_now();
	char *text = NULL;
	size_t len = 0;
	FILE *stream;

	stream = open_memstream(&text, &len);
	if (!stream)
		return;
	fputs("\033[H", stream);
	for (unsigned int row = 0; row < size.ws_row && *page; row++) {
		size_t n = strcspn(page, "\n");

		fwrite(page, 1, fitting(page, n, size.ws_col), stream);
		fputs(SCREEN_PLAIN "\033[K", stream);
		page += n + (page[n] == '\n');
		if (row + 1 < size.ws_row && *page)
			fputs("\r\n", stream);
	}
	fputs("\033[J", stream);
	fclose(stream);
	put(text, len);
	free(text);
}

int screen_key(int timeout_ms)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	int n = poll(&in, 1, timeout_ms);
	char key;

	if (n < 0 && errno == EINTR)
		return 0;
	if (n < 0 || in.revents & (POLLERR | POLLHUP | POLLNVAL))
		return -1;
	if (n == 0)
		return 0;
	n = (int)read(STDIN_FILENO, &key, 1);
	return n == 1 ? key : n == 0 ? -1 : 0;
}
