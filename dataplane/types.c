/* HOT. See types.h. Open addressing, no deletion: types only come. */
#include "dataplane/types.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/crc32c.h"
#include "dataplane/base/mem.h"

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
    s->listed = config != NULL;
    s->schema = config != NULL ? config->schema : NULL;
    s->strict = config != NULL && config->unknown == UNKNOWN_DEAD_LETTER;
    s->shown = shown;
    s->sampling_ppm = LIVE_SAMPLING_ALL;
    s->events.name = (struct span){.ptr = shown->name, .len = name.len};
    s->events.kind = BLOCK_EVENT;
    s->events.schema_hash = s->schema != NULL ? s->schema->hash : 0;
    s->dead = s->events;
    s->dead.kind = BLOCK_DEAD;
    s->dead.schema_hash = 0;
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

static struct type_slot *slot_add(struct types *t, uint32_t at, uint32_t hash, struct span name,
                                  const struct type_config *config)
{
    uint32_t n = atomic_load_explicit(&t->n, memory_order_relaxed);
    struct type_slot *s = &t->slot[n];

    if (n == t->max)
        return NULL;
    slot_fill(s, &t->shown[n], name, config);
    s->rows = type_has_rows(t->set, s->config);
    if (type_inserts(t->set, s->config))
        s->events.flags = BLOCK_RUN_INSERT; /* kept in the journal: a change of method is clean */
    s->time_path = (int8_t)t->default_time_path;
    if (t->settings != NULL)
        slot_follow(t, s);
    t->index[at] = (struct type_index){.hash = hash, .slot = n + 1};
    atomic_store_explicit(&t->n, n + 1, memory_order_release); /* partner: types_shown() */
    return s;
}

/* Where the name's entry is, or would be. */
static inline uint32_t index_find(const struct types *t, uint32_t hash, struct span name)
{
    uint32_t at = hash & t->mask;

    for (; t->index[at].slot != 0; at = (at + 1) & t->mask) {
        if (t->index[at].hash == hash &&
            span_equal(t->slot[t->index[at].slot - 1].events.name, name))
            break;
    }
    return at;
}

static void configured_add(struct types *t, const struct type_config *config)
{
    struct span name = span_of(config->name);
    uint32_t hash = crc32c(0, name.ptr, name.len), at = index_find(t, hash, name);
    const struct type_slot *s;

    ASSERT(t->index[at].slot == 0); /* each name once */
    s = slot_add(t, at, hash, name, config);
    ASSERT(s != NULL && s->config == config);
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
    for (uint32_t i = 0; i < set->n_types; i++)
        configured_add(t, &set->type[i]);
    *out = t;
    return 0;
}

/* Those that are configured are all here already. */
struct type_slot *types_get(struct types *t, struct span name)
{
    uint32_t hash = crc32c(0, name.ptr, name.len), at = index_find(t, hash, name);

    ASSERT_HOT(name.len > 0 && name.len <= TYPE_NAME_BYTES_MAX);
    if (unlikely(t->index[at].slot == 0))
        return slot_add(t, at, hash, name, NULL);
    return &t->slot[t->index[at].slot - 1];
}

/* The slot that an entry with this hash names: its name is still to be compared. NULL: none. */
static inline struct type_slot *slot_of_hash(const struct types *t, uint32_t hash)
{
    uint32_t at = hash & t->mask;

    while (t->index[at].slot != 0 && t->index[at].hash != hash)
        at = (at + 1) & t->mask;
    return t->index[at].slot != 0 ? &t->slot[t->index[at].slot - 1] : NULL;
}

/*
 * Three rounds, since where something lies is only known when what is in front of it is here. What the
 * second round reads of a slot and the third of its name are loads that do not wait for each other:
 * prefetches alone are given up when an address is not in the TLB.
 */
void types_find(const struct types *t, const struct span *name, uint32_t n, struct type_slot **out)
{
    uint32_t hash[TYPES_AT_ONCE_MAX];

    ASSERT_HOT(n <= TYPES_AT_ONCE_MAX);
    for (uint32_t i = 0; i < n; i++) {
        hash[i] = crc32c(0, name[i].ptr, name[i].len);
        __builtin_prefetch(&t->index[hash[i] & t->mask]);
    }
    for (uint32_t i = 0; i < n; i++) {
        struct type_slot *s = slot_of_hash(t, hash[i]);

        out[i] = s != NULL && s->events.name.len == name[i].len ? s : NULL;
        if (s != NULL)
            __builtin_prefetch(&t->shown[s - t->slot], 1);
        if (out[i] != NULL && s->schema != NULL)
            __builtin_prefetch(&s->schema->program);
    }
    for (uint32_t i = 0; i < n; i++) {
        if (out[i] != NULL && !span_equal(out[i]->events.name, name[i]))
            out[i] = NULL; /* types_get() looks further */
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

const struct live_settings *types_refusing(const struct types *t)
{
    ASSERT_HOT(t != NULL);
    return t->settings != NULL && t->settings->n_refused > 0 ? t->settings : NULL;
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

    static_assert(JSON_PATHS_MAX <= INT8_MAX, "numbers of paths");
    ASSERT(default_path >= -1 && default_path < JSON_PATHS_MAX);
    t->default_time_path = default_path;
    for (uint32_t i = 0; i < n; i++) {
        const struct type_config *c = t->slot[i].config;

        t->slot[i].time_path =
            (int8_t)(c != NULL && c->time_field != NULL ? path_of(ctx, c->time_field)
                                                        : default_path);
    }
}
