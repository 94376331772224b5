/*
 * HOT. The open containers of a document that is read from its first byte to its last, and the members
 * that are picked on the way: for the scalar scanner, and for vector variants where a document has too
 * many tokens to be kept. Compiled into each of them.
 */
#ifndef PENSTOCK_JSON_NEST_H
#define PENSTOCK_JSON_NEST_H

#include "dataplane/json/json_internal.h"
#include "dataplane/json/walk.h"

/* The open containers and the paths that matter to them. */
struct nest {
    uint64_t kinds; /* bit 0 is the innermost container; 1 = object */
    unsigned depth;
    uint16_t live;  /* paths that may match a key of the innermost container */
    uint16_t found; /* paths that end at the value to come */
    uint16_t under; /* paths that lead into the value to come */
    struct {
        uint16_t live;  /* of the container around */
        uint16_t found; /* paths whose value is this container */
        const char *start;
    } frame[JSON_DEPTH_MAX];
};

/* Compares a key with the paths that may match here, and says where the value to come belongs. A
 * path is forgotten when a key on its way repeats: the last member counts. */
static __attribute__((noinline)) void nest_key(const struct json_scan *s, struct nest *n,
                                               struct span raw)
{
    const struct json_pick *pick = s->pick;
    const unsigned level = n->depth - 1;
    uint16_t maybe = n->live;

    ASSERT_HOT(level < JSON_PATH_KEYS_MAX);
    if (!s->escaped)
        maybe &= pick->by_len[level][raw.len % PICK_LENGTHS];
    while (maybe != 0) {
        const unsigned i = (unsigned)__builtin_ctz(maybe);
        const struct json_path *path = &pick->paths->path[i];
        const struct span key = {.ptr = path->key[level], .len = path->key_len[level]};

        maybe &= (uint16_t)(maybe - 1);
        if (!json_key_equal(raw, s->escaped, key))
            continue;
        s->field[i].type = JSON_ABSENT;
        if (path->n_keys == level + 1)
            n->found |= (uint16_t)(1u << i);
        else
            n->under |= (uint16_t)(1u << i);
    }
}

static __attribute__((noinline)) void nest_fields(const struct json_scan *s, uint16_t found,
                                                  const char *start, const char *past, uint8_t type)
{
    for (; found != 0; found &= (uint16_t)(found - 1)) {
        struct json_field *f = &s->field[__builtin_ctz(found)];

        f->offset = (uint32_t)(start - s->doc);
        f->len = (uint32_t)(past - start);
        f->type = type;
    }
}

/* p is at the opening bracket. */
static inline void nest_open(struct nest *n, const char *p)
{
    const bool object = *p == '{';

    n->frame[n->depth].live = n->live;
    n->frame[n->depth].found = n->found;
    n->frame[n->depth].start = p;
    n->kinds = n->kinds << 1 | object;
    n->depth++;
    n->live = object ? n->under : 0;
    n->found = 0;
    n->under = 0;
}

/* p is past the closing bracket. */
static inline void nest_close(const struct json_scan *s, struct nest *n, const char *p)
{
    ASSERT_HOT(n->depth > 0);
    n->depth--;
    if (n->frame[n->depth].found != 0)
        nest_fields(s, n->frame[n->depth].found, n->frame[n->depth].start, p,
                    (n->kinds & 1) != 0 ? JSON_OBJECT : JSON_ARRAY);
    n->kinds >>= 1;
    n->live = n->frame[n->depth].live;
}

#endif
