/* COLD. The reader's side of histogram.h. */
#include "dataplane/base/histogram.h"

static_assert((36 - 2) * 8 + 7 + 1 == HISTOGRAM_BUCKETS, "the largest value has the last bucket");

/* The largest value of a bucket. */
static uint64_t bucket_end(uint32_t bucket)
{
    uint32_t top = bucket / 8 + 2;

    ASSERT(bucket < HISTOGRAM_BUCKETS);
    if (bucket < 8)
        return bucket;
    return ((uint64_t)(8 + bucket % 8 + 1) << (top - 3)) - 1;
}

void histogram_read(const struct histogram *h, struct histogram_copy *to)
{
    ASSERT(to != NULL);
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t n = atomic_load_explicit(&h->_bucket[i], memory_order_relaxed);

        to->bucket[i] += n;
        to->n += n;
    }
    to->sum += atomic_load_explicit(&h->_sum, memory_order_relaxed);
}

void histogram_since(struct histogram_copy *now, const struct histogram_copy *earlier)
{
    ASSERT(now->n >= earlier->n);
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        now->bucket[i] -= earlier->bucket[i];
    now->n -= earlier->n;
    now->sum -= earlier->sum;
}

uint64_t histogram_quantile(const struct histogram_copy *c, double part)
{
    uint64_t seen = 0, want = (uint64_t)(part * (double)c->n);

    ASSERT(part >= 0 && part <= 1);
    want = (double)want < part * (double)c->n ? want + 1 : want;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS && c->n > 0; i++) {
        seen += c->bucket[i];
        if (seen > 0 && seen >= want)
            return bucket_end(i);
    }
    return 0;
}

uint64_t histogram_below(const struct histogram_copy *c, uint64_t power_of_two)
{
    uint64_t n = 0;

    ASSERT(power_of_two > 0 && (power_of_two & (power_of_two - 1)) == 0);
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS && bucket_end(i) < power_of_two; i++)
        n += c->bucket[i];
    return n;
}
