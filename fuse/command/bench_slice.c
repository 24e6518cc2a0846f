/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bench_slice - calls that follow each other on every slot until the time is up. A slot belongs to its call, from submit
 * to done; the flags are atomic. */
#include <errno.h>
#include <ifaddrs.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "../../conn/mutex.h"
#include "../../conn/util.h"
#include "../addrlist.h"
#include "bench.h"

enum { MAX_SLOTS = 1024, LOOK_MS = 5 };
static const int64_t CALL_NS = 5 * NS_PER_S;  /* a server that does not answer for so long ends it */
static const int64_t OPEN_NS = 10 * NS_PER_S; /* for all connections to be up */

struct run;

struct slot {
	struct run *run;
	struct call call;
	uint32_t head[CALL_HEAD_SMALL / 4];
	uint8_t *buffer;
	uint32_t asked;
	struct histogram latency;
};

struct run {
	const struct bench_file *file;
	struct session session;
	struct slot *slots;
	unsigned int n_slots;
	_Atomic(uint64_t) next;        /* transfer */
	_Atomic(bool) counting, ending;
	_Atomic(uint64_t) n_done;      /* transfers */
	struct mutex lock;             /* guards what follows: WRITEs that were done while it counts */
	int64_t first_ns, last_ns;
	uint64_t bytes;                /* without those of the first */
	_Atomic(int) error;            /* the first */
};

/* ---- calls ------------------------------------------------------------------------------- */

static int place(struct call *call, const uint8_t *results, uint32_t have, struct placement *ret_where)
{
	struct slot *slot = container_of(call, struct slot, call);
	uint32_t head_len, count;
	int placed = nfs3_read_place(results, have, slot->asked, &head_len, &count);

	if (placed == 1)
		*ret_where = (struct placement){ head_len, slot->buffer, count };
	return placed;
}

/* Where the next transfer is; the last of a file may be short. */
static uint64_t next_offset(struct run *run, uint32_t *ret_len)
{
	uint32_t transfer = run->file->transfer;
	uint64_t n = (run->file->size + transfer - 1) / transfer;
	uint64_t offset = atomic_fetch_add(&run->next, 1) % n * transfer;

	*ret_len = (uint32_t)min_size(run->file->size - offset, transfer);
	return offset;
}

static void done(struct call *call);

static int submit(struct slot *slot)
{
	struct run *run = slot->run;
	struct call *call = &slot->call;
	uint64_t offset = next_offset(run, &slot->asked);
	int error;

	call_init(call);
	call->head = (uint8_t *)slot->head;
	call->head_size = sizeof(slot->head);
	if (run->file->write) {
		error = nfs3_write_encode(call, &run->session.cred, &run->file->fh, offset, slot->buffer, slot->asked,
					  NFS3_UNSTABLE);
	} else {
		error = nfs3_read_encode(call, &run->session.cred, &run->file->fh, offset, slot->asked);
		call->place = place;
	}
	if (error)
		return error;
	call->done = done;
	call->deadline_ns = clock_ns() + CALL_NS;
	pool_submit(run->session.pool, call);
	return 0;
}

/* The bytes that were transferred, or -errno. */
static int64_t result_of(const struct slot *slot)
{
	struct nfs3_write written;
	struct nfs3_read read;
	int error = slot->call.status;

	if (error)
		return error;
	if (slot->run->file->write) {
		error = nfs3_write_decode(&slot->call, slot->asked, &written);
		return error ? error : (int64_t)written.count;
	}
	error = nfs3_read_decode(&slot->call, slot->asked, &read);
	if (!error && !read.count)
		error = -ENODATA; /* it was truncated */
	return error ? error : (int64_t)read.count;
}

static void fail(struct run *run, int error)
{
	int none = 0;

	atomic_compare_exchange_strong(&run->error, &none, error);
}

static void note(struct slot *slot, uint64_t bytes)
{
	struct run *run = slot->run;
	int64_t now_ns = clock_ns();

	atomic_fetch_add(&run->n_done, 1);
	if (!atomic_load(&run->counting))
		return;
	histogram_add(&slot->latency, now_ns - slot->call.sent_ns);
	mutex_lock(&run->lock);
	if (run->first_ns)
		run->bytes += bytes;
	else
		run->first_ns = now_ns;
	run->last_ns = now_ns;
	mutex_unlock(&run->lock);
}

/* On a loop's thread. */
static void done(struct call *call)
{
	struct slot *slot = container_of(call, struct slot, call);
	struct run *run = slot->run;
	int64_t result = result_of(slot);

	if (atomic_load(&run->ending) || atomic_load(&run->error))
		return;
	if (result >= 0) {
		note(slot, (uint64_t)result);
		result = submit(slot);
	}
	if (result < 0)
		fail(run, (int)result);
}

/* ---- slots ------------------------------------------------------------------------------- */

static int make_slots(struct run *run)
{
	size_t transfer = run->file->transfer;
	size_t n = max_size(BENCH_IN_FLIGHT / transfer, 1);

	run->n_slots = (unsigned int)min_size(n, MAX_SLOTS);
	run->slots = calloc(run->n_slots, sizeof(*run->slots));
	for (unsigned int i = 0; run->slots && i < run->n_slots; i++) {
		run->slots[i].run = run;
		run->slots[i].buffer = malloc(transfer);
		if (!run->slots[i].buffer)
			return -ENOMEM;
		memset(run->slots[i].buffer, (int)i + 1, transfer);
	}
	return run->slots ? 0 : -ENOMEM;
}

static void free_slots(struct run *run)
{
	for (unsigned int i = 0; run->slots && i < run->n_slots; i++)
		free(run->slots[i].buffer);
	free(run->slots);
}

