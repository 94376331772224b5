/*
 * COLD. The sink thread itself: its loop, its commands, its life.
 */
#include "sinks/sink.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"
#include "sinks/owner/owner.h"
#include "sinks/shelf.h"

#define TICK_US    50000
#define LINE_BYTES (2u << 20) /* of one wrapped line to begin with */

/* ---- life ---- */

static int clients_create(struct sink *s, char *error, size_t error_len)
{
    int rc = auth_init(&s->auth, &s->config.auth, error, error_len);

    if (rc < 0)
        return rc;
    s->auth_ready = true;
    rc = http_client_create(s->loop, &s->config.http, &s->http);
    if (rc == 0)
        auth_bind(&s->auth, s->loop, s->http);
    if (rc == 0)
        rc = gcs_create(s->loop, s->http, &s->auth, &s->config.gcs, &s->gcs_stats, &s->gcs);
    if (rc == 0 && s->config.owner != NULL && s->config.index == 0)
        owner_attach(s->config.owner, s->gcs);
    if (rc == 0 && s->config.bigquery_enabled)
        rc = bq_create(s->loop, s->http, &s->auth, &s->config.bq, &s->bq_stats, &s->bq);
    if (rc < 0)
        snprintf(error, error_len, "cannot set up HTTP clients: %s", strerror(-rc));
    return rc;
}

static int memory_create(struct sink *s, uint32_t n_journals)
{
    s->wrap_bytes = LINE_BYTES;
    s->wrap_buf = malloc(s->wrap_bytes);
    s->feed = calloc(n_journals, sizeof(*s->feed));
    s->idle_lsn = calloc(n_journals, sizeof(*s->idle_lsn));
    s->reload_scan = calloc(n_journals, sizeof(*s->reload_scan));
    if (s->wrap_buf == NULL || s->feed == NULL || s->idle_lsn == NULL || s->reload_scan == NULL)
        return -ENOMEM;
    if (chunk_pool_create(&s->pool, s->config.group_memory_bytes) < 0)
        return -ENOMEM;
    if (group_table_create(&s->insert_groups, &s->pool, n_journals) < 0)
        return -ENOMEM;
    return group_table_create(&s->groups, &s->pool, n_journals);
}

static void lists_init(struct sink *s)
{
    struct delivery_list *list[] = {&s->planning,   &s->cold,    &s->reloading, &s->packing,
                                    &s->ready,      &s->putting, &s->inserting, &s->refusing,
                                    &s->confirming, &s->parked,  &s->held,      &s->spooling,
                                    &s->fetching};

    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        delivery_list_init(list[i]);
}

static int parts_create(struct sink *s, struct journal *const *journals, uint32_t n_journals,
                        char *error, size_t error_len)
{
    int rc = loop_create(&s->loop);

    if (rc < 0) {
        snprintf(error, error_len, "io_uring: %s", strerror(-rc));
        return rc;
    }
    rc = memory_create(s, n_journals);
    for (uint32_t i = 0; rc == 0 && i < n_journals; i++) {
        s->feed[i].journal = journals[i];
        rc = scan_init(&s->reload_scan[i], s->loop, journals[i], &s->stats.read_errors);
    }
    if (rc < 0) {
        snprintf(error, error_len, "group.memory: out of memory");
        return rc;
    }
    s->n_feeds = n_journals;
    rc = clients_create(s, error, error_len);
    if (rc < 0)
        return rc;
    s->port = dlog_port(s->dlog, loop_wake_fd(s->loop));
    if (s->config.spool != NULL)
        s->spool_port = spool_port(s->config.spool, loop_wake_fd(s->loop));
    s->now_us = clock_monotonic_us();
    rc = columns_load(s, error, error_len);
    if (rc == 0)
        rc = feeds_resume(s, error, error_len);
    if (rc == 0)
        rc = dedupes_create(s, error, error_len);
    return rc < 0 ? rc : sink_resume(s, error, error_len);
}

int sink_populate(struct sink *s, const _Atomic bool *stop)
{
    int rc = chunk_pool_populate(&s->pool, stop);

    ASSERT(stop != NULL);
    return rc < 0 ? rc : dedupes_populate(s, stop);
}

int sink_create(const struct sink_config *config, const struct type_set *types,
                struct journal *const *journals, uint32_t n_journals, struct dlog *dlog,
                struct sink **out, char *error, size_t error_len)
{
    struct sink *s = aligned_alloc(CACHE_LINE_BYTES, align_up(sizeof(*s), CACHE_LINE_BYTES));
    int rc;

