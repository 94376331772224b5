/* HOT. See types.h. Open addressing, no deletion: types only come. */
#include "dataplane/types.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/crc32c.h"

struct types {
    const struct type_set *set;
    const struct live_settings *settings; /* that slots follow; NULL: none */
    uint64_t settings_version;            /* of what they say of types */
    uint32_t default_ppm;
    uint32_t max;
    uint32_t mask;
    uint32_t *index; /* hash table: slot number + 1; 0: empty */
    struct type_slot *slot;
    struct worker_type *shown;
    _Atomic uint32_t n;
    int default_time_path;
    struct type_slot unknown;
    struct worker_type unknown_shown;
};

static uint32_t index_slots(uint32_t types_max)
{
    uint32_t n = 16;

    while (n < 2 * types_max)
        n *= 2;
    return n;
}

uint64_t types_memory_bytes(uint32_t types_max)
{
    return sizeof(struct types) + (uint64_t)index_slots(types_max) * sizeof(uint32_t) +
           (uint64_t)types_max * (sizeof(struct type_slot) + sizeof(struct worker_type));
}

static void slot_fill(struct type_slot *s, struct worker_type *shown, struct span name,
                      const struct type_config *config)
{
    ASSERT(name.len <= TYPE_NAME_BYTES_MAX);
    memcpy(shown->name, name.ptr, name.len);
    shown->name_len = (uint8_t)name.len;
    s->config = config;
    s->shown = shown;
    s->sampling_ppm = LIVE_SAMPLING_ALL;
    s->events.name = (struct span){.ptr = shown->name, .len = name.len};
    s->events.kind = BLOCK_EVENT;
    s->events.schema_hash = config != NULL && config->schema != NULL ? config->schema->hash : 0;
    s->dead = s->events;
    s->dead.kind = BLOCK_DEAD;
    s->dead.schema_hash = 0;
}

int types_create(const struct type_set *set, uint32_t types_max, struct types **out)
{
    struct types *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return -ENOMEM;
    t->set = set;
    t->max = types_max > set->n_types ? types_max : set->n_types;
    t->mask = index_slots(t->max) - 1;
    t->default_time_path = -1;
    t->index = calloc(t->mask + 1, sizeof(*t->index));
    t->slot = calloc(t->max, sizeof(*t->slot));
    t->shown = calloc(t->max, sizeof(*t->shown));
    if (t->index == NULL || t->slot == NULL || t->shown == NULL) {
        types_destroy(t);
        return -ENOMEM;
    }
    slot_fill(&t->unknown, &t->unknown_shown, (struct span){"", 0}, NULL);
    for (uint32_t i = 0; i < set->n_types; i++) {
        struct type_slot *s = types_get(t, span_of(set->type[i].name));

        ASSERT(s != NULL);
    }
    *out = t;
    return 0;
}

void types_destroy(struct types *t)
{
    if (t == NULL)
        return;
    free(t->index);
    free(t->slot);
    free(t->shown);
    free(t);
}

/* What holds for a type's events. */
static void slot_follow(const struct types *t, struct type_slot *s)
{
    const struct live_type *own = live_type_find(t->settings, s->events.name);

    s->sampling_ppm = own != NULL ? own->sampling_ppm : t->default_ppm;
    ASSERT(s->sampling_ppm <= LIVE_SAMPLING_ALL);
}

static struct type_slot *slot_add(struct types *t, uint32_t at, struct span name)
{
    uint32_t n = atomic_load_explicit(&t->n, memory_order_relaxed);
    struct type_slot *s = &t->slot[n];

    if (n == t->max)
        return NULL;
    slot_fill(s, &t->shown[n], name, type_find(t->set, name));
    s->rows = type_has_rows(t->set, s->config);
    if (type_inserts(t->set, s->config))
        s->events.flags = BLOCK_RUN_INSERT; /* kept in the journal: a change of method is clean */
    s->time_path = t->default_time_path;
    if (t->settings != NULL)
        slot_follow(t, s);
    t->index[at] = n + 1;
    atomic_store_explicit(&t->n, n + 1, memory_order_release); /* partner: types_shown() */
    return s;
}

struct type_slot *types_get(struct types *t, struct span name)
{
    uint32_t at = crc32c(0, name.ptr, name.len) & t->mask;

    ASSERT_HOT(name.len > 0 && name.len <= TYPE_NAME_BYTES_MAX);
    for (; t->index[at] != 0; at = (at + 1) & t->mask) {
        struct type_slot *s = &t->slot[t->index[at] - 1];

        if (span_equal(s->events.name, name))
            return s;
    }
    return slot_add(t, at, name);
}

void types_follow(struct types *t, const struct live_settings *s)
{
    uint32_t n = atomic_load_explicit(&t->n, memory_order_relaxed);

    t->settings = s;
    if (s->types_version == t->settings_version)
        return;
    t->settings_version = s->types_version;
    t->default_ppm = s->worker.sampling_ppm;
    for (uint32_t i = 0; i < n; i++)
        slot_follow(t, &t->slot[i]);
}

struct type_slot *types_unknown(struct types *t)
{
    return &t->unknown;
}

const struct worker_type *types_shown(const struct types *t, uint32_t *n)
{
    *n = atomic_load_explicit(&t->n, memory_order_acquire); /* partner: slot_add() */
    return t->shown;
}

void types_set_time_path(struct types *t, int default_path,
                         int (*path_of)(void *ctx, const char *field), void *ctx)
{
    uint32_t n = atomic_load_explicit(&t->n, memory_order_relaxed);

    t->default_time_path = default_path;
    for (uint32_t i = 0; i < n; i++) {
        const struct type_config *c = t->slot[i].config;

        t->slot[i].time_path =
            c != NULL && c->time_field != NULL ? path_of(ctx, c->time_field) : default_path;
    }
}
