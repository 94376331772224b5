/* COLD. See gen_scenario.h. */
#include "tools/gen/gen_scenario.h"

#include <string.h>

#include "tools/gen/gen_assert.h"

#define SECONDS_A_MINUTE 60
#define ALL_TYPES        ((1U << GEN_TYPES) - 1)

struct scenario {
    const char *name;
    uint32_t events_per_minute;
    uint32_t minutes;
    uint32_t types; /* bit 1 << enum gen_type */
    const char *help;
};

static const struct scenario scenarios[] = {
    {"quick_sample", 12, 1, ALL_TYPES, "a handful, to see that everything is connected"},
    {"light_demo", 30, 5, ALL_TYPES, "a quiet shop"},
    {"moderate_load", 60, 10, ALL_TYPES, "a steady trickle"},
    {"heavy_load", 120, 15, ALL_TYPES, "a busy hour"},
    {"burst_test", 300, 3, ALL_TYPES, "a short peak"},
    {"sustained_demo", 90, 30, ALL_TYPES, "half an hour for dashboards"},
    {"stress_test", 600, 10, ALL_TYPES, "the heaviest of the ten"},
    {"orders_only", 60, 5, 1U << GEN_ORDER, "orders alone"},
    {"inventory_only", 60, 5, 1U << GEN_INVENTORY, "stock changes alone"},
    {"user_activity_only", 60, 5, 1U << GEN_USER_ACTIVITY, "visitors alone"},
};

enum { SCENARIOS = sizeof(scenarios) / sizeof(scenarios[0]) };

bool gen_scenario_apply(const char *name, struct gen_options *o)
{
    const struct scenario *s = scenarios;
    GEN_ASSERT(o->speed > 0);
    while (s < scenarios + SCENARIOS && strcmp(s->name, name) != 0) {
        s++;
    }
    if (s == scenarios + SCENARIOS) {
        return false;
    }
    o->rate = (double)s->events_per_minute / SECONDS_A_MINUTE * o->speed;
    o->duration_s = (double)s->minutes * SECONDS_A_MINUTE / o->speed;
    o->count = (uint64_t)s->events_per_minute * s->minutes;
    o->_count_given = true;
    for (uint32_t type = 0; type < GEN_TYPES; type++) {
        o->events.type_weights[type] = s->types >> type & 1;
    }
    return true;
}

void gen_scenario_list(FILE *to)
{
    GEN_ASSERT(SCENARIOS == 10);
    fprintf(to, "%-20s %12s %8s %8s  %-14s %s\n", "scenario", "events/min", "minutes", "total",
            "types", "");
    for (size_t i = 0; i < SCENARIOS; i++) {
        const struct scenario *s = &scenarios[i];
        const char *types = "all";
        for (uint32_t type = 0; type < GEN_TYPES; type++) {
            types = s->types == 1U << type ? gen_type_name(type) : types;
        }
        fprintf(to, "%-20s %12u %8u %8u  %-14s %s\n", s->name, s->events_per_minute, s->minutes,
                s->events_per_minute * s->minutes, types, s->help);
    }
}
