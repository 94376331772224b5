/* COLD. See gcs_ramp.h. All orders are relaxed: each field stands for itself, and a moment more or
 * less does not matter. */
#include "sinks/gcs/gcs_ramp.h"

#define RELAXED memory_order_relaxed

void gcs_ramp_init(struct gcs_ramp *r, uint64_t base_per_s, int64_t now_us)
{
    ASSERT(base_per_s > 0 && base_per_s <= RAMP_PER_S_MAX);
    r->base_per_s = base_per_s;
    atomic_init(&r->per_s, base_per_s);
    atomic_init(&r->next_ns, (now_us - RAMP_BURST_US) * 1000);
    atomic_init(&r->minute_us, now_us);
    atomic_init(&r->used, 0);
    atomic_init(&r->full, 0);
    atomic_init(&r->slack, 0);
    atomic_init(&r->fell_us, 0);
}

uint64_t gcs_ramp_limit(const struct gcs_ramp *r)
{
    return atomic_load_explicit(&r->per_s, RELAXED);
}

static void halve(struct gcs_ramp *r)
{
    uint64_t half = gcs_ramp_limit(r) / 2;

    ASSERT(r->base_per_s > 0);
    atomic_store_explicit(&r->per_s, half > r->base_per_s ? half : r->base_per_s, RELAXED);
    atomic_store_explicit(&r->full, 0, RELAXED);
    atomic_store_explicit(&r->slack, 0, RELAXED);
}

/* What the minutes that have ended say. Only the thread that ends them runs this. */
static void minutes_judge(struct gcs_ramp *r, int64_t minutes, uint64_t used)
{
    uint64_t limit = gcs_ramp_limit(r), room = limit * 60 * (uint64_t)minutes;

    ASSERT(minutes > 0);
    if (minutes == 1 && used * 10 >= room * 9) {
        atomic_store_explicit(&r->slack, 0, RELAXED);
        if (atomic_fetch_add_explicit(&r->full, 1, RELAXED) + 1 < RAMP_MINUTES)
            return;
        atomic_store_explicit(&r->full, 0, RELAXED);
        limit = 2 * limit < RAMP_PER_S_MAX ? 2 * limit : RAMP_PER_S_MAX;
        atomic_store_explicit(&r->per_s, limit, RELAXED);
        return;
    }
    atomic_store_explicit(&r->full, 0, RELAXED);
    if (used * 2 >= room) {
        atomic_store_explicit(&r->slack, 0, RELAXED);
        return;
    }
    minutes += atomic_load_explicit(&r->slack, RELAXED);
    for (; minutes >= RAMP_MINUTES && gcs_ramp_limit(r) > r->base_per_s; minutes -= RAMP_MINUTES)
        halve(r);
    atomic_store_explicit(&r->slack, (uint32_t)(minutes % RAMP_MINUTES), RELAXED);
}

static void minute_end(struct gcs_ramp *r, int64_t now_us)
{
    int64_t began = atomic_load_explicit(&r->minute_us, RELAXED);
    int64_t minutes = (now_us - began) / RAMP_MINUTE_US;

    ASSERT(began >= 0);
    if (minutes < 1 || !atomic_compare_exchange_strong_explicit(&r->minute_us, &began,
                                                                began + minutes * RAMP_MINUTE_US,
                                                                RELAXED, RELAXED))
        return; /* or another thread ended it */
    minutes_judge(r, minutes, atomic_exchange_explicit(&r->used, 0, RELAXED));
}

int64_t gcs_ramp_take(struct gcs_ramp *r, int64_t now_us)
{
    int64_t next = atomic_load_explicit(&r->next_ns, RELAXED), now_ns = now_us * 1000, at;

    minute_end(r, now_us);
    do {
        int64_t oldest = now_ns - RAMP_BURST_US * 1000;

        at = next > oldest ? next : oldest;
    } while (!atomic_compare_exchange_weak_explicit(
        &r->next_ns, &next, at + INT64_C(1000000000) / (int64_t)gcs_ramp_limit(r), RELAXED,
        RELAXED));
    atomic_fetch_add_explicit(&r->used, 1, RELAXED);
    ASSERT(gcs_ramp_limit(r) > 0);
    return at <= now_ns ? 0 : (at - now_ns) / 1000 + 1;
}

void gcs_ramp_refused(struct gcs_ramp *r, int64_t now_us)
{
    int64_t fell = atomic_load_explicit(&r->fell_us, RELAXED);

    ASSERT(now_us > 0);
    if (fell != 0 && now_us - fell < RAMP_FALL_US)
        return; /* the same overload */
    if (atomic_compare_exchange_strong_explicit(&r->fell_us, &fell, now_us, RELAXED, RELAXED))
        halve(r);
}
