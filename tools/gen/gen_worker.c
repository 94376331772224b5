/*
 * HOT. See gen_worker.h.
 *
 * A slot is a connection with the request it carries. Its state is that of the connection, and:
 *
 *   request NULL            free: idle ones wait in the queue `idle`, closed ones for reopen_ns
 *   request, conn BUSY      outstanding until answer_by_ns
 *   request, holding        answered 429 or 503, to be sent again at hold_until_ns (--retry 1)
 *   dead                    gave up after an error (no --reconnect)
 *
 * A request that was sent and not answered is never sent again: nobody knows whether the server
 * kept its events, and a second copy would spoil the count.
 */
#include "tools/gen/gen_worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "tools/gen/gen_assert.h"
#include "tools/gen/gen_clock.h"
#include "tools/gen/gen_conn.h"
#include "tools/gen/gen_memory.h"
#include "tools/gen/gen_pace.h"

enum {
    EVENTS_A_WAIT = 256,
    TICK_MS = 10,
    NAP_NS_MIN = 50000, /* see arm_timer() */
    BACKOFF_MS_FIRST = 10,
    BACKOFF_MS_MAX = 1000,
    RETRY_AFTER_S_DEFAULT = 1,
};

struct slot {
    struct gen_conn conn;
    struct gen_request own; /* built here, unless bodies are pregenerated */
    const struct gen_request *request;
    bool in_idle;
    bool holding;
    bool dead;
    bool answered_since_open;
    int held_status;
    int backoff_ms;
    int64_t reopen_ns;
    int64_t answer_by_ns; /* also for connecting */
    int64_t intended_ns;
    int64_t started_ns; /* when it was sent first */
    int64_t hold_until_ns;
};

struct gen_worker {
    struct gen_plan *plan;
    const struct gen_options *options;
    uint32_t index;
    struct gen_events events;
    struct gen_pace pace;
    struct slot *slots;
    uint32_t slots_count;
    uint32_t outstanding; /* slots with a request */
    uint32_t alive;       /* slots not dead */
    uint32_t *idle;       /* ring of slot indexes, first in first out: all connections take turns */
    uint32_t idle_head;
    uint32_t idle_count;
    bool exhausted;
    bool failed; /* ended before the plan was through */
    int epoll_fd;
    int timer_fd;
    int64_t timer_armed_ns;
    int64_t timeout_ns;
    int64_t last_answer_ns;
    struct gen_acklog_lines lines;
    char error[GEN_ERROR_BYTES_MAX];
    struct gen_conn_scratch scratch;
    struct gen_hist latency;
    struct gen_hist lateness;
    struct gen_stats stats;
};

static bool is_stopped(const struct gen_worker *w, enum gen_stop at_least)
{
    return atomic_load_explicit(w->plan->stop, memory_order_relaxed) >= (int)at_least;
}

/* Nothing new goes out any more. */
static bool is_closing(const struct gen_worker *w, int64_t now_ns)
{
    return now_ns >= w->plan->send_end_ns || is_stopped(w, GEN_STOP_SOON);
}

/* Whether slot s, which is closed, still has something to send. */
static bool needs_connection(const struct gen_worker *w, const struct slot *s, int64_t now_ns)
{
    return !is_closing(w, now_ns) && (s->request != NULL || !w->exhausted);
}

__attribute__((cold, noinline)) static void set_error(struct gen_worker *w, const char *what,
                                                      const char *why)
{
    if (w->error[0] == '\0') {
        snprintf(w->error, sizeof(w->error), "%s %s: %s", what, w->options->target.authority, why);
    }
}

static void push_idle(struct gen_worker *w, struct slot *s)
{
    if (s->in_idle) {
        return;
    }
    GEN_ASSERT(w->idle_count < w->slots_count);
    w->idle[(w->idle_head + w->idle_count) % w->slots_count] = (uint32_t)(s - w->slots);
    w->idle_count++;
    s->in_idle = true;
}

/* The longest idle slot, or NULL. Entries whose connection has ended since are passed over. */
static struct slot *pop_idle(struct gen_worker *w)
{
    while (w->idle_count > 0) {
        struct slot *s = &w->slots[w->idle[w->idle_head]];
        w->idle_head = (w->idle_head + 1) % w->slots_count;
        w->idle_count--;
        s->in_idle = false;
        if (s->conn.state == GEN_CONN_IDLE && s->request == NULL) {
            return s;
        }
    }
    return NULL;
}

