/*
 * COLD. Start and stop of everything, in order; see daemon.h. The running part is daemon_run.c.
 */
#include "control/daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "control/admin.h"
#include "control/cli.h"
#include "control/dlq.h"
#include "control/door.h"
#include "control/eal.h"
#include "control/inject.h"
#include "control/options.h"
#include "control/values.h"
#include "control/version.h"
#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"

#define PORT_WAIT_US 3000000
#define PORT_POLL_US 10000
#define ERROR_BYTES  1024

static int fail_with(const char *what, const char *error, int rc)
{
    ASSERT(rc < 0);
    log_error("start", "%s%s%s", what, what[0] != '\0' ? ": " : "",
              error[0] != '\0' ? error : strerror(-rc));
    return rc;
}

static void warn_space(const struct daemon *d)
{
    uint64_t room = place_free_bytes(d->config->data_dir);
    uint64_t want = d->config->journal_limit + 2 * d->config->delivery_log_file;

    ASSERT(want > 0);
    if (room < want)
        log_warn("start",
                 "data_dir %s has %.1f MiB free, journal.limit and delivery_log.file ask for %.1f "
                 "MiB: clients will "
                 "hear 503 before the limit",
                 d->config->data_dir, (double)room / (1 << 20), (double)want / (1 << 20));
}

/* Opens journal directory `number`, creating it when it is missing. */
static int open_journal(struct daemon *d, uint32_t number, const struct journal_config *config)
{
    char dir[PLACE_PATH_BYTES], error[ERROR_BYTES] = "";
    int rc;

    ASSERT(d->n_journals < JOURNALS_MAX);
    place_journal(d->config->data_dir, number, dir);
    rc = journal_open(dir, d->place.machine_id, config, &storage_posix, &d->journal[d->n_journals],
                      error, sizeof(error));
    if (rc != 0)
        return fail_with("journal", error, rc);
    d->journal_number[d->n_journals++] = number;
    return 0;
}

/* Journals of workers come first, then those that earlier, larger configurations left. */
static int open_journals(struct daemon *d)
{
    uint32_t there[JOURNALS_MAX + 1];
    struct journal_config config;
    int n = place_journals(d->config->data_dir, there, ARRAY_LEN(there)), rc = 0;

    if (n < 0)
        return fail_with("journal", "cannot list data_dir/journal", n);
    config_fill_journal(d->config, &config);
    config.adopt = d->adopt;
    for (uint32_t i = 0; rc == 0 && i < d->n_workers; i++) {
        rc = open_journal(d, i, &config);
        d->worker_journal[i] = (int)i;
    }
    ASSERT(config.adopt == d->adopt);
    config.spares = 0; /* nobody writes to the others */
    for (int i = 0; rc == 0 && i < n; i++) {
        if (there[i] < d->n_workers)
            continue;
        if (d->n_journals == JOURNALS_MAX)
            return fail_with("journal",
                             "more than 64 journal directories: start with more workers, once",
                             -E2BIG);
        rc = open_journal(d, there[i], &config);
        if (rc == 0)
            log_info("start", "journal %02" PRIu32 " is left over from more workers: it is drained",
                     there[i]);
    }
    ASSERT(rc != 0 || d->n_journals >= d->n_workers);
    return rc;
}

static int open_dlog(struct daemon *d)
{
    struct dlog_config config;
    char error[ERROR_BYTES] = "";
    int rc;

    ASSERT(d->dlog == NULL);
    config_fill_dlog(d->config, d->place.delivery_dir, &config);
    config.adopt = d->adopt;
    rc = dlog_open(&config, &storage_posix, &d->dlog, error, sizeof(error));
    return rc != 0 ? fail_with("delivery log", error, rc) : 0;
}

static int open_spool(struct daemon *d)
{
    struct spool_config config = {.dir = d->place.spool_dir,
                                  .log_id = dlog_id(d->dlog),
                                  .ports_max = (uint32_t)d->config->sinks_threads};
    char error[ERROR_BYTES] = "";
    int rc;

    ASSERT(d->spool == NULL);
    rc = spool_open(&config, &storage_posix, dlog_state(d->dlog), &d->spool, error, sizeof(error));
    return rc != 0 ? fail_with("spool", error, rc) : 0;
}

