/* HOT. See group.h. */
#include "sinks/group.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/base/crc32c.h"
#include "dataplane/base/mem.h"
#include "dataplane/base/span.h"

#define BUCKETS 16384u

int chunk_pool_create(struct chunk_pool *p, uint64_t bytes)
{
    uint32_t n = (uint32_t)(bytes / CHUNK_BYTES);

    ASSERT(n > 0);
    *p = (struct chunk_pool){.memory_bytes = (uint64_t)n * CHUNK_BYTES, .n_total = n};
    p->memory = mem_reserve(p->memory_bytes);
    if (p->memory == NULL)
        return -ENOMEM;
    p->n_free = n;
    return 0;
}

int chunk_pool_populate(struct chunk_pool *p, const _Atomic bool *stop)
{
    ASSERT(p->memory != NULL);
    return mem_populate(p->memory, p->memory_bytes, stop);
}

void chunk_pool_destroy(struct chunk_pool *p)
{
    mem_release(p->memory, p->memory_bytes);
    p->memory = NULL;
}

uint32_t chunks_for(size_t len)
{
    return (uint32_t)(len / sizeof(((struct chunk *)NULL)->data)) + 2;
}

int group_table_create(struct group_table *t, struct chunk_pool *pool, uint32_t n_journals)
{
    *t = (struct group_table){.pool = pool, .n_journals = n_journals, .mask = BUCKETS - 1};
    t->bucket = calloc(BUCKETS, sizeof(struct group *));
    return t->bucket == NULL ? -ENOMEM : 0;
}

void group_table_destroy(struct group_table *t)
{
    while (t->bucket != NULL && t->oldest != NULL) {
        struct group *g = t->oldest;

        group_take(t, g);
        group_free(t->pool, g);
    }
    ASSERT(t->n == 0);
    free(t->bucket);
    t->bucket = NULL;
}

void plan_key_init(struct plan_key *key, struct span type, enum plan_kind kind)
{
    ASSERT(type.len <= TYPE_NAME_BYTES_MAX);
    memset(key, 0, sizeof(*key));
    key->kind = (uint8_t)kind;
    key->type_len = (uint8_t)type.len;
    memcpy(key->type, type.ptr, type.len);
}

static uint32_t key_hash(const struct plan_key *key)
{
    return crc32c(0, key, offsetof(struct plan_key, type) + key->type_len);
}

static bool key_equal(const struct plan_key *a, const struct plan_key *b)
{
    return memcmp(a, b, offsetof(struct plan_key, type)) == 0 &&
           memcmp(a->type, b->type, a->type_len) == 0;
}

struct group *group_new(const struct plan_key *key, uint32_t n_journals)
{
    struct group *g = calloc(1, sizeof(*g) + n_journals * sizeof(struct chain));

    if (g == NULL)
        return NULL;
    g->key = *key;
    g->n_journals = n_journals;
    return g;
}

struct group *group_find(const struct group_table *t, const struct plan_key *key)
{
    struct group *g = t->bucket[key_hash(key) & t->mask];

    while (g != NULL && !key_equal(&g->key, key))
        g = g->next_hash;
    return g;
}

struct group *group_get(struct group_table *t, const struct plan_key *key, int64_t now_us)
{
    struct group **bucket = &t->bucket[key_hash(key) & t->mask];
    struct group *g;

    for (g = *bucket; g != NULL; g = g->next_hash) {
        if (key_equal(&g->key, key))
            return g;
    }
    g = group_new(key, t->n_journals);
    if (g == NULL)
        return NULL;
    ASSERT(t->newest == NULL ||
           t->newest->opened_us <= now_us); /* plan_due() stops at a young one */
    g->opened_us = now_us;
    g->next_hash = *bucket;
    *bucket = g;
    g->prev = t->newest;
    *(g->prev != NULL ? &g->prev->next : &t->oldest) = g;
    t->newest = g;
    t->n++;
    return g;
}

