/* COLD. See gen_stats.h. */
#include "tools/gen/gen_stats.h"

#include "tools/gen/gen_assert.h"

static const char *const names[GEN_COUNTERS_COUNT] = {
#define X(name) #name,
    GEN_COUNTERS(X)
#undef X
};

const char *gen_stats_name(enum gen_counter counter)
{
    GEN_ASSERT(counter < GEN_COUNTERS_COUNT);
    return names[counter];
}

void gen_stats_merge_counters(struct gen_stats *s, const struct gen_stats *from)
{
    for (enum gen_counter i = 0; i < GEN_COUNTERS_COUNT; i++) {
        gen_stats_add(s, i, gen_stats_get(from, i));
    }
}

void gen_stats_merge_statuses(struct gen_stats *s, const struct gen_stats *from)
{
    for (int status = 0; status < GEN_STATUS_MAX; status++) {
        s->events_by_status[status] += from->events_by_status[status];
    }
}