static int create_sinks(struct daemon *d)
{
    char error[ERROR_BYTES] = "";

    gcs_ramp_init(&d->ramp, d->config->gcs_objects_per_second, clock_monotonic_us());
    for (uint32_t i = 0; i < d->config->sinks_threads; i++) {
        struct daemon_sink *s = &d->sink[i];
        int rc;

        config_fill_sink(d->config, i, s->labels, &s->config);
        s->config.live = live_join(tuning_live(d->tuning));
        s->config.columns_dir = d->place.columns_dir;
        s->config.dedupe_dir = d->place.dedupe_dir;
        s->config.storage = &storage_posix;
        s->config.gcs.ramp = &d->ramp;
        s->config.owner = d->owner;
        s->config.spool = d->spool;
        pthread_mutex_init(&s->calling, NULL);
        rc = sink_create(&s->config, &d->config->types, d->journal, d->n_journals, d->dlog,
                         &s->sink, error, sizeof(error));
        if (rc != 0)
            return fail_with("sink thread", error, rc);
        d->n_sinks++;
    }
    ASSERT(d->n_sinks > 0);
    return 0;
}

static int create_lanes(struct daemon *d)
{
    for (uint32_t w = 0; w < d->n_workers; w++) {
        for (uint32_t s = 0; s < d->n_sinks; s++) {
            int rc = lane_create((uint32_t)d->config->block_lane_max, sink_wake_fd(d->sink[s].sink),
                                 &d->lane[w][s]);

            if (rc != 0)
                return fail_with("lane", "", rc);
            ASSERT(d->worker_journal[w] >= 0);
            sink_set_lane(d->sink[s].sink, (uint32_t)d->worker_journal[w], d->lane[w][s]);
        }
    }
    return 0;
}

/* SO_REUSEADDR lets TCP pass over connections of the past; UDP would share the port. */
static int port_is_free(int type, const struct sockaddr_storage *a)
{
    int fd = socket(a->ss_family, type | SOCK_CLOEXEC, 0), on = type == SOCK_STREAM, rc = 0;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, (const struct sockaddr *)a, value_address_len(a)) != 0)
        rc = -errno;
    if (fd >= 0)
        close(fd);
    ASSERT(rc <= 0);
    return rc;
}

/*
 * Workers share their ports by SO_REUSEPORT, so a second daemon would silently take half of the
 * connections: a bind without it shows whether somebody else listens. The kernel closes the sockets
 * of a killed io_uring process only some time after its end, so a moment's patience is due.
 */
static int probe_port(const char *key, const char *text, int type,
                      const struct sockaddr_storage *address)
{
    int64_t end = clock_monotonic_us() + PORT_WAIT_US;
    char error[ERROR_BYTES];
    int rc;

    ASSERT(key != NULL);
    if (address->ss_family == AF_UNSPEC) /* off */
        return 0;
    while ((rc = port_is_free(type, address)) == -EADDRINUSE && clock_monotonic_us() < end)
        usleep(PORT_POLL_US);
    if (rc == 0)
        return 0;
    snprintf(error, sizeof(error), "%s: cannot listen on %s: %s%s%s", key, text, strerror(-rc),
             rc == -EADDRINUSE ? "; stop what uses this port, or set " : "",
             rc == -EADDRINUSE ? key : "");
    return fail_with("", error, rc);
}

