/*
 * HOT. The share of what waits on disk. While events come in, a sink thread that has a backlog would read,
 * parse and send without a pause, and take processor and disk from the workers that answer clients. So what
 * it takes back from journals gets a part of its time, sinks.backlog_share, in slices:
 *
 *     SLICE_US of blocks from disk ─> a pause of SLICE_US * (1 - share) / share ─> the next slice
 *
 * Blocks that lanes hand over are no backlog. There is no pause when nothing comes in, when a journal is
 * more than half full (then it is the backlog that endangers the clients), and while somebody waits for
 * a flush.
 */
#include "dataplane/base/clock.h"
#include "sinks/sink_internal.h"

#define SHARE_ALL 1000000u /* parts per million */
#define SLICE_US  10000
#define LOOK_US   100000
#define LIVE_US   1000000 /* events came in lately */

/* Whether events come in, and all journals have room. */
static void look(struct sink *s)
{
    bool half_full = false;

    s->backlog_look_us = s->now_us + LOOK_US;
    for (uint32_t i = 0; i < s->n_feeds; i++) {
        struct feed *f = &s->feed[i];
        lsn_t durable = journal_durable(f->journal);

        if (f->seen_durable != 0 && durable != f->seen_durable)
            s->live_us = s->now_us;
        f->seen_durable = durable;
        half_full |= journal_half_full(f->journal);
    }
    ASSERT(s->config.backlog_share_ppm <= SHARE_ALL);
    s->backlog_shares = !half_full && s->live_us != 0 && s->now_us - s->live_us < LIVE_US;
}

bool backlog_may_read(struct sink *s)
{
    uint32_t share = s->config.backlog_share_ppm;

    if (share == 0 || share == SHARE_ALL)
        return true;
    if (s->now_us >= s->backlog_look_us)
        look(s);
    if (!s->backlog_shares || atomic_load_explicit(&s->command, memory_order_relaxed) != 0)
        return true;
    ASSERT(share < SHARE_ALL);
    return s->now_us >= s->backlog_until_us;
}

void backlog_took(struct sink *s, int64_t us)
{
    uint32_t share = s->config.backlog_share_ppm;

    ASSERT(us >= 0);
    if (share == 0 || share == SHARE_ALL)
        return;
    s->backlog_spent_us += us;
    if (s->backlog_spent_us < SLICE_US)
        return;
    s->backlog_until_us = clock_monotonic_us() + s->backlog_spent_us * (SHARE_ALL - share) / share;
    s->backlog_spent_us = 0;
    if (s->backlog_shares)
        stat_add(&s->stats.backlog_pauses, 1);
}

int64_t backlog_sleep_us(const struct sink *s, int64_t most_us)
{
    int64_t left = s->backlog_until_us - s->now_us;

    ASSERT(most_us > 0);
    return left > 0 && left < most_us ? left : most_us;
}
