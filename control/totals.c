/* COLD. Sums over workers, sink threads and the ledger, see totals.h. */
#include "control/totals.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/packets.h"
#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"
#include "sinks/delivery/ledger.h"

#define ERROR_BYTES 512

#define READ(counter) atomic_load_explicit(&(counter), memory_order_relaxed)

static void add_worker(struct totals *t, const struct worker_stats *s)
{
    ASSERT(s != NULL);
    t->requests += READ(s->requests);
    t->body_bytes += READ(s->body_bytes);
    t->events += READ(s->events);
    t->event_bytes += READ(s->event_bytes);
    t->dead_letters += READ(s->dead_letters);
    t->sampled_out += READ(s->sampled_out);
    t->late += READ(s->late);
    t->bad_time += READ(s->bad_time);
    t->normalized += READ(s->normalized);
    t->durable += READ(s->durable_events);
    t->journal_bytes += READ(s->journal_bytes);
    t->journal_errors += READ(s->journal_errors);
    t->connections += READ(s->connections);
    t->lane_skips += READ(s->lane_skips);
    t->tcp_connections += READ(s->tcp_connections);
    t->tcp_lines += READ(s->tcp_lines);
    t->tcp_waiting += READ(s->tcp_waiting);
    t->injections += READ(s->injections);
    t->injected += READ(s->injected);
    t->udp_datagrams += READ(s->udp_datagrams);
    t->udp_kernel_drops += READ(s->udp_kernel_drops);
    t->udp_dropped_lines += READ(s->udp_dropped_lines);
    t->packet_received += READ(s->packet_received);
    t->packet_datagrams += READ(s->packet_datagrams);
    t->packet_forwarded += READ(s->packet_forwarded);
    t->packet_returned += READ(s->packet_returned);
    t->packet_send_full += READ(s->packet_send_full);
    t->packet_fragments += READ(s->packet_fragments);
    t->packet_copied += READ(s->packet_copied);
    t->packet_busy_us += READ(s->packet_busy_us);
    t->packet_waiting += READ(s->packet_waiting);
    t->packet_dropped_lines += READ(s->packet_dropped_lines);
    for (int i = 0; i < REASON_END; i++) {
        t->reason[i] += READ(s->reason[i]);
        t->tcp_dropped[i] += READ(s->tcp_dropped[i]);
        t->udp_dropped[i] += READ(s->udp_dropped[i]);
        t->packet_dropped[i] += READ(s->packet_dropped[i]);
    }
}

static void add_sink(struct totals *t, const struct sink_stats *s)
{
    uint64_t lag = READ(s->lag_us);

    ASSERT(s != NULL);
    t->confirmed += READ(s->confirmed_events);
    t->loaded += READ(s->loaded_events);
    t->inserted += READ(s->inserted_events);
    t->refused += READ(s->refused_events);
    t->discarded += READ(s->discarded_events);
    t->reason[REASON_REFUSED_BY_BIGQUERY] += READ(s->refused_events);
    t->inserts_waiting += READ(s->inserts_waiting);
    t->inserts_parked += READ(s->inserts_parked);
    t->plans_waiting += READ(s->plans_waiting);
    t->plans_parked += READ(s->plans_parked);
    t->plans_held += READ(s->plans_held);
    t->loads_held += READ(s->loads_held);
    t->loads_waiting += READ(s->loads_waiting);
    t->loads_parked += READ(s->loads_parked);
    t->groups_open += READ(s->groups_open);
    t->lag_us = lag > t->lag_us ? lag : t->lag_us;
    lag = READ(s->load_lag_us);
    t->load_lag_us = lag > t->load_lag_us ? lag : t->load_lag_us;
    t->chunks_free += READ(s->chunks_free);
    t->chunks_total += READ(s->chunks_total);
}

static void add_journals(struct daemon *d, struct totals *t)
{
    ASSERT(d->n_journals <= JOURNALS_MAX);
    for (uint32_t i = 0; i < d->n_journals; i++) {
        struct journal_stats *s = journal_stats(d->journal[i]);

        t->durable_ever += journal_events_total(d->journal[i]);
        t->journal_used += READ(s->used_bytes);
        t->journal_total += READ(s->total_bytes);
        t->journals_full += journal_full(d->journal[i]);
        t->journals_failing += journal_disk_error(d->journal[i]);
    }
}

/* A growing list of types, merged by name at the end. */
struct type_list {
    struct type_total *item;
    uint32_t n, room;
};

static struct type_total *list_add(struct type_list *l, const char *name, size_t len)
{
    struct type_total *t;

    ASSERT(len <= TYPE_NAME_BYTES_MAX);
    if (l->n == l->room) {
        uint32_t room = l->room > 0 ? 2 * l->room : 64;
        struct type_total *item = realloc(l->item, room * sizeof(*item));

        if (item == NULL)
            return NULL;
        l->item = item;
        l->room = room;
    }
    t = &l->item[l->n++];
    memset(t, 0, sizeof(*t));
    memcpy(t->name, name, len);
    t->watermark_us = INT64_MIN;
    return t;
}

