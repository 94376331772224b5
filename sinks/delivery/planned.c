/* COLD. See planned.h. */
#include "sinks/delivery/planned.h"

#include <stdlib.h>
#include <string.h>

#include "sinks/delivery/idmap.h"

#define SLOTS_MIN 64

/* FNV-1a over the key's bytes; keys are zero behind the type name. */
static uint64_t hash_of(const struct plan_key *key, uint32_t journal)
{
    const uint8_t *p = (const uint8_t *)key;
    uint64_t h = 0xcbf29ce484222325ULL ^ journal;

    ASSERT(key->type_len <= TYPE_NAME_BYTES_MAX);
    for (size_t i = 0; i < offsetof(struct plan_key, type) + key->type_len; i++)
        h = (h ^ p[i]) * 0x100000001b3ULL;
    return hash_mix(h);
}

static bool same(const struct planned_entry *e, uint64_t hash, const struct plan_key *key,
                 uint32_t journal)
{
    return e->hash == hash && e->journal == journal && memcmp(&e->key, key, sizeof(*key)) == 0;
}

static size_t find(const struct planned_map *m, uint64_t hash, const struct plan_key *key,
                   uint32_t journal)
{
    size_t i = (size_t)hash & (m->slots - 1);

    ASSERT(2 * m->count <= m->slots); /* there is an empty slot to end at */
    while (m->slot[i] != NULL && !same(m->slot[i], hash, key, journal))
        i = (i + 1) & (m->slots - 1);
    return i;
}

lsn_t planned_get(const struct planned_map *m, const struct plan_key *key, uint32_t journal)
{
    size_t i;

    ASSERT(key->type_len <= TYPE_NAME_BYTES_MAX);
    if (m->slots == 0)
        return 0;
    i = find(m, hash_of(key, journal), key, journal);
    return m->slot[i] == NULL ? 0 : m->slot[i]->to;
}

/* Moves the entries for which keep() says so into a table of slots; frees the others. */
static void rebuild(struct planned_map *m, size_t slots, uint32_t journal, lsn_t floor)
{
    struct planned_map next = {.slots = slots};

    next.slot = calloc(slots, sizeof(struct planned_entry *));
    ASSERT(next.slot != NULL);
    for (size_t i = 0; i < m->slots; i++) {
        struct planned_entry *e = m->slot[i];

        if (e == NULL)
            continue;
        if (e->journal == journal && e->to <= floor) {
            free(e);
            continue;
        }
        next.slot[find(&next, e->hash, &e->key, e->journal)] = e;
        next.count++;
    }
    ASSERT(next.count <= m->count && 2 * next.count <= slots);
    free(m->slot);
    *m = next;
}

void planned_raise(struct planned_map *m, const struct plan_key *key, uint32_t journal, lsn_t to)
{
    uint64_t hash = hash_of(key, journal);
    struct planned_entry *e;
    size_t i;

    ASSERT(key->type_len <= TYPE_NAME_BYTES_MAX);
    if (2 * (m->count + 1) > m->slots)
        rebuild(m, m->slots == 0 ? SLOTS_MIN : 2 * m->slots, UINT32_MAX, 0);
    i = find(m, hash, key, journal);
    if (m->slot[i] == NULL) {
        e = must_malloc(sizeof(*e));
        *e = (struct planned_entry){.hash = hash, .to = to, .journal = journal, .key = *key};
        m->slot[i] = e;
        m->count++;
    } else if (m->slot[i]->to < to) {
        m->slot[i]->to = to;
    }
}

void planned_drop(struct planned_map *m, uint32_t journal, lsn_t floor)
{
    bool any = false;
    size_t slots;

    for (size_t i = 0; i < m->slots && !any; i++)
        any = m->slot[i] != NULL && m->slot[i]->journal == journal && m->slot[i]->to <= floor;
    if (!any)
        return;
    slots = m->slots;
    while (slots > SLOTS_MIN && 8 * m->count < slots)
        slots /= 2;
    rebuild(m, slots, journal, floor);
    ASSERT(2 * m->count <= m->slots);
}

static int by_journal_and_key(const void *a, const void *b)
{
    const struct planned_entry *x = *(struct planned_entry *const *)a;
    const struct planned_entry *y = *(struct planned_entry *const *)b;

    if (x->journal != y->journal)
        return x->journal < y->journal ? -1 : 1;
    return memcmp(&x->key, &y->key, sizeof(x->key));
}

struct planned_entry **planned_sorted(const struct planned_map *m)
{
    struct planned_entry **out;
    size_t n = 0;

    if (m->count == 0)
        return NULL;
    out = must_malloc(m->count * sizeof(struct planned_entry *));
    for (size_t i = 0; i < m->slots; i++) {
        if (m->slot[i] != NULL)
            out[n++] = m->slot[i];
    }
    ASSERT(n == m->count);
    qsort(out, n, sizeof(struct planned_entry *), by_journal_and_key);
    return out;
}

void planned_fini(struct planned_map *m)
{
    ASSERT(m != NULL);
    for (size_t i = 0; i < m->slots; i++)
        free(m->slot[i]);
    free(m->slot);
    *m = (struct planned_map){0};
}