/* Takes a group out of its bucket. */
static void bucket_remove(struct group_table *t, struct group *g)
{
    struct group **at = &t->bucket[key_hash(&g->key) & t->mask];

    while (*at != g) {
        ASSERT(*at != NULL);
        at = &(*at)->next_hash;
    }
    *at = g->next_hash;
}

void group_rename(struct group_table *t, struct group *g, uint32_t schema_hash)
{
    struct group **bucket;

    ASSERT(g->key.schema_hash != schema_hash);
    bucket_remove(t, g);
    g->key.schema_hash = schema_hash;
    bucket = &t->bucket[key_hash(&g->key) & t->mask];
    for (const struct group *other = *bucket; other != NULL; other = other->next_hash)
        ASSERT(!key_equal(&other->key, &g->key));
    g->next_hash = *bucket;
    *bucket = g;
}

void group_take(struct group_table *t, struct group *g)
{
    ASSERT(t->n > 0 && (g->prev != NULL || t->oldest == g));
    bucket_remove(t, g);
    *(g->prev != NULL ? &g->prev->next : &t->oldest) = g->next;
    *(g->next != NULL ? &g->next->prev : &t->newest) = g->prev;
    g->next_hash = g->prev = g->next = NULL;
    t->n--;
}

struct chunk *chunk_take(struct chunk_pool *pool)
{
    struct chunk *c = pool->free;

    if (pool->n_free == 0)
        return NULL;
    if (c != NULL) {
        pool->free = c->next;
    } else {
        ASSERT(pool->n_used < pool->n_total);
        c = (struct chunk *)(pool->memory + (uint64_t)pool->n_used++ * CHUNK_BYTES);
    }
    pool->n_free--;
    return c;
}

/* From the pool, or overdrawn: see group_write(). */
static struct chunk *chunk_get(struct chunk_pool *pool)
{
    struct chunk *c = chunk_take(pool);

    ASSERT_HOT(c != NULL || pool->n_free == 0);
    if (c == NULL) {
        c = malloc(sizeof(*c));
        ASSERT(c != NULL);
    }
    return c;
}

void chunk_give(struct chunk_pool *pool, struct chunk *c)
{
    if ((char *)c < pool->memory || (char *)c >= pool->memory + pool->memory_bytes) {
        free(c);
        return;
    }
    c->next = pool->free;
    pool->free = c;
    pool->n_free++;
    ASSERT(pool->n_free <= pool->n_total);
}

static struct chunk *chunk_add(struct chunk_pool *pool, struct group *g, struct chain *chain)
{
    struct chunk *c = chunk_get(pool);

    ASSERT_HOT((chain->first == NULL) == (chain->last == NULL));
    c->next = NULL;
    c->used = c->taken = 0;
    if (chain->last != NULL)
        chain->last->next = c;
    else
        chain->first = c;
    chain->last = c;
    g->n_chunks++;
    return c;
}

static void chain_copy(struct chunk_pool *pool, struct group *g, struct chain *chain,
                       struct span line)
{
    struct chunk *c = chain->last;

    while (line.len > 0) {
        size_t n;

        if (c == NULL || c->used == sizeof(c->data))
            c = chunk_add(pool, g, chain);
        n = sizeof(c->data) - c->used;
        n = n < line.len ? n : line.len;
        memcpy(c->data + c->used, line.ptr, n);
        c->used += (uint32_t)n;
        line.ptr += n;
        line.len -= n;
    }
}

void group_room(struct chunk_pool *pool, struct group *g, uint64_t bytes)
{
    struct chain *to = &g->chain[0];

    ASSERT(g->n_journals > 0 && g->n_chunks == 0);
    g->bytes = to->bytes = bytes;
    while (bytes > 0) {
        struct chunk *c = chunk_add(pool, g, to);

        c->used = (uint32_t)(bytes < sizeof(c->data) ? bytes : sizeof(c->data));
        bytes -= c->used;
    }
}