/* The fate of the slot's request is known: status of its last answer, 0 for none. */
static void settle(struct gen_worker *w, struct slot *s, int status)
{
    const struct gen_request *q = s->request;
    GEN_ASSERT(q != NULL && w->outstanding > 0);
    if (status == 0) {
        gen_stats_add(&w->stats, GEN_COUNT_unanswered, q->events);
    } else {
        w->stats.events_by_status[status] += q->events;
        if (status / 100 == 2) {
            gen_stats_add(&w->stats, GEN_COUNT_acked, q->events);
            gen_stats_add(&w->stats, GEN_COUNT_acked_bytes, q->body_bytes);
        } else {
            gen_stats_add(&w->stats, GEN_COUNT_refused, q->events);
        }
    }
    if (w->plan->log != NULL) {
        int rc = gen_acklog_write(w->plan->log, &w->lines, &w->events, q, status);
        if (rc != 0) {
            set_error(w, "writing the log of the run to", strerror(-rc));
            w->failed = true;
            atomic_store_explicit(w->plan->stop, GEN_STOP_SOON, memory_order_relaxed);
        }
    }
    s->request = NULL;
    s->holding = false;
    w->outstanding--;
}

static void kill_slot(struct gen_worker *w, struct slot *s)
{
    if (s->request != NULL) {
        settle(w, s, s->holding ? s->held_status : 0);
    }
    s->dead = true;
    w->alive--;
}

static void reopen_later(struct slot *s, int64_t now_ns)
{
    s->reopen_ns = now_ns + s->backoff_ms * GEN_NS_A_MS;
    s->backoff_ms = s->backoff_ms * 2 < BACKOFF_MS_MAX ? s->backoff_ms * 2 : BACKOFF_MS_MAX;
}

/* The connection failed; it is CLOSED. An outstanding request is lost, a held one stays. */
__attribute__((cold, noinline)) static void fail_slot(struct gen_worker *w, struct slot *s,
                                                      const char *what, int64_t now_ns)
{
    const char *why = s->conn.error == 0        ? "the server closed the connection"
                      : s->conn.error == EPROTO ? "the answer was not of this protocol"
                                                : strerror(s->conn.error);
    if (s->request != NULL && !s->holding) {
        settle(w, s, 0);
    }
    if (!w->options->reconnect) {
        set_error(w, what, why);
        kill_slot(w, s);
        return;
    }
    reopen_later(s, now_ns);
}

static void fail_connect(struct gen_worker *w, struct slot *s, int64_t now_ns)
{
    gen_stats_add(&w->stats, GEN_COUNT_connect_errors, 1);
    fail_slot(w, s, "cannot connect to", now_ns);
}

static void on_answered(struct gen_worker *w, struct slot *s, int64_t now_ns);

/* Sends the slot's request, for the first time or again. */
static void send_request(struct gen_worker *w, struct slot *s, int64_t now_ns)
{
    const struct gen_request *q = s->request;
    s->holding = false;
    s->answer_by_ns = now_ns + w->timeout_ns;
    enum gen_conn_event event =
        gen_conn_send(&s->conn, q->bytes + q->start, q->bytes_count, q->events);
    if (event == GEN_CONN_BROKEN) {
        fail_slot(w, s, "lost connection to", now_ns);
    } else if (event == GEN_CONN_ANSWERED) {
        on_answered(w, s, gen_clock_ns());
    }
}

static void on_connected(struct gen_worker *w, struct slot *s)
{
    s->answered_since_open = false;
    if (s->request == NULL) {
        push_idle(w, s);
    } /* else it is held, and the tick sends it when its time has come */
}

static void open_slot(struct gen_worker *w, struct slot *s, int64_t now_ns)
{
    s->answer_by_ns = now_ns + w->timeout_ns;
    enum gen_conn_event event = gen_conn_open(&s->conn, &w->plan->address, w->epoll_fd, s);
    if (event == GEN_CONN_CONNECTED) {
        on_connected(w, s);
    } else if (event == GEN_CONN_BROKEN) {
        fail_connect(w, s, now_ns);
    }
}

