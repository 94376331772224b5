// Role: call counters and the page that shows them with the stored totals.
#include "tools/localcloud/stats.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/localcloud/app.h"
#include "tools/localcloud/bq.h"
#include "tools/localcloud/http.h"
#include "tools/localcloud/storage.h"

enum { CELLS_MAX = 256 };

struct cell {
    const char *service;
    char method[12];
    int status;
    uint64_t calls;
};

struct lc_stats {
    pthread_mutex_t lock;
    struct cell cells[CELLS_MAX]; // past this many kinds of call, further kinds are not counted
    size_t count;
    uint64_t calls;
    uint64_t bytes_in;
    int64_t started_us;
};

struct lc_stats *lc_stats_create(void)
{
    struct lc_stats *s = lc_alloc(sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    s->started_us = lc_now_us();
    return s;
}

void lc_stats_destroy(struct lc_stats *s)
{
    if (!s)
        return;
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static struct cell *find_cell(struct lc_stats *s, const char *service, const char *method,
                              int status)
{
    for (size_t i = 0; i < s->count; i++) {
        struct cell *c = &s->cells[i];
        if (c->status == status && strcmp(c->service, service) == 0 &&
            strcmp(c->method, method) == 0)
            return c;
    }
    if (s->count == CELLS_MAX)
        return NULL;
    struct cell *c = &s->cells[s->count++];
    *c = (struct cell){.service = service, .status = status};
    snprintf(c->method, sizeof c->method, "%s", method);
    return c;
}

void lc_stats_count(struct lc_stats *s, const char *service, const char *method, int status,
                    uint64_t bytes_in)
{
    pthread_mutex_lock(&s->lock);
    struct cell *c = find_cell(s, service, method, status);
    if (c)
        c->calls++;
    s->calls++;
    s->bytes_in += bytes_in;
    pthread_mutex_unlock(&s->lock);
}

static json_t *calls_json(struct lc_stats *s, json_int_t *calls, json_int_t *bytes)
{
    json_t *list = json_array();
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->count; i++) {
        const struct cell *c = &s->cells[i];
        json_array_append_new(list, json_pack("{s:s,s:s,s:i,s:I}", "service", c->service, "method",
                                              c->method, "status", c->status, "calls",
                                              (json_int_t)c->calls));
    }
    *calls = (json_int_t)s->calls;
    *bytes = (json_int_t)s->bytes_in;
    pthread_mutex_unlock(&s->lock);
    return list;
}

void lc_stats_handler(struct lc_req *r)
{
    json_int_t calls = 0, bytes = 0;
    json_t *by_kind = calls_json(r->app->stats, &calls, &bytes);
    json_t *out = json_pack("{s:I,s:I,s:I,s:o}", "uptime_ms",
                            (json_int_t)((lc_now_us() - r->app->stats->started_us) / 1000), "calls",
                            calls, "body_bytes_received", bytes, "calls_by_kind", by_kind);
    lc_storage_stats(r->app->storage, out);
    lc_bq_stats(r->app->bq, out);
    lc_reply_json(r, 200, out);
}
