/* HOT. See gen_plan.h. */
#include "tools/gen/gen_plan.h"

#include <stdio.h>

#include "tools/gen/gen_assert.h"
#include "tools/gen/gen_clock.h"

/* How long past the duration an open-loop run goes on with requests whose send time has come. */
#define OVERDUE_NS GEN_NS_A_SECOND

/* Everything of a request that is the same for all: up to "Content-Length: ". */
static void put_head(struct gen_plan *p, const struct gen_options *o)
{
    size_t at = 0;
    const char *media = o->format == GEN_ARRAY ? "application/json" : "application/x-ndjson";
    int printed = snprintf(p->head, sizeof(p->head),
                           "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: penstock-gen\r\n"
                           "Content-Type: %s\r\n",
                           o->target.path, o->target.authority, media);
    at += (size_t)printed;
    for (uint32_t i = 0; i < o->headers_count; i++) {
        GEN_ASSERT(at < sizeof(p->head));
        at += (size_t)snprintf(p->head + at, sizeof(p->head) - at, "%s\r\n", o->headers[i]);
    }
    GEN_ASSERT(at < sizeof(p->head));
    at += (size_t)snprintf(p->head + at, sizeof(p->head) - at, "Content-Length: ");
    GEN_ASSERT(at < sizeof(p->head));
}

void gen_plan_init(struct gen_plan *p, const struct gen_options *o, _Atomic int *stop)
{
    *p = (struct gen_plan){.options = o, .stop = stop, .seq_max = o->count};
    if (o->target.scheme == GEN_HTTP) { /* the others have no head */
        put_head(p, o);
    }
    p->framing = (struct gen_framing){.format = o->format, .head = p->head};
    if (o->pregenerate > 0 && o->count != UINT64_MAX) {
        /* Bodies are whole batches. */
        p->seq_max = (o->count + o->batch - 1) / o->batch * o->batch;
    }
    gen_plan_start_clock(p);
}

void gen_plan_start_clock(struct gen_plan *p)
{
    const struct gen_options *o = p->options;
    p->start_ns = gen_clock_ns();
    p->measure_ns = p->start_ns + (int64_t)(o->warm_up_s * (double)GEN_NS_A_SECOND);
    p->send_end_ns = INT64_MAX;
    if (o->duration_s > 0) {
        p->send_end_ns = p->start_ns + (int64_t)(o->duration_s * (double)GEN_NS_A_SECOND) +
                         (o->rate > 0 ? OVERDUE_NS : 0);
    }
}

uint32_t gen_plan_take(struct gen_plan *p, uint64_t *first)
{
    uint64_t batch = p->options->batch;
    *first = atomic_fetch_add_explicit(&p->next_seq, batch, memory_order_relaxed);
    if (*first >= p->seq_max) {
        return 0;
    }
    uint64_t left = p->seq_max - *first;
    return (uint32_t)(left < batch ? left : batch);
}

uint64_t gen_plan_left(const struct gen_plan *p)
{
    uint64_t next = atomic_load_explicit(&p->next_seq, memory_order_relaxed);
    bool scheduled = p->options->rate > 0 && p->seq_max != UINT64_MAX;
    return scheduled && next < p->seq_max ? p->seq_max - next : 0;
}
