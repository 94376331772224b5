/* HOT. See pack.h. */
#include "sinks/pack.h"

#include <errno.h>
#include <stdlib.h>
#include <zlib.h>

#include "dataplane/base/crc32c.h"

#define WINDOW_GZIP 31 /* 32 KiB, with a gzip header */
#define MEMORY      8  /* zlib's default */

struct packer {
    struct chunk_pool *pool;
    z_stream z;
    bool z_ready;
    int level;
    struct group *group; /* NULL: idle */
    uint32_t journal;    /* whose chain is being read */
    uint32_t at;         /* in its first chunk */
    bool ending;         /* everything is read */
    struct chunk *first, *last;
    uint32_t n_chunks;
    struct pack_summary sum;
};

int packer_create(struct chunk_pool *pool, struct packer **out)
{
    struct packer *p = calloc(1, sizeof(*p));

    ASSERT(pool != NULL);
    if (p == NULL)
        return -ENOMEM;
    p->pool = pool;
    *out = p;
    return 0;
}

void packer_destroy(struct packer *p)
{
    if (p == NULL)
        return;
    while (p->first != NULL) {
        struct chunk *c = p->first;

        p->first = c->next;
        chunk_give(p->pool, c);
    }
    ASSERT(p->z_ready || p->group == NULL);
    if (p->z_ready)
        deflateEnd(&p->z);
    free(p);
}

int packer_begin(struct packer *p, struct group *g, int level)
{
    ASSERT(p->group == NULL && p->first == NULL && g->n_chunks > 0);
    if (p->z_ready && p->level != level) {
        deflateEnd(&p->z);
        p->z_ready = false;
    }
    if (!p->z_ready) {
        p->z = (z_stream){.zalloc = Z_NULL};
        if (deflateInit2(&p->z, level, Z_DEFLATED, WINDOW_GZIP, MEMORY, Z_DEFAULT_STRATEGY) != Z_OK)
            return -ENOMEM;
        p->z_ready = true;
        p->level = level;
    } else {
        deflateReset(&p->z);
    }
    p->group = g;
    p->journal = p->at = p->n_chunks = 0;
    p->ending = false;
    p->sum = (struct pack_summary){0};
    p->z.avail_in = p->z.avail_out = 0;
    return 0;
}

bool packer_busy(const struct packer *p)
{
    return p->group != NULL;
}

/* Room for output. @return false when no chunk is free. */
static bool room(struct packer *p)
{
    struct chunk *c;

    ASSERT((p->first == NULL) == (p->last == NULL));
    if (p->z.avail_out > 0)
        return true;
    c = chunk_take(p->pool);
    if (c == NULL)
        return false;
    ASSERT(p->z.avail_out == 0);
    c->next = NULL;
    c->used = 0;
    if (p->last != NULL)
        p->last->next = c;
    else
        p->first = c;
    p->last = c;
    p->n_chunks++;
    p->z.next_out = (Bytef *)c->data;
    p->z.avail_out = sizeof(c->data);
    return true;
}

/* The next input, at most max bytes; a chunk that was read goes back first. */
static void feed_input(struct packer *p, size_t max)
{
    struct chain *chain = &p->group->chain[p->journal];

    ASSERT(p->z.avail_in == 0);
    if (chain->first != NULL && p->at == chain->first->used) {
        struct chunk *c = chain->first;

        chain->first = c->next;
        p->at = 0;
        p->group->n_chunks--;
        chunk_give(p->pool, c);
    }
    while (chain->first == NULL && p->journal + 1 < p->group->n_journals) {
        chain->last = NULL;
        chain = &p->group->chain[++p->journal];
    }
    if (chain->first == NULL) {
        chain->last = NULL;
        p->ending = true;
        return;
    }
    p->z.next_in = (Bytef *)chain->first->data + p->at;
    p->z.avail_in = chain->first->used - p->at < max ? chain->first->used - p->at : (uInt)max;
    p->sum.plain_crc32c = crc32c(p->sum.plain_crc32c, p->z.next_in, p->z.avail_in);
    p->sum.plain_bytes += p->z.avail_in;
    p->at += p->z.avail_in;
}

/* The group gets what came out in place of what it held. */
static void finish(struct packer *p, struct pack_summary *out)
{
    struct group *g = p->group;

    ASSERT(g->n_chunks == 0 && p->last != NULL);
    g->chain[0].first = p->first;
    g->chain[0].last = p->last;
    g->n_chunks = p->n_chunks;
    for (const struct chunk *c = p->first; c != NULL; c = c->next) {
        p->sum.crc32c = crc32c(p->sum.crc32c, c->data, c->used);
        p->sum.bytes += c->used;
    }
    p->first = p->last = NULL;
    p->group = NULL;
    *out = p->sum;
}

enum pack_result packer_step(struct packer *p, struct pack_summary *out)
{
    size_t left = PACK_STEP_BYTES;

    ASSERT(p->group != NULL && p->z_ready);
    while (left > 0) {
        int rc;

        if (p->z.avail_in == 0 && !p->ending) {
            feed_input(p, left);
            left -= p->z.avail_in;
        }
        if (!room(p))
            return PACK_WAIT;
        rc = deflate(&p->z, p->ending ? Z_FINISH : Z_NO_FLUSH);
        p->last->used = (uint32_t)(sizeof(p->last->data) - p->z.avail_out);
        if (rc == Z_STREAM_END) {
            finish(p, out);
            return PACK_DONE;
        }
        ASSERT(rc == Z_OK || rc == Z_BUF_ERROR); /* nothing else without a mistake of ours */
    }
    return PACK_MORE;
}