/* Whether the answer asks to try again and we do. */
static bool hold(struct gen_worker *w, struct slot *s, int64_t now_ns)
{
    int status = s->conn.response.status;
    bool again = w->options->retry && (status == 429 || status == 503);
    if (!again || is_closing(w, now_ns)) {
        return false;
    }
    int after_s = s->conn.response.retry_after_s;
    s->holding = true;
    s->held_status = status;
    s->hold_until_ns = now_ns + (after_s >= 0 ? after_s : RETRY_AFTER_S_DEFAULT) * GEN_NS_A_SECOND;
    return true;
}

static void note_latency(struct gen_worker *w, const struct slot *s, int64_t now_ns)
{
    GEN_ASSERT(s->intended_ns <= s->started_ns && s->started_ns <= now_ns);
    if (s->intended_ns < w->plan->measure_ns) {
        return;
    }
    gen_hist_add(&w->latency, now_ns - s->intended_ns);
    gen_hist_add(&w->lateness, s->started_ns - s->intended_ns);
}

static void on_answered(struct gen_worker *w, struct slot *s, int64_t now_ns)
{
    const struct gen_response *r = &s->conn.response;
    GEN_ASSERT(s->request != NULL && !s->holding);
    s->answered_since_open = true;
    s->backoff_ms = BACKOFF_MS_FIRST;
    w->last_answer_ns = now_ns;
    if (!hold(w, s, now_ns)) {
        note_latency(w, s, now_ns);
        if (r->status / 100 == 2) {
            gen_stats_add(&w->stats, GEN_COUNT_accepted, gen_response_number(r, "accepted"));
            gen_stats_add(&w->stats, GEN_COUNT_dead_lettered,
                          gen_response_number(r, "dead_lettered"));
        }
        settle(w, s, r->status);
    }
    if (s->conn.state == GEN_CONN_CLOSED) {
        if (needs_connection(w, s, now_ns)) {
            open_slot(w, s, now_ns);
        }
    } else if (s->request == NULL) {
        push_idle(w, s);
    }
}

/* The server closed an idle connection. One that never carried an answer is not opened again at
 * once, or a server that closes whatever it accepts would keep us spinning. */
static void on_ended(struct gen_worker *w, struct slot *s, int64_t now_ns)
{
    if (!s->answered_since_open) {
        reopen_later(s, now_ns);
    } else if (needs_connection(w, s, now_ns)) {
        open_slot(w, s, now_ns);
    }
}

static void on_slot_events(struct gen_worker *w, struct slot *s, uint32_t events)
{
    bool connecting = s->conn.state == GEN_CONN_CONNECTING;
    enum gen_conn_event event = gen_conn_on_events(&s->conn, events, &w->scratch);
    if (event == GEN_CONN_NOTHING) {
        return;
    }
    int64_t now_ns = gen_clock_ns();
    switch (event) {
    case GEN_CONN_CONNECTED:
        on_connected(w, s);
        break;
    case GEN_CONN_ANSWERED:
        on_answered(w, s, now_ns);
        break;
    case GEN_CONN_ENDED:
        on_ended(w, s, now_ns);
        break;
    case GEN_CONN_BROKEN:
        if (connecting) {
            fail_connect(w, s, now_ns);
        } else {
            fail_slot(w, s, "lost connection to", now_ns);
        }
        break;
    case GEN_CONN_NOTHING:
    default:
        GEN_ASSERT(false && "a connection event");
        break;
    }
}

/* Everything that waits for time to pass. */
static void tick_slot(struct gen_worker *w, struct slot *s, int64_t now_ns)
{
    bool closing = is_closing(w, now_ns);
    if (s->dead) {
        return;
    }
    if (s->holding && closing) {
        settle(w, s, s->held_status);
    }
    switch (s->conn.state) {
    case GEN_CONN_CLOSED:
        if (now_ns >= s->reopen_ns && needs_connection(w, s, now_ns)) {
            open_slot(w, s, now_ns);
        }
        break;
    case GEN_CONN_IDLE:
        if (s->holding && now_ns >= s->hold_until_ns) {
            gen_stats_add(&w->stats, GEN_COUNT_retries, 1);
            send_request(w, s, now_ns);
        }
        break;
    case GEN_CONN_CONNECTING:
    case GEN_CONN_BUSY:
    default:
        if (now_ns >= s->answer_by_ns) {
            gen_stats_add(&w->stats, GEN_COUNT_timeouts, 1);
            gen_conn_close(&s->conn);
            s->conn.error = ETIMEDOUT;
            fail_slot(w, s, "no answer in time from", now_ns);
        }
        break;
    }
}

