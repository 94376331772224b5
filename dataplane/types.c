/* HOT. See types.h. Open addressing, no deletion: types only come. */
#include "dataplane/types.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/crc32c.h"
#include "dataplane/base/mem.h"

#define FEW_TYPES 128 /* that the caches hold anyway */

/* An entry of the hash table: a slot is only looked at when the whole hash is its name's. */
struct type_index {
    uint32_t hash;
    uint32_t slot; /* number + 1; 0: empty */
};

struct types {
    const struct type_set *set;
    const struct live_settings *settings; /* that slots follow; NULL: none */
    uint64_t settings_version;            /* of what they say of types */
    uint32_t default_ppm;
    uint32_t max;
    uint32_t mask;
    void *memory; /* of the arrays */
    size_t memory_bytes;
    struct type_index *index; /* hash table */
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

static size_t arrays_bytes(uint32_t types_max)
{
    return (size_t)types_max * (sizeof(struct type_slot) + sizeof(struct worker_type)) +
           (size_t)index_slots(types_max) * sizeof(struct type_index);
}

uint64_t types_memory_bytes(uint32_t types_max)
{
    return sizeof(struct types) + arrays_bytes(types_max);
}

/* One piece of memory, in large pages where there are any: many types would need as many entries for
 * their small ones. */
static int arrays_create(struct types *t)
{
    char *at;

    ASSERT(t->max > 0);
    t->memory_bytes = arrays_bytes(t->max);
    t->memory = at = mem_reserve(t->memory_bytes);
    if (at == NULL)
        return -ENOMEM;
    t->slot = (struct type_slot *)at;
    at += t->max * sizeof(*t->slot);
    t->shown = (struct worker_type *)at;
    at += t->max * sizeof(*t->shown);
    t->index = (struct type_index *)at;
    return 0;
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
    struct types *t = aligned_alloc(CACHE_LINE_BYTES, sizeof(*t));

    static_assert(sizeof(*t) % CACHE_LINE_BYTES == 0, "as aligned_alloc() wants it");
    if (t == NULL)
        return -ENOMEM;
    memset(t, 0, sizeof(*t));
    t->set = set;
    t->max = types_max > set->n_types ? types_max : set->n_types;
    t->mask = index_slots(t->max) - 1;
    t->default_time_path = -1;
    if (arrays_create(t) != 0) {
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

int types_populate(struct types *t)
{
    ASSERT(t->memory != NULL);
    return mem_populate(t->memory, t->memory_bytes, NULL);
}

void types_destroy(struct types *t)
{
    if (t == NULL)
        return;
    mem_release(t->memory, t->memory_bytes);
    free(t);
}

/* What holds for a type's events. */
static void slot_follow(const struct types *t, struct type_slot *s)
{
    const struct live_type *own = live_type_find(t->settings, s->events.name);

    s->sampling_ppm = own != NULL ? own->sampling_ppm : t->default_ppm;
    ASSERT(s->sampling_ppm <= LIVE_SAMPLING_ALL);
}

static struct type_slot *slot_add(struct types *t, uint32_t at, uint32_t hash, struct span name)
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
    t->index[at] = (struct type_index){.hash = hash, .slot = n + 1};
    atomic_store_explicit(&t->n, n + 1, memory_order_release); /* partner: types_shown() */
    return s;
}

struct type_slot *types_get(struct types *t, struct span name)
{
    uint32_t hash = crc32c(0, name.ptr, name.len), at = hash & t->mask;

    ASSERT_HOT(name.len > 0 && name.len <= TYPE_NAME_BYTES_MAX);
    for (; t->index[at].slot != 0; at = (at + 1) & t->mask) {
        struct type_slot *s = &t->slot[t->index[at].slot - 1];

        if (t->index[at].hash == hash && span_equal(s->events.name, name))
            return s;
    }
    return slot_add(t, at, hash, name);
}

bool types_many(const struct types *t)
{
    ASSERT_HOT(t->max > 0);
    return atomic_load_explicit(&t->n, memory_order_relaxed) > FEW_TYPES;
}

/* Two rounds: where a slot lies is only known when its entry is here. */
void types_expect(const struct types *t, const struct span *name, uint32_t n)
{
    uint32_t hash[TYPES_AHEAD_MAX];

    ASSERT_HOT(n <= TYPES_AHEAD_MAX);
    for (uint32_t i = 0; i < n; i++) {
        hash[i] = crc32c(0, name[i].ptr, name[i].len);
        __builtin_prefetch(&t->index[hash[i] & t->mask]);
    }
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = hash[i] & t->mask, slot;

        while (t->index[at].slot != 0 && t->index[at].hash != hash[i])
            at = (at + 1) & t->mask;
        if (t->index[at].slot == 0) /* a new one */
            continue;
        slot = t->index[at].slot - 1;
        __builtin_prefetch(&t->slot[slot], 1);
        __builtin_prefetch(&t->slot[slot].config);
        __builtin_prefetch(&t->shown[slot], 1);
    }
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
