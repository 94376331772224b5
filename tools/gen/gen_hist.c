/* HOT. See gen_hist.h. */
#include "tools/gen/gen_hist.h"

#include <math.h>

#include "tools/gen/gen_assert.h"

#define STEP_BUCKETS (1U << (GEN_HIST_LINEAR_BITS - 3)) /* of one step of gen_hist_next() */
#define VALUE_MAX    ((UINT64_C(1) << GEN_HIST_VALUE_BITS) - 1)

/* Values below 2^7 have a bucket each; above, the 7 bits after the leading one choose the bucket.
 */
static uint32_t bucket_of(uint64_t value)
{
    if (value < (1U << GEN_HIST_LINEAR_BITS)) {
        return (uint32_t)value;
    }
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(value) - GEN_HIST_LINEAR_BITS;
    return (shift << GEN_HIST_LINEAR_BITS) + (uint32_t)(value >> shift);
}

/* Largest value that falls into a bucket. */
static uint64_t bucket_top(uint32_t bucket)
{
    if (bucket < (2U << GEN_HIST_LINEAR_BITS)) {
        return bucket;
    }
    uint32_t shift = (bucket >> GEN_HIST_LINEAR_BITS) - 1;
    uint64_t base = bucket - (shift << GEN_HIST_LINEAR_BITS);
    return ((base + 1) << shift) - 1;
}

void gen_hist_add(struct gen_hist *h, int64_t ns)
{
    uint64_t value = ns > 0 ? (uint64_t)ns : 0;
    uint32_t bucket = bucket_of(value < VALUE_MAX ? value : VALUE_MAX);
    GEN_ASSERT(bucket < GEN_HIST_BUCKETS);
    h->_buckets[bucket]++;
    h->count++;
    if (ns > h->max_ns) {
        h->max_ns = ns;
    }
}

void gen_hist_merge(struct gen_hist *h, const struct gen_hist *from)
{
    for (uint32_t i = 0; i < GEN_HIST_BUCKETS; i++) {
        h->_buckets[i] += from->_buckets[i];
    }
    h->count += from->count;
    if (from->max_ns > h->max_ns) {
        h->max_ns = from->max_ns;
    }
}

int64_t gen_hist_percentile(const struct gen_hist *h, double percent)
{
    uint64_t seen = 0;
    uint64_t wanted = (uint64_t)ceil((double)h->count * percent / 100.0);
    GEN_ASSERT(percent >= 0.0 && percent <= 100.0);
    for (uint32_t i = 0; i < GEN_HIST_BUCKETS; i++) {
        seen += h->_buckets[i];
        if (seen >= wanted && seen > 0) {
            int64_t top = (int64_t)bucket_top(i);
            return top < h->max_ns ? top : h->max_ns;
        }
    }
    return h->max_ns;
}

bool gen_hist_next(const struct gen_hist *h, struct gen_hist_step *step)
{
    GEN_ASSERT(step->_bucket % STEP_BUCKETS == 0);
    step->count = 0;
    while (step->count == 0) {
        if (step->_bucket == GEN_HIST_BUCKETS) {
            return false;
        }
        for (uint32_t i = 0; i < STEP_BUCKETS; i++) {
            step->count += h->_buckets[step->_bucket++];
        }
    }
    step->top_ns = (int64_t)bucket_top(step->_bucket - 1);
    return true;
}