static int probe_ports(const struct config *c)
{
    int rc = probe_port("http.listen", c->http_listen, SOCK_STREAM, &c->http_address);

    ASSERT(c->admin_address.ss_family != AF_UNSPEC);
    if (rc == 0)
        rc = probe_port("https.listen", c->https_listen, SOCK_STREAM, &c->https_address);
    if (rc == 0)
        rc = probe_port("tcp.listen", c->tcp_listen, SOCK_STREAM, &c->tcp_address);
    if (rc == 0)
        rc =
            probe_port("tcp.acked_listen", c->tcp_acked_listen, SOCK_STREAM, &c->tcp_acked_address);
    if (rc == 0)
        rc = probe_port("udp.listen", c->udp_listen, SOCK_DGRAM, &c->udp_address);
    return rc;
}

static int probe_cores(const struct config *c)
{
    char error[ERROR_BYTES] = "";

    ASSERT(c->workers > 0);
    for (uint32_t i = 0; i < c->workers; i++) {
        int rc = c->core[i] >= 0 ? place_check_core(c->core[i], error, sizeof(error)) : 0;

        if (rc != 0)
            return fail_with("", error, rc);
    }
    return 0;
}

/* Workers' queues of DPDK's ports; nothing without ports. */
static int create_nics(struct daemon *d)
{
    char error[ERROR_BYTES] = "";
    int rc;

    if (d->config->dpdk_ports.n == 0)
        return 0;
    for (uint32_t i = 0; i < d->n_workers; i++)
        d->worker_core[i] = d->worker_config[i].core;
    config_fill_nics(d->config, d->worker_core, &d->nics_config);
    d->nics_config.huge_pages = eal_huge();
    rc = nics_create(&d->nics_config, &d->nics, error, sizeof(error));
    if (rc != 0)
        return fail_with("", error, rc);
    for (uint32_t i = 0; i < d->n_workers; i++)
        d->worker_config[i].nics = nics_share(d->nics, i);
    ASSERT(nics_count(d->nics) > 0);
    return 0;
}

static int start_nics(struct daemon *d)
{
    char error[ERROR_BYTES] = "";
    int rc;

    if (d->nics == NULL)
        return 0;
    rc = nics_start(d->nics, error, sizeof(error));
    if (rc != 0)
        return fail_with("", error, rc);
    ASSERT(d->workers_running == 0);
    nics_report(d->nics);
    return 0;
}

static int create_workers(struct daemon *d)
{
    char error[ERROR_BYTES] = "";

    for (uint32_t i = 0; i < d->n_workers; i++) {
        int rc;

        d->worker_config[i].populate = d->memory_fits;
        rc =
            worker_create(&d->worker_config[i], &d->config->types, d->journal[d->worker_journal[i]],
                          d->lane[i], d->n_sinks, &d->worker[i], error, sizeof(error));

        if (rc != 0)
            return fail_with("worker", error, rc);
        ASSERT(d->worker[i] != NULL);
    }
    return 0;
}

/*
 * Makes the first spare files before clients are let in: "ready" means that events are taken. With
 * a full disk a new daemon is of no use; one with a backlog starts, delivers it, and answers 429
 * until there is room.
 */
static int prepare_journals(struct daemon *d)
{
    for (uint32_t i = 0; i < d->n_workers; i++) {
        struct journal *j = d->journal[d->worker_journal[i]];
        uint64_t made = 0;

        while (made <= d->config->journal_spares &&
               journal_keep(j, dlog_free_lsn(d->dlog, journal_uuid(j))) > 0)
            made++;
        ASSERT(made <= d->config->journal_spares + 1);
        if (!journal_disk_error(j))
            continue;
        log_error("start",
                  "journal: cannot write %" PRIu64
                  " bytes in %s: the disk is full or fails; free some space, or "
                  "set data_dir or journal.segment",
                  d->config->journal_segment, journal_dir(j));
        if (journal_events_total(j) == 0)
            return -ENOSPC;
    }
    return 0;
}

/* All at once: each takes the pages of its memory first. */
static int start_workers(struct daemon *d)
{
    int rc = 0;

    for (uint32_t i = 0; rc == 0 && i < d->n_workers; i++) {
        rc = worker_launch(d->worker[i]);
        d->workers_running += rc == 0;
    }
    for (uint32_t i = 0; rc == 0 && i < d->n_workers; i++)
        rc = worker_await(d->worker[i]);
    ASSERT(rc != 0 || d->workers_running == d->n_workers);
    if (rc == -ENOMEM)
        return fail_with(
            "worker", "out of memory: set block.count, input.receive_buffers or workers lower", rc);
    return rc != 0 ? fail_with("worker", "", rc) : 0;
}