    ASSERT(n_journals > 0 && n_journals <= JOURNALS_MAX);
    ASSERT(!config->discard || !config->bigquery_enabled);
    snprintf(error, error_len, "out of memory");
    if (s == NULL)
        return -ENOMEM;
    memset(s, 0, sizeof(*s));
    s->config = *config;
    s->types = types;
    s->dlog = dlog;
    s->may_send = config->owner == NULL;
    pthread_mutex_init(&s->call_lock, NULL);
    sem_init(&s->call_done, 0, 0);
    atomic_store(&s->start_result, 1);
    lists_init(s);
    rc = parts_create(s, journals, n_journals, error, error_len);
    if (rc < 0) {
        sink_destroy(s);
        return rc;
    }
    *out = s;
    return 0;
}

static void list_destroy(struct delivery_list *l)
{
    struct delivery *d;

    while ((d = delivery_first(l)) != NULL) {
        d->version = NULL; /* the plan will want it at the next start */
        delivery_finish(d, l);
    }
    ASSERT(l->n == 0);
}

static void maps_destroy(struct sink *s)
{
    for (uint32_t i = 0; i < ROUTE_BUCKETS; i++) {
        while (s->route[i] != NULL) {
            struct type_route *r = s->route[i];

            s->route[i] = r->next;
            free(r);
        }
    }
    for (uint32_t i = 0; i < PLANNED_BUCKETS; i++) {
        while (s->planned[i] != NULL) {
            struct planned_before *p = s->planned[i];

            s->planned[i] = p->next;
            free(p);
        }
    }
}

void sink_destroy(struct sink *s)
{
    struct delivery_list *list[] = {&s->planning,   &s->cold,    &s->reloading, &s->packing,
                                    &s->ready,      &s->putting, &s->inserting, &s->refusing,
                                    &s->confirming, &s->parked,  &s->held,      &s->spooling,
                                    &s->fetching};

    if (s == NULL)
        return;
    ASSERT(!s->thread_started);
    gcs_destroy(s->gcs);
    bq_destroy(s->bq);
    if (s->auth_ready) {
        auth_unbind(&s->auth);
        auth_fini(&s->auth);
    }
    http_client_destroy(s->http);
    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        list_destroy(list[i]);
    shelves_destroy(s);
    inserts_destroy(s);
    rewrite_free(s);
    tables_destroy(s);
    columns_destroy(s);
    staging_free(s);
    packer_destroy(s->packer);
    marks_free(s);
    group_table_destroy(&s->groups);
    group_table_destroy(&s->insert_groups);
    loop_destroy(s->loop); /* first: the kernel may still be reading into scans' buffers */
    for (uint32_t i = 0; i < s->n_feeds; i++) {
        feed_fini(&s->feed[i]);
        scan_fini(&s->reload_scan[i]);
    }
    dedupes_destroy(s);
    chunk_pool_destroy(&s->pool);
    maps_destroy(s);
    free(s->wrap_buf);
    free(s->row_buf);
    free(s->feed);
    free(s->idle_lsn);
    free(s->reload_scan);
    sem_destroy(&s->call_done);
    pthread_mutex_destroy(&s->call_lock);
    free(s);
}

int sink_wake_fd(const struct sink *s)
{
    return loop_wake_fd(s->loop);
}

void sink_set_lane(struct sink *s, uint32_t journal_index, struct lane *lane)
{
    ASSERT(!s->thread_started && journal_index < s->n_feeds);
    s->feed[journal_index].lane = lane;
}

const struct sink_stats *sink_stats(const struct sink *s)
{
    return &s->stats;
}

const struct gcs_stats *sink_gcs_stats(const struct sink *s)
{
    return &s->gcs_stats;
}

const struct bq_stats *sink_bq_stats(const struct sink *s)
{
    return &s->bq_stats;
}

/* ---- commands ---- */

static void call_finish(struct sink *s, int result)
{
    ASSERT(atomic_load(&s->command) != 0); /* somebody waits */
    s->call_result = result;
    atomic_store(&s->command, 0);
    sem_post(&s->call_done); /* partner: sink_call()'s sem_wait */
}