static const struct gen_request *next_request(struct gen_worker *w, struct slot *s)
{
    uint64_t first;
    uint32_t events = gen_plan_take(w->plan, &first);
    if (events == 0) {
        w->exhausted = true;
        return NULL;
    }
    if (w->plan->pool != NULL) {
        return &w->plan->pool[first / w->options->batch % w->options->pregenerate];
    }
    gen_request_fill(&s->own, &w->events, &w->plan->framing, first, events);
    return &s->own;
}

static void start_request(struct gen_worker *w, struct slot *s, const struct gen_request *q)
{
    int64_t now_ns = gen_clock_ns();
    bool paced = w->options->rate > 0;
    s->intended_ns = paced ? gen_pace_due_ns(&w->pace) : now_ns;
    if (paced) {
        gen_pace_advance(&w->pace);
    }
    s->started_ns = now_ns;
    s->request = q;
    w->outstanding++;
    gen_stats_add(&w->stats, GEN_COUNT_requests, 1);
    gen_stats_add(&w->stats, GEN_COUNT_events, q->events);
    gen_stats_add(&w->stats, GEN_COUNT_bytes, q->body_bytes);
    gen_stats_add(&w->stats, GEN_COUNT_malformed, q->malformed);
    gen_stats_add(&w->stats, GEN_COUNT_late, q->late);
    gen_stats_add(&w->stats, GEN_COUNT_out_of_order, q->out_of_order);
    gen_stats_add(&w->stats, GEN_COUNT_duplicates, q->duplicates);
    send_request(w, s, now_ns);
}

/*
 * Wakes epoll at the next send time; finer than its own millisecond timeout. But not sooner than in
 * NAP_NS_MIN: at 60,000 requests a second a sleep for each takes a sixth of a core, and a client that
 * is behind measures itself. Requests that go a little late for it count from when they were due, as
 * ever.
 */
static void arm_timer(struct gen_worker *w, int64_t due_ns, int64_t now_ns)
{
    int64_t nap_end_ns = now_ns + NAP_NS_MIN;
    int64_t at_ns = due_ns > nap_end_ns ? due_ns : nap_end_ns;
    if (w->timer_armed_ns >= due_ns && w->timer_armed_ns > now_ns && w->timer_armed_ns <= at_ns) {
        return;
    }
    struct itimerspec at = {
        .it_value = {.tv_sec = at_ns / GEN_NS_A_SECOND, .tv_nsec = at_ns % GEN_NS_A_SECOND}};
    int rc = timerfd_settime(w->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
    GEN_ASSERT(rc == 0);
    w->timer_armed_ns = at_ns;
}

/* Hands requests to idle connections as far as schedule and plan allow. */
static void dispatch(struct gen_worker *w)
{
    bool paced = w->options->rate > 0;
    while (!w->exhausted && w->idle_count > 0) {
        int64_t now_ns = gen_clock_ns();
        if (is_closing(w, now_ns)) {
            return;
        }
        if (paced && gen_pace_due_ns(&w->pace) > now_ns) {
            arm_timer(w, gen_pace_due_ns(&w->pace), now_ns);
            return;
        }
        struct slot *s = pop_idle(w);
        if (s == NULL) {
            return;
        }
        const struct gen_request *q = next_request(w, s);
        if (q != NULL) {
            start_request(w, s, q);
        }
    }
}

static void tick(struct gen_worker *w, int64_t now_ns)
{
    for (uint32_t i = 0; i < w->slots_count; i++) {
        tick_slot(w, &w->slots[i], now_ns);
    }
}

static bool is_finished(const struct gen_worker *w, int64_t now_ns)
{
    bool nothing_to_send = w->exhausted || is_closing(w, now_ns);
    return w->alive == 0 || is_stopped(w, GEN_STOP_NOW) || (nothing_to_send && w->outstanding == 0);
}

static void wait_for_events(struct gen_worker *w)
{
    struct epoll_event events[EVENTS_A_WAIT];
    int count = epoll_wait(w->epoll_fd, events, EVENTS_A_WAIT, TICK_MS);
    GEN_ASSERT(count >= 0 || errno == EINTR);
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr != NULL) { /* NULL is the timer, which only wakes */
            on_slot_events(w, events[i].data.ptr, events[i].events);
        }
    }
}