static void list_worker(struct type_list *l, const struct worker *w)
{
    uint32_t n;
    const struct worker_type *types = worker_types(w, &n);

    ASSERT(types != NULL || n == 0);
    for (uint32_t i = 0; i < n; i++) {
        struct type_total *t = list_add(l, types[i].name, types[i].name_len);

        if (t == NULL)
            return;
        t->events = READ(types[i].events);
        t->dead_letters = READ(types[i].dead_letters);
        t->sampled_out = READ(types[i].sampled_out);
        t->late = READ(types[i].late);
        t->refused = READ(types[i].refused);
        t->watermark_us = READ(types[i].watermark_us);
    }
}

static void list_configured(struct type_list *l, const struct type_set *set)
{
    ASSERT(set != NULL);
    for (uint32_t i = 0; i < set->n_types; i++) {
        struct type_total *t = list_add(l, set->type[i].name, strlen(set->type[i].name));

        if (t != NULL)
            t->configured = true;
    }
}

static void list_spooled(struct type_list *l, const struct sink *s)
{
    const struct sink_spool_stats *stats = NULL;

    ASSERT(l != NULL);
    while ((stats = sink_spool_next(s, stats)) != NULL) {
        struct type_total *t =
            stats->type_len > 0 ? list_add(l, stats->type, stats->type_len) : NULL;

        if (t != NULL)
            t->spooled_bytes = READ(stats->bytes);
    }
}

static void list_dedupes(struct type_list *l, const struct sink *s)
{
    const struct sink_dedupe_stats *stats;

    for (uint32_t i = 0; (stats = sink_dedupe_stats(s, i)) != NULL; i++) {
        struct type_total *t = list_add(l, stats->type->name, strlen(stats->type->name));

        ASSERT(stats->type->dedupe_field != NULL);
        if (t != NULL)
            t->dedupe = stats;
    }
}

static void sum_sink(struct sink_total *to, const struct sink_total *from)
{
    ASSERT(to != from);
    to->planned += from->planned;
    to->delivered += from->delivered;
    to->parked += from->parked;
    to->refused += from->refused;
    to->inserts += from->inserts;
    to->removed += from->removed;
}

/* What a visit of the ledger adds to. */
struct ledger_visit {
    struct type_list *list;
    struct totals *totals;
};

static void visit_total(void *ctx, const struct ledger_total *l)
{
    struct ledger_visit *v = ctx;
    struct sink_total add = {.planned = l->planned,
                             .delivered = l->delivered,
                             .parked = l->parked,
                             .refused = l->refused,
                             .inserts = l->inserts,
                             .removed = l->removed};
    bool gcs = strcmp(l->sink, "gcs") == 0;
    struct type_total *t = list_add(v->list, l->type, strnlen(l->type, TYPE_NAME_BYTES_MAX));

    ASSERT(v->totals != NULL);
    if (l->kind == PLAN_DEAD)
        sum_sink(&v->totals->gcs_dead, &add);
    else
        sum_sink(gcs ? &v->totals->gcs : &v->totals->bigquery, &add);
    if (t != NULL)
        sum_sink(l->kind == PLAN_DEAD ? &t->dead : gcs ? &t->gcs : &t->bigquery, &add);
}

static void read_ledger(struct daemon *d, struct totals *t, struct type_list *list)
{
    struct ledger_visit v = {.list = list, .totals = t};
    char error[ERROR_BYTES] = "";
    struct ledger *ledger = NULL;
    int rc;

    ASSERT(d->dlog != NULL);
    rc = ledger_open(dlog_ledger_path(d->dlog), &ledger, error, sizeof(error));
    if (rc == 0)
        rc = ledger_each_total(ledger, visit_total, &v);
    if (rc != 0)
        log_warn("ledger", "cannot be read: %s", error[0] != '\0' ? error : strerror(-rc));
    t->ledger_read = rc == 0;
    ledger_close(ledger);
}

static int compare_types(const void *a, const void *b)
{
    return strcmp(((const struct type_total *)a)->name, ((const struct type_total *)b)->name);
}

static void merge_types(struct type_list *l)
{
    uint32_t n = 0;

    ASSERT(l->item != NULL || l->n == 0);
    if (l->n > 0)
        qsort(l->item, l->n, sizeof(*l->item), compare_types);
    for (uint32_t i = 0; i < l->n; i++) {
        struct type_total *from = &l->item[i], *to = n > 0 ? &l->item[n - 1] : NULL;

        if (to == NULL || strcmp(to->name, from->name) != 0) {
            l->item[n++] = *from;
            continue;
        }
        to->events += from->events;
        to->dead_letters += from->dead_letters;
        to->late += from->late;
        to->refused += from->refused;
        to->spooled_bytes += from->spooled_bytes;
        to->sampled_out += from->sampled_out;
        to->watermark_us =
            from->watermark_us > to->watermark_us ? from->watermark_us : to->watermark_us;
        to->configured = to->configured || from->configured;
        to->dedupe = to->dedupe != NULL ? to->dedupe : from->dedupe;
        sum_sink(&to->gcs, &from->gcs);
        sum_sink(&to->bigquery, &from->bigquery);
        sum_sink(&to->dead, &from->dead);
    }
    l->n = n;
}

