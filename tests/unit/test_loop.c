/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_loop - the order of a turn, timers, tasks from many threads, and what callbacks may do to what
 * is being run. What happens on a loop's thread is read after loop_join(). */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../conn/loop.h"
#include "../../conn/util.h"

/* What has happened, a letter each. */
static struct loop *loop;
static char story[256];
static size_t story_len;

static void tell(char letter)
{
	assert(story_len < sizeof(story) - 1);
	story[story_len++] = letter;
	story[story_len] = '\0';
}

static void begin(void)
{
	story_len = 0;
	story[0] = '\0';
	assert(!loop_new(3, &loop));
	assert(loop_index(loop) == 3 && !loop_current());
}

static void expect(const char *what)
{
	if (strcmp(story, what) != 0)
		fprintf(stderr, "\"%s\", not \"%s\"\n", story, what);
	assert(!strcmp(story, what));
}

/* Started now, it runs until something in it stops it. */
static void run(void)
{
	assert(!loop_start(loop));
	loop_join(loop);
}

static void end(void)
{
	loop_free(loop);
	loop = NULL;
}

static int event_new(unsigned int value)
{
	int fd = eventfd(value, EFD_CLOEXEC | EFD_NONBLOCK);

	assert(fd >= 0);
	return fd;
}

static void stop_task(struct loop_task *task UNUSED)
{
	loop_stop(loop);
}

/* ---- the order of a turn ----------------------------------------------------------------- */

static struct loop_turn_end turn_end;
static struct loop_task stop = { .run = stop_task };

static void turn_end_run(struct loop_turn_end *end_ UNUSED)
{
	tell('e');
	loop_stop(loop);
}

static void first_ready(struct loop_watch *watch UNUSED, uint32_t events)
{
	assert(events == EPOLLIN && loop_current() == loop);
	tell('f');
	loop_at_turn_end(loop, &turn_end);
}

static void last_ready(struct loop_watch *watch UNUSED, uint32_t events UNUSED)
{
	tell('l');
	loop_at_turn_end(loop, &turn_end);
}

static void task_run(struct loop_task *task UNUSED)
{
	tell('t');
	loop_at_turn_end(loop, &turn_end);
}

static void timer_run(struct loop_timer *timer, int64_t now_ns)
{
	assert(now_ns == loop_now_ns(loop) && now_ns >= timer->at_ns && !timer->armed);
	assert(clock_ns() >= now_ns);
	tell('m');
}

/* Sockets, inbox, timers, requests, and the end, once. */
static void test_turn(void)
{
	struct loop_watch last = { event_new(1), LOOP_LAST, last_ready };
	struct loop_watch first = { event_new(1), LOOP_FIRST, first_ready };
	struct loop_timer timer = { .expired = timer_run };
	struct loop_task task = { .run = task_run };

	begin();
	turn_end = (struct loop_turn_end){ .run = turn_end_run };
	assert(!loop_watch_add(loop, &last, EPOLLIN));
	assert(!loop_watch_add(loop, &first, EPOLLIN));
	assert(loop_watch_add(loop, &first, EPOLLIN) == -EEXIST);
	loop_timer_set(loop, &timer, clock_ns());
	loop_post(loop, &task);
	run();
	expect("ftmle");
	assert(!turn_end.queued);
	close(first.fd);
	close(last.fd);
	end();
}

/* ---- timers ------------------------------------------------------------------------------ */

enum { N_TIMERS = 6 };
static struct named_timer {
	struct loop_timer timer;
	char name;
} timers[N_TIMERS];

static void named_run(struct loop_timer *timer, int64_t now_ns)
{
	struct named_timer *named = container_of(timer, struct named_timer, timer);

	assert(now_ns >= timer->at_ns && !timer->armed);
	tell(named->name);
	if (named->name == 'z')
		loop_stop(loop);
	if (named->name == 'b') /* the next one, which may be due already */
		loop_timer_cancel(loop, &timers[2].timer);
}

static void set_timer(int i, char name, int64_t at_ns)
{
	timers[i] = (struct named_timer){ { .expired = named_run }, name };
	loop_timer_set(loop, &timers[i].timer, at_ns);
	assert(timers[i].timer.armed);
}

