/*
 * HOT. Compressed bodies of HTTP requests: one at a time per worker, in slices, so that the others
 * wait for a slice only. A slice of 256 KiB of events takes 0.3 ms for gzip, 0.2 ms for zstd.
 */
#include <string.h>

#include "dataplane/worker_internal.h"

#define SLICE_BYTES    (256u << 10)
#define RATIO_GUESS    6 /* of JSON; a wrong guess costs a copy */
#define EXPANDED_MIN   4096u
#define STEP_BYTES_MIN 256u

/* Memory for at least bytes of the expanded body; what is there moves along. */
static bool expanded_grow(struct worker *w, struct connection *c, uint64_t bytes)
{
    uint64_t most = (uint64_t)w->config.body_bytes_max + 1;
    struct lease lease;

    ASSERT(bytes > c->expanded.bytes);
    if (!lease_acquire(w->leases, bytes < most ? bytes : most, &lease)) {
        w->leases_short = true;
        return false;
    }
    if (c->expanded_len > 0)
        memcpy(lease.buf, c->expanded.buf, c->expanded_len);
    lease_release(w->leases, &c->expanded);
    c->expanded = lease;
    return true;
}

enum reason compressed_start(struct worker *w, struct connection *c, const char *in, uint32_t len)
{
    ASSERT(c->expanded.buf == NULL);
    c->expanded_len = 0;
    if (!expanded_grow(w, c, (uint64_t)len * RATIO_GUESS + EXPANDED_MIN))
        return REASON_NO_LEASE;
    expand_start(w->expander, c->request.coding, in, len);
    return REASON_NONE;
}

/* What a step takes of its slice: input is bounded too, and so are tiny members, one a step. */
static uint32_t step_cost(uint32_t produced)
{
    ASSERT_HOT(produced <= SLICE_BYTES);
    if (produced == 0)
        return EXPANDED_MIN;
    return produced < STEP_BYTES_MIN ? STEP_BYTES_MIN : produced;
}

bool compressed_slice(struct worker *w, struct connection *c, enum reason *reason)
{
    uint32_t most = w->config.body_bytes_max + 1, left = SLICE_BYTES, cost;
    enum expand_result rc = EXPAND_MORE;

    *reason = REASON_NONE;
    while (rc == EXPAND_MORE && left > 0 && c->expanded_len < most) {
        uint32_t end = c->expanded.bytes < most ? c->expanded.bytes : most;
        size_t room = end - c->expanded_len, produced = 0;

        if (room == 0) {
            if (!expanded_grow(w, c, (uint64_t)c->expanded.bytes * 2)) {
                *reason = REASON_NO_LEASE;
                return true;
            }
            continue;
        }
        rc = expand_step(w->expander, c->expanded.buf + c->expanded_len, room < left ? room : left,
                         &produced);
        c->expanded_len += (uint32_t)produced;
        cost = step_cost((uint32_t)produced);
        left -= left < cost ? left : cost;
    }
    ASSERT_HOT(c->expanded_len <= most);
    if (c->expanded_len == most)
        *reason = REASON_BODY_TOO_BIG;
    else if (rc == EXPAND_BAD)
        *reason = REASON_BAD_ENCODING;
    else if (rc == EXPAND_MORE)
        return false;
    stat_add(&w->stats.expanded_requests, 1);
    stat_add(&w->stats.expanded_bytes, c->expanded_len);
    return true;
}
