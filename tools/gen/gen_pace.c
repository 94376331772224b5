/* HOT. See gen_pace.h. */
#include "tools/gen/gen_pace.h"

#include "tools/gen/gen_assert.h"

void gen_pace_init(struct gen_pace *p, int64_t start_ns, double events_per_s, uint32_t batch,
                   uint32_t index, uint32_t threads)
{
    GEN_ASSERT(events_per_s > 0 && batch > 0);
    GEN_ASSERT(index < threads);
    p->_start_ns = start_ns;
    p->_interval_ns = 1e9 * batch / events_per_s;
    p->_next = index;
    p->_stride = threads;
}

int64_t gen_pace_due_ns(const struct gen_pace *p)
{
    /* From the start each time, so that rounding does not add up. */
    return p->_start_ns + (int64_t)((double)p->_next * p->_interval_ns);
}

void gen_pace_advance(struct gen_pace *p)
{
    p->_next += p->_stride;
}