static void test_timer_order(int64_t step_ns, const char *order)
{
	int64_t at_ns;

	begin();
	at_ns = clock_ns() + step_ns;
	set_timer(0, 'z', at_ns + 9 * step_ns);
	set_timer(1, 'b', at_ns + 2 * step_ns);
	set_timer(2, 'x', at_ns + 3 * step_ns); /* cancelled by b */
	set_timer(3, 'a', at_ns + 1 * step_ns);
	set_timer(4, 'c', at_ns + 1 * step_ns); /* equal ones in the order they were set */
	set_timer(5, 'd', at_ns);
	loop_timer_set(loop, &timers[5].timer, at_ns + 5 * step_ns); /* again: moved */
	run();
	expect(order);
	assert(!timers[2].timer.armed);
	loop_timer_cancel(loop, &timers[2].timer);
	end();
}

static unsigned int n_again;
static struct loop_timer again_timer;

/* Due at once, again and again: others have their turn all the same. */
static void again_run(struct loop_timer *timer, int64_t now_ns)
{
	n_again++;
	loop_timer_set(loop, timer, now_ns - 1000);
}

static void drain_ready(struct loop_watch *watch, uint32_t events UNUSED)
{
	eventfd_t value;

	assert(!eventfd_read(watch->fd, &value));
	if (++story_len == 5)
		loop_stop(loop);
	else
		eventfd_write(watch->fd, 1);
}

static void test_timer_again(void)
{
	struct loop_watch watch = { event_new(1), LOOP_LAST, drain_ready };

	begin();
	n_again = 0;
	again_timer = (struct loop_timer){ .expired = again_run };
	loop_timer_set(loop, &again_timer, 0);
	assert(!loop_watch_add(loop, &watch, EPOLLIN));
	run();
	assert(n_again >= 4 && n_again <= 6); /* once in a turn */
	close(watch.fd);
	end();
}

/* ---- watches and what callbacks do to them ----------------------------------------------- */

static struct loop_watch watches[3];

/* The first of the two that is ready deletes the other, and a third one of the turn's second half;
 * neither is called any more. */
static void deleting_ready(struct loop_watch *watch, uint32_t events UNUSED)
{
	eventfd_t value;

	tell('d');
	assert(!eventfd_read(watch->fd, &value));
	loop_watch_del(loop, &watches[watch == &watches[0] ? 1 : 0]);
	loop_watch_del(loop, &watches[2]);
	close(watches[2].fd);
	watches[2].fd = -1;
	loop_post(loop, &stop);
}

static void test_delete_in_turn(void)
{
	begin();
	for (size_t i = 0; i < ARRAY_SIZE(watches); i++) {
		watches[i] = (struct loop_watch){ event_new(1), i == 2 ? LOOP_LAST : LOOP_FIRST,
						  deleting_ready };
		assert(!loop_watch_add(loop, &watches[i], EPOLLIN));
	}
	run();
	expect("d");
	close(watches[0].fd);
	close(watches[1].fd);
	end();
}

/* It deletes itself, and a new watch takes its descriptor and its place in memory. */
static void replacing_ready(struct loop_watch *watch, uint32_t events UNUSED)
{
	loop_watch_del(loop, watch);
	tell('r');
	if (story_len == 3) {
		loop_stop(loop);
		return;
	}
	assert(!loop_watch_add(loop, watch, EPOLLIN));
}

static void test_replace(void)
{
	begin();
	watches[0] = (struct loop_watch){ event_new(1), LOOP_FIRST, replacing_ready };
	assert(!loop_watch_add(loop, &watches[0], EPOLLIN));
	run();
	expect("rrr"); /* once in a turn */
	close(watches[0].fd);
	end();
}

static void modify_ready(struct loop_watch *watch, uint32_t events)
{
	tell(events & EPOLLOUT ? 'o' : 'i');
	if (events & EPOLLOUT)
		loop_stop(loop);
	else
		assert(!loop_watch_mod(loop, watch, EPOLLOUT));
}