/* The threads, each after what it needs. */
static int start_threads(struct daemon *d)
{
    int rc = memory_start(d);

    if (rc != 0)
        return fail_with("memory", "", rc);
    rc = dlog_start(d->dlog);
    if (rc != 0)
        return fail_with("delivery log", "", rc);
    d->dlog_running = true;
    rc = prepare_journals(d);
    if (rc != 0)
        return rc;
    rc = keeper_start(d);
    if (rc != 0)
        return fail_with("keeper", "", rc);
    spool_clean(d->spool);
    rc = spool_start(d->spool);
    if (rc != 0)
        return fail_with("spool", "", rc);
    for (uint32_t i = 0; i < d->n_sinks; i++) {
        rc = sink_start(d->sink[i].sink);
        if (rc != 0)
            return fail_with("sink thread", "", rc);
        d->sinks_running++;
    }
    rc = ownership_wait(d);
    if (rc == 0)
        rc = start_nics(d);
    if (rc != 0)
        return rc;
    ASSERT(d->sinks_running == d->n_sinks);
    return start_workers(d);
}

static int start_servers(struct daemon *d)
{
    char error[ERROR_BYTES] = "";
    int rc = dlq_open(d->config->data_dir, &d->dlq);

    if (rc != 0)
        return fail_with("dead letters", "", rc);
    dlq_start(d->dlq, d);
    rc = admin_start(d, &d->admin, error, sizeof(error));
    if (rc != 0)
        return fail_with("", error, rc);
    rc = cli_start(d, &d->cli, error, sizeof(error));
    ASSERT(rc != 0 || d->cli != NULL);
    return rc != 0 ? fail_with("", error, rc) : 0;
}

static int start_all(struct daemon *d)
{
    char error[ERROR_BYTES] = "";
    int rc = place_open(d->config->data_dir, &d->place, error, sizeof(error));

    if (rc != 0)
        return fail_with("", error, rc);
    rc = probe_ports(d->config);
    if (rc == 0)
        rc = probe_cores(d->config);
    if (rc == 0)
        rc = ownership_check(d);
    if (rc != 0)
        return rc;
    place_raise_limits();
    rc = eal_start(d->config, error, sizeof(error));
    if (rc != 0)
        return fail_with("eal", error, rc);
    d->n_workers = (uint32_t)d->config->workers;
    rc = tuning_create(d->config, &d->tuning, error, sizeof(error));
    if (rc != 0)
        return fail_with("", error, rc);
    rc = door_create(d->config, d->tuning, &d->door, error, sizeof(error));
    if (rc != 0)
        return fail_with("", error, rc);
    for (uint32_t i = 0; i < d->n_workers; i++) {
        config_fill_worker(d->config, i, &d->worker_config[i]);
        d->worker_config[i].keys = door_keys(d->door);
        d->worker_config[i].live = live_join(tuning_live(d->tuning));
    }
    ASSERT(d->n_workers > 0);
    if ((rc = open_journals(d)) != 0 || (rc = open_dlog(d)) != 0 || (rc = open_spool(d)) != 0 ||
        (rc = ownership_create(d)) != 0 || (rc = create_sinks(d)) != 0 ||
        (rc = create_lanes(d)) != 0 || (rc = create_nics(d)) != 0)
        return rc;
    d->memory_fits = memory_fits(d, memory_plan(d));
    if ((rc = create_workers(d)) != 0 || (rc = inject_start(d)) != 0)
        return rc;
    warn_space(d);
    rc = start_threads(d);
    return rc != 0 ? rc : start_servers(d);
}