void group_write(struct chunk_pool *pool, struct group *g, struct chain *to, struct span bytes)
{
    ASSERT(to >= g->chain && to < g->chain + g->n_journals);
    chain_copy(pool, g, to, bytes);
    to->bytes += bytes.len;
    g->bytes += bytes.len;
}

void group_read(struct chunk_pool *pool, struct group *g, struct chain *from, char *buf, size_t n)
{
    ASSERT(n <= from->bytes && n <= g->bytes);
    from->bytes -= n;
    g->bytes -= n;
    while (n > 0) {
        struct chunk *c = from->first;
        size_t part = c->used - c->taken < n ? c->used - c->taken : n;

        ASSERT_HOT(c->taken <= c->used);

        memcpy(buf, c->data + c->taken, part);
        c->taken += (uint32_t)part;
        buf += part;
        n -= part;
        if (c->taken < c->used)
            return;
        from->first = c->next;
        chunk_give(pool, c);
        g->n_chunks--;
    }
    if (from->first == NULL)
        from->last = NULL;
}

/* The chain's range includes a line. */
static void chain_reach(struct chain *chain, const struct line_place *place)
{
    lsn_t lsn = place->block + place->offset;

    ASSERT_HOT(place->len > 0 && lsn >= chain->to); /* in the order of the journal */
    if (!chain_used(chain)) {
        chain->from = lsn;
        chain->from_block = place->block;
    }
    chain->to = lsn + place->len;
}

/* ---- lines that are left out ---- */

#define PAIR_BYTES 20u /* of the largest pair */

static void varint_put(struct skips *k, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        k->pairs[k->len++] = (uint8_t)(v | 0x80);
    k->pairs[k->len++] = (uint8_t)v;
}

static void skips_pair_end(struct group *g, struct skips *k)
{
    uint32_t before = k->len;

    ASSERT(k->len + PAIR_BYTES <= k->room);
    varint_put(k, k->kept);
    varint_put(k, k->skipped);
    k->kept = k->skipped = 0;
    g->skip_bytes += k->len - before;
}

bool group_skip_room(struct group *g, uint32_t journal)
{
    struct skips *k = &g->chain[journal].skips;
    uint32_t need = k->len + 2 * PAIR_BYTES;
    uint8_t *larger;

    ASSERT(journal < g->n_journals);
    if (need <= k->room)
        return true;
    need = need > 128 ? 2 * need : 128;
    larger = realloc(k->pairs, need);
    if (larger == NULL)
        return false;
    k->pairs = larger;
    k->room = need;
    return true;
}

void group_skip(struct group *g, const struct line_place *place, bool counts)
{
    struct chain *chain = &g->chain[place->journal];

    ASSERT(chain->skips.len + 2 * PAIR_BYTES <= chain->skips.room);
    if (counts) {
        chain_reach(chain, place);
        g->removed += place->counts ? 1 : 0;
    }
    if (chain_used(chain)) /* otherwise its range begins behind this line */
        chain->skips.skipped++;
}

void group_skips_end(struct group *g)
{
    for (uint32_t j = 0; j < g->n_journals; j++) {
        if (g->chain[j].skips.skipped > 0)
            skips_pair_end(g, &g->chain[j].skips);
    }
    ASSERT(g->skip_bytes <= SKIPS_BYTES_MAX);
}

static uint64_t varint_take(struct skip_reader *r)
{
    uint64_t v = 0;

    for (int shift = 0; r->pairs < r->end && shift < 64; shift += 7) {
        uint8_t b = *r->pairs++;

        v |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80)
            break;
    }
    return v;
}

bool skip_next(struct skip_reader *r)
{
    ASSERT_HOT(r->pairs <= r->end);
    while (r->_kept == 0 && r->_skipped == 0) {
        if (r->pairs >= r->end)
            return false;
        r->_kept = varint_take(r);
        r->_skipped = varint_take(r);
    }
    if (r->_kept > 0) {
        r->_kept--;
        return false;
    }
    r->_skipped--;
    return true;
}