static void start_slots(struct run *run)
{
	for (unsigned int i = 0; i < run->n_slots; i++) {
		int error = submit(&run->slots[i]);

		if (error)
			fail(run, error);
	}
}

/* ---- what limits it ---------------------------------------------------------------------- */

static int64_t cpu_ns(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return ((int64_t)usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * NS_PER_S +
	       ((int64_t)usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

static uint64_t nic_number(const char *nic, const char *name)
{
	char path[128];
	FILE *stream;
	long long value = 0;

	snprintf(path, sizeof(path), "/sys/class/net/%s/%s", nic, name);
	stream = fopen(path, "re");
	if (!stream)
		return 0;
	if (fscanf(stream, "%lld", &value) != 1 || value < 0)
		value = 0;
	fclose(stream);
	return (uint64_t)value;
}

static uint64_t nic_bytes(const struct run *run, const struct bench_step *step)
{
	return nic_number(step->nic, run->file->write ? "statistics/tx_bytes" : "statistics/rx_bytes");
}

/* The interface that has the address of a connection. */
static void find_nic(struct run *run, char nic[IF_NAMESIZE])
{
	struct ifaddrs *list = NULL;
	struct conn_info info;

	nic[0] = '\0';
	pool_conn_info(run->session.pool, 0, &info);
	if (getifaddrs(&list))
		return;
	for (const struct ifaddrs *entry = list; entry; entry = entry->ifa_next) {
		struct sockaddr_storage sa = { 0 };

		if (!entry->ifa_addr || entry->ifa_addr->sa_family != info.local.ss_family)
			continue;
		memcpy(&sa, entry->ifa_addr, entry->ifa_addr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) :
										     sizeof(struct sockaddr_in));
		if (addr_same_host(&sa, &info.local))
			snprintf(nic, IF_NAMESIZE, "%s", entry->ifa_name);
	}
	freeifaddrs(list);
}

/* ---- the slice --------------------------------------------------------------------------- */

/* READ: bytes on all connections, finer than whole transfers. */
static uint64_t bytes_received(struct run *run, unsigned int n_connections)
{
	struct conn_info info;
	uint64_t sum = 0;

	for (unsigned int i = 0; i < n_connections; i++) {
		pool_conn_info(run->session.pool, i, &info);
		sum += info.bytes_received;
	}
	return sum;
}

/* WRITE: what was sent may still be in a socket's buffer, so what was answered, from the first answer to the last. */
static void add_written(struct run *run, struct bench_step *step)
{
	mutex_lock(&run->lock);
	step->bytes += run->bytes;
	step->wall_ns += run->last_ns - run->first_ns;
	mutex_unlock(&run->lock);
}

/* Until then; false: it is to end now. */
static bool wait_until(struct run *run, int64_t until_ns, _Atomic(bool) *stop)
{
	while (clock_ns() < until_ns) {
		if (atomic_load(stop) || atomic_load(&run->error))
			return false;
		poll(NULL, 0, LOOK_MS);
	}
	return true;
}

static void count(struct run *run, struct bench_step *step, int64_t ns, _Atomic(bool) *stop)
{
	uint64_t began_nic = nic_bytes(run, step), began_bytes = bytes_received(run, step->nconnect);
	int64_t began_ns = clock_ns(), began_cpu_ns = cpu_ns();

	atomic_store(&run->counting, true);
	wait_until(run, began_ns + ns, stop);
	atomic_store(&run->counting, false);
	ns = clock_ns() - began_ns;
	step->used_ns += ns;
	step->cpu_ns += cpu_ns() - began_cpu_ns;
	if (step->nic_mbit)
		step->nic_share = (double)(nic_bytes(run, step) - began_nic) * 8e3 / ((double)step->nic_mbit * (double)ns);
	if (run->file->write) {
		add_written(run, step);
	} else {
		step->bytes += bytes_received(run, step->nconnect) - began_bytes;
		step->wall_ns += ns;
	}
}

/* Until its first answer, and then a while, to find its pace. */
static bool warm_up(struct run *run, int64_t ns, _Atomic(bool) *stop)
{
	while (!atomic_load(&run->n_done))
		if (!wait_until(run, clock_ns() + LOOK_MS * NS_PER_MS, stop))
			return false;
	return wait_until(run, clock_ns() + ns, stop);
}

static void run_slots(struct run *run, struct bench_step *step, int64_t ns, _Atomic(bool) *stop)
{
	find_nic(run, step->nic);
	step->nic_mbit = (unsigned int)nic_number(step->nic, "speed");
	start_slots(run);
	if (warm_up(run, ns / 3, stop))
		count(run, step, ns * 2 / 3, stop);
}

int bench_slice(const struct bench_file *file, struct bench_step *step, int64_t ns, _Atomic(bool) *stop)
{
	struct run run = { .file = file, .lock = MUTEX_INIT };
	int error = session_open(&run.session, file->options, &file->result, file->addrs, file->n_addrs, step->nconnect,
				 clock_ns() + OPEN_NS);

	if (!error)
		error = make_slots(&run);
	if (!error) {
		pool_set_transfer_max(run.session.pool, file->transfer);
		run_slots(&run, step, ns, stop);
		error = atomic_load(&run.error);
	}
	atomic_store(&run.ending, true);
	session_close(&run.session); /* calls that are still under way are done by that */
	for (unsigned int i = 0; run.slots && i < run.n_slots; i++)
		histogram_read(&run.slots[i].latency, &step->latency);
	free_slots(&run);
	return error ? error : atomic_load(stop) ? -EINTR : 0;
}
