/* HOT. See gen_request.h. */
#include "tools/gen/gen_request.h"

#include <stdlib.h>
#include <string.h>

#include "tools/gen/gen_assert.h"
#include "tools/gen/gen_memory.h"
#include "tools/gen/gen_text.h"

enum {
    CONTENT_LENGTH_BYTES_MAX = 24, /* 20 digits and two line ends */
    FRAMING_BYTES_MAX = 4,         /* brackets, comma or line break around an event */
    FIRST_BYTES = 8 * 1024,        /* small batches on many connections stay small */
};

void gen_request_init(struct gen_request *q, uint32_t events_max, bool with_infos)
{
    GEN_ASSERT(events_max > 0);
    *q = (struct gen_request){._infos_max = events_max};
    if (with_infos) {
        q->infos = gen_memory_zeroed(events_max, sizeof(*q->infos));
    }
}

void gen_request_fini(struct gen_request *q)
{
    free(q->bytes);
    free(q->infos);
    *q = (struct gen_request){0};
}

static void reserve(struct gen_request *q, size_t used, size_t more)
{
    if (__builtin_expect(used + more <= q->_bytes_max, 1)) {
        return;
    }
    size_t bytes_max = q->_bytes_max == 0 ? FIRST_BYTES : q->_bytes_max;
    while (bytes_max < used + more) {
        bytes_max *= 2;
    }
    q->bytes = gen_memory_resize(q->bytes, bytes_max);
    q->_bytes_max = bytes_max;
}

/* The length of the body is known last: the head is written so that it ends where the body starts.
 */
static void put_head(struct gen_request *q, const char *head, size_t body_at)
{
    char length[CONTENT_LENGTH_BYTES_MAX];
    size_t head_bytes = strlen(head);
    q->start = body_at;
    if (head_bytes > 0) {
        char *end = gen_put_lit(gen_put_u64(length, q->body_bytes), "\r\n\r\n");
        size_t length_bytes = (size_t)(end - length);
        GEN_ASSERT(head_bytes + length_bytes <= body_at);
        q->start = body_at - length_bytes - head_bytes;
        memcpy(q->bytes + q->start, head, head_bytes);
        memcpy(q->bytes + body_at - length_bytes, length, length_bytes);
    }
    q->bytes_count = body_at - q->start + q->body_bytes;
}

void gen_request_fill(struct gen_request *q, struct gen_events *g,
                      const struct gen_framing *framing, uint64_t first_seq, uint32_t events)
{
    bool array = framing->format == GEN_ARRAY;
    size_t body_at = strlen(framing->head) + CONTENT_LENGTH_BYTES_MAX;
    size_t at = body_at, bytes_max = gen_events_bytes_max(g);
    GEN_ASSERT(events > 0 && events <= q->_infos_max);
    q->first_seq = first_seq;
    q->events = events;
    q->malformed = q->late = q->out_of_order = q->duplicates = 0;
    gen_events_refresh_now(g);
    for (uint32_t i = 0; i < events; i++) {
        struct gen_event_info info;
        reserve(q, at, bytes_max + FRAMING_BYTES_MAX);
        if (array) {
            q->bytes[at++] = i == 0 ? '[' : ',';
        }
        at += gen_events_write(g, first_seq + i, q->bytes + at, &info);
        if (!array) {
            q->bytes[at++] = '\n';
        }
        q->malformed += info.kind >= GEN_KIND_MALFORMED_FIRST;
        q->late += info.kind == GEN_LATE;
        q->out_of_order += info.kind == GEN_OUT_OF_ORDER;
        q->duplicates += info.kind == GEN_DUPLICATE;
        if (q->infos != NULL) {
            q->infos[i] = info;
        }
    }
    if (array) {
        q->bytes[at++] = ']';
    }
    q->body_bytes = at - body_at;
    put_head(q, framing->head, body_at);
}

struct gen_request *gen_pool_create(const struct gen_event_config *config,
                                    const struct gen_framing *framing, uint32_t count,
                                    uint32_t batch)
{
    struct gen_events events;
    GEN_ASSERT(count > 0);
    struct gen_request *pool = gen_memory_zeroed(count, sizeof(*pool));
    gen_events_init(&events, config);
    for (uint32_t i = 0; i < count; i++) {
        gen_request_init(&pool[i], batch, false);
        gen_request_fill(&pool[i], &events, framing, (uint64_t)i * batch, batch);
    }
    return pool;
}

void gen_pool_destroy(struct gen_request *pool, uint32_t count)
{
    if (pool == NULL) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        gen_request_fini(&pool[i]);
    }
    free(pool);
}