void group_append(struct chunk_pool *pool, struct group *g, const struct line_place *place,
                  struct span line)
{
    struct chain *chain = &g->chain[place->journal];
    lsn_t lsn = place->block + place->offset;

    (void)lsn; /* without hot assertions */
    ASSERT_HOT(place->journal < g->n_journals && (!chain_used(chain) || lsn >= chain->to));
    ASSERT_HOT(pool->n_free * sizeof(struct chunk) >= line.len); /* the caller has looked */
    chain_reach(chain, place);
    chain_copy(pool, g, chain, line);
    if (unlikely(chain->skips.skipped > 0))
        skips_pair_end(g, &chain->skips);
    chain->skips.kept++;
    chain->bytes += line.len;
    g->bytes += line.len;
    g->lines++;
    g->events += place->counts ? 1 : 0;
}

uint32_t group_iovec(const struct group *g, struct iovec *iov)
{
    uint32_t n = 0;

    for (uint32_t j = 0; j < g->n_journals; j++) {
        for (struct chunk *c = g->chain[j].first; c != NULL; c = c->next)
            iov[n++] = (struct iovec){.iov_base = c->data, .iov_len = c->used};
    }
    ASSERT(n == g->n_chunks);
    return n;
}

/* Moves the cursor on to the next byte there is. @return false at the end. */
static bool cursor_settle(const struct group *g, struct group_cursor *c)
{
    ASSERT_HOT(c->_chunk == NULL || c->_at <= c->_chunk->used);
    if (!c->_begun) {
        c->_begun = true;
        c->_chunk = g->n_journals > 0 ? g->chain[0].first : NULL;
    }
    while (c->_chunk == NULL || c->_at == c->_chunk->used) {
        c->_at = 0;
        if (c->_chunk != NULL && c->_chunk->next != NULL) {
            c->_chunk = c->_chunk->next;
            continue;
        }
        if (c->_journal + 1 >= g->n_journals) {
            c->_chunk = NULL;
            return false;
        }
        c->_chunk = g->chain[++c->_journal].first;
    }
    return true;
}

size_t group_line_len(const struct group *g, struct group_cursor *c)
{
    const struct chunk *chunk;
    uint32_t at;
    size_t len = 0;

    if (!cursor_settle(g, c))
        return 0;
    chunk = c->_chunk;
    for (at = c->_at; chunk != NULL; chunk = chunk->next, at = 0) {
        const char *end = memchr(chunk->data + at, '\n', chunk->used - at);

        if (end != NULL)
            return len + (size_t)(end - (chunk->data + at)) + 1;
        len += chunk->used - at;
    }
    ASSERT(!"a line ends with a line break");
    return len;
}

void group_line_take(const struct group *g, struct group_cursor *c, size_t len, char *out)
{
    while (len > 0) {
        bool more = cursor_settle(g, c);
        size_t n;

        ASSERT(more);
        n = c->_chunk->used - c->_at;
        n = n < len ? n : len;
        if (out != NULL) {
            memcpy(out, c->_chunk->data + c->_at, n);
            out += n;
        }
        c->_at += (uint32_t)n;
        len -= n;
    }
}

uint32_t group_crc32c(const struct group *g)
{
    uint64_t bytes = 0;
    uint32_t crc = 0;

    for (uint32_t j = 0; j < g->n_journals; j++) {
        for (const struct chunk *c = g->chain[j].first; c != NULL; c = c->next) {
            crc = crc32c(crc, c->data, c->used);
            bytes += c->used;
        }
    }
    ASSERT(bytes == g->bytes);
    return crc;
}

void group_free(struct chunk_pool *pool, struct group *g)
{
    if (g == NULL)
        return;
    for (uint32_t j = 0; j < g->n_journals; j++) {
        while (g->chain[j].first != NULL) {
            struct chunk *c = g->chain[j].first;

            g->chain[j].first = c->next;
            chunk_give(pool, c);
        }
        free(g->chain[j].skips.pairs);
    }
    free(g);
}