static void test_modify(void)
{
	begin();
	watches[0] = (struct loop_watch){ event_new(1), LOOP_FIRST, modify_ready };
	assert(!loop_watch_add(loop, &watches[0], EPOLLIN));
	run();
	expect("io");
	close(watches[0].fd);
	end();
}

/* ---- the end of a turn ------------------------------------------------------------------- */

static struct loop_turn_end ends[2];
static struct loop_task ends_task;

static void chained_end(struct loop_turn_end *end_)
{
	tell(end_ == &ends[0] ? 'a' : 'b');
	assert(!end_->queued);
	if (end_ == &ends[0])
		loop_at_turn_end(loop, &ends[1]); /* the same turn */
	else
		loop_stop(loop);
}

static void ends_run(struct loop_task *task UNUSED)
{
	for (int i = 0; i < 3; i++)
		loop_at_turn_end(loop, &ends[0]);
	tell('t');
}

static void test_turn_end(void)
{
	begin();
	ends[0] = ends[1] = (struct loop_turn_end){ .run = chained_end };
	ends_task = (struct loop_task){ .run = ends_run };
	loop_post(loop, &ends_task);
	run();
	expect("tab");
	end();
}

/* ---- tasks ------------------------------------------------------------------------------- */

enum { N_THREADS = 6, N_TASKS = 3000 };
static struct numbered_task {
	struct loop_task task;
	unsigned int thread, number;
} tasks[N_THREADS][N_TASKS];
static unsigned int n_run[N_THREADS]; /* the loop thread's */
static _Atomic(unsigned int) n_left;

static void numbered_run(struct loop_task *task)
{
	struct numbered_task *numbered = container_of(task, struct numbered_task, task);

	assert(loop_current() == loop);
	assert(numbered->number == n_run[numbered->thread]); /* in the order they were posted */
	n_run[numbered->thread]++;
	if (atomic_fetch_sub(&n_left, 1) == 1)
		loop_stop(loop);
}

static void *post_all(void *arg)
{
	unsigned int thread = (unsigned int)(uintptr_t)arg;

	for (unsigned int i = 0; i < N_TASKS; i++) {
		tasks[thread][i] = (struct numbered_task){ { .run = numbered_run }, thread, i };
		loop_post(loop, &tasks[thread][i].task);
		if (i % 97 == thread)
			usleep(50); /* so that the loop sleeps now and then */
	}
	return NULL;
}