static void table_report(const struct table *t, struct sink_table_report *out)
{
    static const char *const state[] = {
        [TABLE_IDLE] = "idle",         [TABLE_RECORDING] = "waiting",
        [TABLE_ENSURING] = "creating", [TABLE_ATTEMPTING] = "waiting",
        [TABLE_LOADING] = "loading",   [TABLE_FAILING] = "waiting",
        [TABLE_FINISHING] = "loading", [TABLE_PARKED] = "parked",
        [TABLE_READING] = "splitting", [TABLE_CUTTING] = "splitting",
    };
    const struct parts_report parts = parts_report(t);
    const char *why = t->text, *what = state[t->state];

    ASSERT(t->state < ARRAY_LEN(state));
    if (parts.parked > 0) {
        what = "parked";
        why = parts.text;
    } else if (parts.n > 0 && t->state == TABLE_IDLE) {
        what = "splitting";
        why = parts.unpaid ? "the jobs of today for parts of refused loads are used up: "
                             "bigquery.split_jobs"
                           : "parts of refused loads wait for their turn";
    }
    if (t->state == TABLE_ENSURING && t->ensure.waiting != NULL)
        why = t->ensure.waiting;
    if (t->state == TABLE_LOADING && t->job.waiting != NULL)
        why = t->job.waiting;
    if (why[0] == '\0' && t->columns != NULL)
        why = t->columns->text;
    memset(out, 0, sizeof(*out));
    snprintf(out->table, sizeof(out->table), "%s", t->name);
    out->debt_events = t->debt_events + (t->loading.n > 0 ? t->load.rows : 0) + parts.events;
    out->debt_objects = t->debts.n + t->loading.n + parts.objects;
    out->loaded_rows = t->loaded_rows;
    out->refused_rows = t->refused_rows;
    out->jobs = t->jobs;
    out->method = "load";
    columns_report(t->columns, out);
    snprintf(out->state, sizeof(out->state), "%s", load_waits(t) ? "paused" : what);
    snprintf(out->text, sizeof(out->text), "%s", load_waits(t) ? "bigquery is paused" : why);
}

static void report(struct sink *s, struct sink_report *out)
{
    const struct delivery *d = s->putting.head.next;

    out->n_tables = 0;
    out->gcs_waiting[0] = 0;
    for (const struct table *t = s->tables; t != NULL && out->n_tables < out->tables_max;
         t = t->next) {
        if (t->jobs > 0 || t->debts.n > 0 || t->loading.n > 0 || t->parts != NULL)
            table_report(t, &out->table[out->n_tables++]);
    }
    inserts_report(s, out);
    shelves_report(s, out);
    while (d != &s->putting.head && d->put.waiting == NULL)
        d = d->next;
    if (!s->may_send)
        owner_text(s->config.owner, out->gcs_waiting);
    else if (s->gcs_paused)
        snprintf(out->gcs_waiting, sizeof(out->gcs_waiting), "gcs is paused");
    else if (held_too_many(s))
        snprintf(out->gcs_waiting, sizeof(out->gcs_waiting),
                 "%u objects of paused types wait: no more is taken from the journal", s->held.n);
    else if (d != &s->putting.head)
        snprintf(out->gcs_waiting, sizeof(out->gcs_waiting), "%s", d->put.waiting);
    else if ((d = delivery_first(&s->parked)) != NULL)
        snprintf(out->gcs_waiting, sizeof(out->gcs_waiting), "parked: %.490s", d->text);
}

/* Plans everything. False when something must be tried again later. */
static bool flush(struct sink *s)
{
    bool planned = plan_due(s, true);

    s->flush_id = dlog_next_id(s->dlog);
    for (struct table *t = s->tables; t != NULL; t = t->next)
        t->flush = t->debts.n > 0;
    return planned;
}

static bool list_has_before(const struct delivery_list *l, uint64_t id)
{
    for (const struct delivery *d = l->head.next; d != &l->head; d = d->next) {
        if (d->plan.id < id)
            return true;
    }
    return false;
}

/* Whether every plan made before id is delivered, or parked for somebody to look at, or held by a
 * pause: the asker knows of pauses. */
static bool delivered_before(const struct sink *s, uint64_t id)
{
    const struct delivery_list *list[] = {&s->planning,  &s->cold,     &s->reloading,
                                          &s->packing,   &s->ready,    &s->putting,
                                          &s->inserting, &s->refusing, &s->confirming};

    for (size_t i = 0; i < ARRAY_LEN(list); i++) {
        if (list_has_before(list[i], id))
            return false;
    }
    for (const struct table *t = s->tables; s->config.bigquery_enabled && t != NULL; t = t->next) {
        if (t->state != TABLE_PARKED && !load_waits(t) &&
            ((debt_has_before(&t->debts, id) && !table_distrusted(t)) ||
             debt_has_before(&t->loading, id) || parts_have_before(t, id)))
            return false;
    }
    return !inserts_have_before(s, id) && !staging_has_before(s, id) && !shelves_have_before(s, id);
}