void gen_worker_run(struct gen_worker *w)
{
    int64_t now_ns = gen_clock_ns();
    int64_t tick_ns = now_ns;
    if (w->options->rate > 0) {
        gen_pace_init(&w->pace, w->plan->start_ns, w->options->rate, w->options->batch, w->index,
                      w->options->threads);
    }
    while (!is_finished(w, now_ns)) {
        if (now_ns >= tick_ns) {
            tick(w, now_ns);
            tick_ns = now_ns + TICK_MS * GEN_NS_A_MS;
        }
        dispatch(w);
        wait_for_events(w);
        now_ns = gen_clock_ns();
    }
    w->failed |= w->alive == 0 && !w->exhausted && !is_closing(w, now_ns);
    for (uint32_t i = 0; i < w->slots_count; i++) {
        if (!w->slots[i].dead) {
            gen_conn_close(&w->slots[i].conn);
            kill_slot(w, &w->slots[i]);
        }
    }
    GEN_ASSERT(w->outstanding == 0);
}

static void init_slots(struct gen_worker *w)
{
    bool builds = w->plan->pool == NULL;
    w->slots = gen_memory_zeroed(w->slots_count, sizeof(*w->slots));
    w->idle = gen_memory_zeroed(w->slots_count, sizeof(*w->idle));
    for (uint32_t i = 0; i < w->slots_count; i++) {
        struct slot *s = &w->slots[i];
        gen_conn_init(&s->conn);
        s->backoff_ms = BACKOFF_MS_FIRST;
        if (builds) {
            gen_request_init(&s->own, w->options->batch, w->plan->log != NULL);
        }
    }
}

static bool init_epoll(struct gen_worker *w)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    w->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    return w->epoll_fd >= 0 && w->timer_fd >= 0 &&
           epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->timer_fd, &event) == 0;
}

struct gen_worker *gen_worker_create(struct gen_plan *plan, uint32_t index)
{
    const struct gen_options *o = plan->options;
    GEN_ASSERT(index < o->threads && o->threads <= o->connections);
    struct gen_worker *w = gen_memory_zeroed(1, sizeof(*w));
    w->plan = plan;
    w->options = o;
    w->index = index;
    w->timeout_ns = (int64_t)(o->timeout_s * (double)GEN_NS_A_SECOND);
    w->slots_count = o->connections / o->threads + (index < o->connections % o->threads);
    w->alive = w->slots_count;
    gen_events_init(&w->events, &o->events);
    init_slots(w);
    if (!init_epoll(w)) {
        gen_worker_destroy(w);
        return NULL;
    }
    return w;
}

const struct gen_stats *gen_worker_stats(const struct gen_worker *w)
{
    return &w->stats;
}

bool gen_worker_collect(const struct gen_worker *w, struct gen_result *result,
                        int64_t *last_answer_ns)
{
    gen_hist_merge(&result->latency, &w->latency);
    gen_hist_merge(&result->lateness, &w->lateness);
    gen_stats_merge_counters(&result->stats, &w->stats);
    gen_stats_merge_statuses(&result->stats, &w->stats);
    if (result->error[0] == '\0') {
        memcpy(result->error, w->error, sizeof(result->error));
    }
    if (w->last_answer_ns > *last_answer_ns) {
        *last_answer_ns = w->last_answer_ns;
    }
    return !w->failed;
}

void gen_worker_destroy(struct gen_worker *w)
{
    if (w == NULL) {
        return;
    }
    for (uint32_t i = 0; i < w->slots_count; i++) {
        gen_conn_close(&w->slots[i].conn);
        gen_request_fini(&w->slots[i].own);
    }
    if (w->epoll_fd >= 0) {
        close(w->epoll_fd);
    }
    if (w->timer_fd >= 0) {
        close(w->timer_fd);
    }
    free(w->slots);
    free(w->idle);
    free(w->lines.text);
    free(w);
}