/* None is lost, whether the loop sleeps or not. */
static void test_post(void)
{
	pthread_t threads[N_THREADS];

	begin();
	memset(n_run, 0, sizeof(n_run));
	atomic_store(&n_left, N_THREADS * N_TASKS);
	assert(!loop_start(loop));
	for (uintptr_t i = 0; i < N_THREADS; i++)
		assert(!pthread_create(&threads[i], NULL, post_all, (void *)i));
	for (int i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	loop_join(loop);
	for (int i = 0; i < N_THREADS; i++)
		assert(n_run[i] == N_TASKS);
	end();
}

/* Two loops play ball: every message finds the other one asleep, or about to be. */
enum { N_PASSES = 20000 };
static struct loop *players[2];
static unsigned int n_passes;
static struct loop_task ball;

static void ball_run(struct loop_task *task)
{
	struct loop *other = players[loop_current() == players[0]];

	if (++n_passes == N_PASSES) {
		loop_stop(players[0]);
		loop_stop(players[1]);
		return;
	}
	loop_post(other, task);
}

static void test_ball(void)
{
	n_passes = 0;
	ball = (struct loop_task){ .run = ball_run };
	for (unsigned int i = 0; i < 2; i++) {
		assert(!loop_new(i, &players[i]));
		assert(!loop_start(players[i]));
	}
	loop_post(players[0], &ball);
	loop_join(players[0]);
	loop_join(players[1]);
	assert(n_passes == N_PASSES);
	loop_free(players[0]);
	loop_free(players[1]);
}

/* A task that posts itself lets everything else have its turn. */
static void self_run(struct loop_task *task)
{
	tell('s');
	if (story_len < 4)
		loop_post(loop, task);
	else
		loop_stop(loop);
}

static void test_post_self(void)
{
	struct loop_task task = { .run = self_run };

	begin();
	loop_post(loop, &task);
	run();
	expect("ssss");
	end();
}

/* What was posted too late is run by loop_join(), on its caller's thread; also what that posts. */
static void late_run(struct loop_task *task UNUSED)
{
	assert(!loop_current());
	tell('l');
	if (story_len == 1)
		loop_post(loop, &ends_task);
}

static void test_after_stop(void)
{
	struct loop_task late = { .run = late_run };

	begin();
	loop_post(loop, &stop);
	assert(!loop_start(loop));
	loop_join(loop);
	ends_task = (struct loop_task){ .run = late_run };
	loop_post(loop, &late);
	expect("");
	loop_join(loop);
	expect("ll");
	loop_join(loop); /* again: nothing */
	expect("ll");
	end();

	/* Never started. */
	begin();
	loop_post(loop, &late);
	loop_join(loop);
	expect("ll");
	end();
	loop_free(NULL);
}

/* ---- the thread -------------------------------------------------------------------------- */

static void check_thread(struct loop_task *task UNUSED)
{
	char name[16];
	sigset_t blocked;

	assert(!pthread_sigmask(SIG_BLOCK, NULL, &blocked));
	assert(sigismember(&blocked, SIGINT) && sigismember(&blocked, SIGTERM));
	assert(!pthread_getname_np(pthread_self(), name, sizeof(name)));
	assert(loop_current() == loop);
	loop_stop(loop);
}

static void test_thread(void)
{
	struct loop_task task = { .run = check_thread };
	sigset_t blocked;

	begin();
	loop_post(loop, &task);
	run();
	assert(!pthread_sigmask(SIG_BLOCK, NULL, &blocked) && !sigismember(&blocked, SIGINT));
	end();
}

/* ---- busy-polling ------------------------------------------------------------------------ */

static _Atomic(int) spinner_tid;

static void spinner_run(struct loop_task *task UNUSED)
{
	atomic_store(&spinner_tid, gettid());
}

static char thread_state(void)
{
	char path[64], line[256] = "";
	FILE *stat;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", atomic_load(&spinner_tid));
	stat = fopen(path, "re");
	assert(stat && fgets(line, sizeof(line), stat));
	fclose(stat);
	return strrchr(line, ')')[2];
}

static void wait_for_state(char state)
{
	for (int i = 0; i < 10000 && thread_state() != state; i++)
		usleep(1000);
	assert(thread_state() == state);
}

/* It runs as long as it spins, whatever comes, and sleeps again when it must not. */
static void test_spin(void)
{
	struct loop_task task = { .run = spinner_run };

	begin();
	assert(!loop_start(loop));
	loop_post(loop, &task);
	while (!atomic_load(&spinner_tid))
		usleep(1000);
	wait_for_state('S');
	loop_spin(loop, 3600 * NS_PER_S);
	atomic_store(&spinner_tid, 0);
	loop_post(loop, &task);
	while (!atomic_load(&spinner_tid))
		usleep(1000);
	for (int i = 0; i < 20; i++) {
		usleep(1000);
		assert(thread_state() == 'R');
	}
	atomic_store(&spinner_tid, 0);
	loop_post(loop, &task); /* seen without a wake-up */
	while (!atomic_load(&spinner_tid))
		usleep(1000);
	loop_spin(loop, 0);
	wait_for_state('S');
	loop_stop(loop);
	loop_join(loop);
	end();
}

int main(void)
{
	test_turn();
	test_timer_order(NS_PER_MS, "acbdz");
	test_timer_order(1000, "acbdz"); /* several in one turn */
	test_timer_order(0, "zbacd");    /* all at once: in the order they were set */
	test_timer_again();
	test_delete_in_turn();
	test_replace();
	test_modify();
	test_turn_end();
	test_post();
	test_ball();
	test_post_self();
	test_after_stop();
	test_thread();
	test_spin();
	puts("loop: ok");
	return 0;
}