/* What `flush` says of pauses is of now, not of the last tick. */
static void pause_gauges_set(struct sink *s)
{
    uint64_t loads = inserts_held(s);

    for (const struct table *t = s->tables; t != NULL; t = t->next)
        loads += load_waits(t) ? 1 : 0;
    stat_set(&s->stats.plans_held, s->held.n);
    stat_set(&s->stats.loads_held, loads);
}

/* SINK_IDLE: first everything that was durable when asked is consumed and planned, then all of that
 * delivered. */
static void idle_check(struct sink *s)
{
    if (!s->idle_planned) {
        for (uint32_t i = 0; i < s->n_feeds && !held_too_many(s); i++) {
            if (s->feed[i].cursor < s->idle_lsn[i])
                goto wait;
        }
        if (!flush(s))
            goto wait;
        s->idle_planned = true;
    }
    if (delivered_before(s, s->flush_id)) {
        pause_gauges_set(s);
        call_finish(s, 0);
        return;
    }
wait:
    if (s->now_us >= s->call_deadline_us)
        call_finish(s, -ETIMEDOUT);
}

static void idle_begin(struct sink *s)
{
    s->idle_planned = false;
    for (uint32_t i = 0; i < s->n_feeds; i++)
        s->idle_lsn[i] = journal_durable(s->feed[i].journal);
}

static void commands_run(struct sink *s)
{
    int command = atomic_load(&s->command) - 1;

    ASSERT(command < SINK_IDLE + 1);
    switch (command) {
    case SINK_FLUSH:
        (void)flush(s); /* what could not be planned is when it is due */
        call_finish(s, 0);
        break;
    case SINK_REPORT:
        report(s, s->report);
        call_finish(s, 0);
        break;
    case SINK_IDLE:
        if (s->call_result == 1) { /* new */
            idle_begin(s);
            s->call_result = 0;
        }
        idle_check(s);
        break;
    default:
        break;
    }
}

void sink_nudge(const struct sink *s)
{
    uint64_t one = 1;

    if (write(loop_wake_fd(s->loop), &one, sizeof(one)) < 0)
        ASSERT(errno == EAGAIN);
}

/* Waits a moment for the answer. False when there is none yet. */
static bool call_wait(struct sink *s)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    return sem_timedwait(&s->call_done, &until) == 0;
}

int sink_call(struct sink *s, enum sink_command command, struct sink_report *out,
              int64_t timeout_us)
{
    int rc;

    ASSERT(timeout_us >= 0);
    if (atomic_load(&s->ended))
        return -ETIMEDOUT;
    pthread_mutex_lock(&s->call_lock);
    s->report = out;
    s->call_result = 1;
    s->call_deadline_us = clock_monotonic_us() + timeout_us;
    atomic_store(&s->command, (int)command + 1);
    sink_nudge(s);
    while (!call_wait(s)) {
        int mine = (int)command + 1;

        if (atomic_load(&s->ended) && atomic_compare_exchange_strong(&s->command, &mine, 0)) {
            s->call_result = -ETIMEDOUT; /* the thread has ended without seeing it */
            break;
        }
    }
    rc = s->call_result;
    pthread_mutex_unlock(&s->call_lock);
    return rc;
}

/* ---- the thread ---- */

/* Microseconds since the oldest event that is not in the cloud was consumed. */
static uint64_t lag(const struct sink *s)
{
    const struct delivery_list *list[] = {&s->planning, &s->cold,    &s->reloading, &s->packing,
                                          &s->ready,    &s->putting, &s->inserting, &s->refusing,
                                          &s->parked,   &s->held,    &s->spooling,  &s->fetching};
    int64_t oldest = shelves_oldest(s, inserts_oldest(s, s->now_us));

    if (s->groups.n > 0 && s->groups.oldest->opened_us < oldest)
        oldest = s->groups.oldest->opened_us;
    for (size_t i = 0; i < ARRAY_LEN(list); i++) {
        const struct delivery *d = delivery_first(list[i]);

        if (d != NULL && d->since_us < oldest)
            oldest = d->since_us;
    }
    return (uint64_t)(s->now_us - oldest);
}

static void gauges_set(struct sink *s)
{
    inserts_gauges(s);
    stat_set(&s->stats.groups_open, s->groups.n + s->insert_groups.n);
    stat_set(&s->stats.chunks_free, s->pool.n_free);
    stat_set(&s->stats.chunks_total, s->pool.n_total);
    stat_set(&s->stats.plans_waiting, s->planning.n + s->cold.n + s->reloading.n + s->packing.n +
                                          s->ready.n + s->putting.n + s->confirming.n + s->held.n);
    stat_set(&s->stats.plans_held, s->held.n);
    stat_set(&s->stats.plans_parked, s->parked.n + shelves_parked(s));
    stat_set(&s->stats.lag_us, lag(s));
}