/* @return false when a command's thread goes on: then nothing may be freed. */
static bool stop_threads(struct daemon *d)
{
    bool ended = cli_stop(d->cli);

    ASSERT(d != NULL);
    d->cli = NULL;
    admin_stop(d->admin);
    d->admin = NULL;
    memory_stop(d);
    for (uint32_t i = 0; i < d->workers_running; i++)
        worker_stop(d->worker[i]);
    ownership_release(d);
    for (uint32_t i = 0; i < d->sinks_running; i++)
        sink_stop(d->sink[i].sink);
    spool_stop(d->spool);
    keeper_stop(d);
    if (d->dlog_running)
        dlog_stop(d->dlog);
    return ended;
}

static void destroy_all(struct daemon *d)
{
    bool eal = d->n_workers > 0;

    ASSERT(d->cli == NULL && d->admin == NULL);
    dlq_close(d->dlq);
    inject_stop(d->inject);
    ownership_destroy(d);
    for (uint32_t i = 0; i < d->n_sinks; i++)
        sink_destroy(d->sink[i].sink);
    for (uint32_t w = 0; w < d->n_workers; w++)
        worker_destroy(d->worker[w]);
    nics_destroy(d->nics);
    for (uint32_t w = 0; w < d->n_workers; w++) {
        for (uint32_t s = 0; s < d->n_sinks; s++)
            lane_destroy(d->lane[w][s]);
    }
    spool_close(d->spool);
    dlog_close(d->dlog);
    for (uint32_t i = 0; i < d->n_journals; i++)
        journal_close(d->journal[i]);
    door_destroy(d->door);
    tuning_destroy(d->tuning);
    if (eal)
        eal_stop();
    place_close(&d->place);
    free(d);
}

static void log_input(const char *name, const char *address)
{
    ASSERT(address != NULL);
    if (address[0] != '\0')
        log_info("start", "events also by %s on %s", name, address);
}

static void log_ready(const struct daemon *d)
{
    const struct config *c = d->config;

    ASSERT(c != NULL);
    log_input("HTTPS", c->https_listen);
    log_input("TCP", c->tcp_listen);
    log_input("acknowledged TCP", c->tcp_acked_listen);
    log_input("UDP", c->udp_listen);
    log_info("start",
             "penstockd %s ready: node %s, events %s, admin %s, socket %s, data %s, %" PRIu32
             " workers, %" PRIu32 " sink threads, JSON on %s",
             penstock_version(), c->node,
             c->http_listen[0] != '\0' ? c->http_listen : "not by HTTP", c->admin_listen,
             c->control_socket, c->data_dir, d->n_workers, d->n_sinks,
             json_isa_name(d->worker_config[0].json_isa));
    if (c->durability == DURABILITY_MEMORY)
        log_warn("start", "durability: memory: a crash loses acknowledged events");
}

int daemon_start(const struct config *config, bool adopt, struct daemon **out)
{
    struct daemon *d = aligned_alloc(CACHE_LINE_BYTES, align_up(sizeof(*d), CACHE_LINE_BYTES));
    int rc;

    ASSERT(config != NULL);
    *out = NULL;
    if (d == NULL)
        return -ENOMEM;
    memset(d, 0, sizeof(*d));
    d->config = config;
    d->adopt = adopt;
    d->place.lock_fd = -1;
    d->started_us = clock_wall_us();
    pthread_mutex_init(&d->sampling, NULL);
    rc = start_all(d);
    if (rc != 0) {
        atomic_store(&d->state, DAEMON_STOPPING);
        if (!stop_threads(d))
            _exit(EXIT_RUNTIME);
        destroy_all(d);
        return rc;
    }
    atomic_store(&d->state, DAEMON_READY);
    log_ready(d);
    *out = d;
    return 0;
}

bool daemon_stop(struct daemon *d)
{
    bool ended;

    ASSERT(atomic_load(&d->state) == DAEMON_STOPPING);
    ended = stop_threads(d);
    if (ended)
        destroy_all(d);
    log_info("stop", "stopped%s", ended ? "" : " in the middle of a command");
    return ended;
}