static void add_dlq(struct daemon *d, struct totals *t)
{
    ASSERT(t->dlq.replayed == 0);
    if (d->dlq != NULL)
        dlq_counts(d->dlq, &t->dlq);
}

static void collect(struct daemon *d, bool with_types, bool with_ledger, struct totals *out)
{
    struct type_list list = {0};

    ASSERT(d->n_workers > 0);
    *out = (struct totals){.discard = d->config->sinks_discard};
    if (with_ledger) /* first: what the ledger shows is never more than what is durable */
        read_ledger(d, out, &list);
    for (uint32_t i = 0; i < d->n_sinks; i++)
        add_sink(out, sink_stats(d->sink[i].sink));
    for (uint32_t i = 0; i < d->n_workers; i++)
        add_worker(out, worker_stats(d->worker[i]));
    packets_total(d, out);
    add_journals(d, out);
    out->spool = refuse_total(d);
    add_dlq(d, out);
    if (!with_types)
        return;
    list_configured(&list, &d->config->types);
    for (uint32_t i = 0; i < d->n_workers; i++)
        list_worker(&list, d->worker[i]);
    for (uint32_t i = 0; i < d->n_sinks; i++) {
        list_dedupes(&list, d->sink[i].sink);
        list_spooled(&list, d->sink[i].sink);
    }
    merge_types(&list);
    out->type = list.item;
    out->n_types = list.n;
}

void totals_collect(struct daemon *d, bool with_types, struct totals *out)
{
    collect(d, with_types, with_types, out);
    ASSERT(with_types || out->type == NULL);
}

void totals_collect_live(struct daemon *d, struct totals *out)
{
    collect(d, true, false, out);
    ASSERT(!out->ledger_read);
}

void totals_fini(struct totals *t)
{
    ASSERT(t != NULL);
    free(t->type);
    t->type = NULL;
    t->n_types = 0;
}

uint64_t totals_pending_gcs(const struct totals *t)
{
    uint64_t there = t->gcs.delivered + t->gcs_dead.delivered + t->gcs.removed;

    ASSERT(t != NULL);
    return t->durable_ever > there && !t->discard ? t->durable_ever - there : 0;
}

uint64_t totals_pending_bigquery(const struct totals *t)
{
    /* An event's object and its row by insertAll are planned apart, in either order: what is in the
     * one and not in the other is counted back. */
    uint64_t taken = t->durable_ever + t->gcs.inserts;
    uint64_t planned = t->gcs.planned + t->gcs.removed + t->gcs_dead.planned + t->bigquery.inserts;
    uint64_t unplanned = taken > planned ? taken - planned : 0;

    ASSERT(t != NULL);
    return t->discard ? 0 : unplanned + sink_total_pending(&t->bigquery);
}

uint64_t totals_dead_waiting(const struct totals *t)
{
    uint64_t there = t->gcs_dead.delivered + t->bigquery.refused;
    uint64_t handled = t->dlq.replayed + t->dlq.dropped;

    ASSERT(t != NULL);
    return there > handled ? there - handled : 0;
}

void totals_sample(struct daemon *d)
{
    struct totals t;
    struct rate_sample *s;

    totals_collect(d, false, &t);
    pthread_mutex_lock(&d->sampling);
    s = &d->sample[d->next_sample];
    *s = (struct rate_sample){
        .at_us = clock_monotonic_us(),
        .received = t.events + t.dead_letters + t.sampled_out,
        .durable = t.durable,
        .bytes = t.event_bytes,
        .confirmed = t.confirmed,
        .loaded = t.loaded + t.inserted,
    };
    d->next_sample = (d->next_sample + 1) % RATE_SAMPLES;
    ASSERT(d->next_sample < RATE_SAMPLES);
    pthread_mutex_unlock(&d->sampling);
}

void totals_rates(struct daemon *d, struct rates *out)
{
    const struct rate_sample *last, *first;
    double seconds;

    *out = (struct rates){0};
    pthread_mutex_lock(&d->sampling);
    last = &d->sample[(d->next_sample + RATE_SAMPLES - 1) % RATE_SAMPLES];
    first = &d->sample[d->next_sample];
    if (first->at_us == 0)
        first = &d->sample[0];
    seconds = (double)(last->at_us - first->at_us) / 1e6;
    ASSERT(first != NULL);
    if (first->at_us > 0 && seconds > 0) {
        out->received = (double)(last->received - first->received) / seconds;
        out->durable = (double)(last->durable - first->durable) / seconds;
        out->bytes = (double)(last->bytes - first->bytes) / seconds;
        out->confirmed = (double)(last->confirmed - first->confirmed) / seconds;
        out->loaded = (double)(last->loaded - first->loaded) / seconds;
    }
    pthread_mutex_unlock(&d->sampling);
}