/* Whether this directory is the one that may deliver, as the bucket says. */
static void owner_follow(struct sink *s)
{
    if (s->config.owner == NULL)
        return;
    if (s->config.index == 0)
        owner_run(s->config.owner, s->now_us);
    s->may_send = owner_may_send(s->config.owner);
}

static void tick(struct sink *s)
{
    ASSERT(s->pool.n_free <= s->pool.n_total && s->reload_reserved <= s->pool.n_total);
    s->next_tick_us = s->now_us + TICK_US;
    plan_due(s, false);
    if (s->config.bigquery_enabled && s->may_send)
        tables_run(s);
    for (uint32_t i = 0; i < s->n_feeds; i++)
        dlog_set_floor(s->port, journal_uuid(s->feed[i].journal), feed_floor(s, &s->feed[i]));
    gauges_set(s);
}

/* Takes over settings that were published since the last turn. */
static void settings_take(struct sink *s, const struct live_settings *now)
{
    const struct live_sink *l = &now->sink;
    struct sink_config *c = &s->config;

    ASSERT(now->version > s->settings_version);
    s->settings_version = now->version;
    c->group_bytes_max = l->group_bytes_max;
    c->group_age_us_max = l->group_age_us_max;
    c->load_cadence_us = l->load_cadence_us;
    c->load_bytes_max = l->load_bytes_max;
    c->split_jobs = l->split_jobs;
    c->park_retry_us = l->park_retry_us;
    c->spool_bytes = l->spool_bytes;
    c->backlog_share_ppm = l->backlog_share_ppm;
    c->insert_rows = l->insert_rows;
    c->insert_bytes = l->insert_bytes;
    c->insert_age_us_max = l->insert_age_us_max;
    c->table_inserts_max = l->table_inserts_max;
    c->insert_wait_us = l->insert_wait_us;
    /* A few more than uploads and inserts. */
    c->http.connections_max += l->puts_max - c->puts_max + l->inserts_max - c->inserts_max;
    c->inserts_max = l->inserts_max;
    c->puts_max = l->puts_max;
    c->gzip = l->gzip;
    c->gzip_level = l->gzip_level;
    c->gcs.resumable_bytes = l->resumable_bytes;
    c->http.connect_timeout_ms = l->connect_timeout_ms;
    c->http.stall_timeout_ms = l->stall_timeout_ms;
    http_client_adjust(s->http, &c->http);
    auth_set_refused_retry(&s->auth, c->park_retry_us);
    pauses_take(s);
}

static void settings_follow(struct sink *s)
{
    const struct live_settings *now;

    if (s->config.live == NULL)
        return;
    now = live_read(s->config.live);
    s->settings = now;
    if (now->version != s->settings_version)
        settings_take(s, now);
}

static void turn(struct sink *s)
{
    bool more;

    s->now_us = clock_monotonic_us();
    settings_follow(s);
    owner_follow(s);
    records_run(s);
    shelves_run(s);
    more = reload_run(s);
    more |= consume(s);
    more |= pack_run(s);
    dedupes_run(s);
    marks_run(s);
    if (s->may_send) {
        deliver_start(s);
        inserts_run(s);
    }
    if (s->now_us >= s->next_tick_us)
        tick(s);
    commands_run(s);
    loop_run_once(s->loop, more ? 0 : backlog_sleep_us(s, TICK_US));
}

static void *thread_main(void *arg)
{
    struct sink *s = arg;
    char name[16];

    snprintf(name, sizeof(name), "sink-%u", s->config.index & 0xffff);
    pthread_setname_np(pthread_self(), name);
    while (!atomic_load(&s->stop))
        turn(s);
    if (s->config.live != NULL)
        live_leave(s->config.live);
    atomic_store(&s->ended, true); /* partner: sink_call() takes back what comes from now on */
    return NULL;
}

int sink_start(struct sink *s)
{
    int rc = pthread_create(&s->thread, NULL, thread_main, s);

    s->thread_started = rc == 0;
    return -rc;
}

void sink_stop(struct sink *s)
{
    if (!s->thread_started)
        return;
    atomic_store(&s->stop, true);
    sink_nudge(s);
    pthread_join(s->thread, NULL);
    s->thread_started = false;
}
