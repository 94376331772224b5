/*
 * HOT. Events richer than those of the shop, as parsers meet them: `--events`. Event number seq
 * follows from the seed and seq alone, and from the time that it is counted back from.
 *
 * They are for measuring. They are never malformed or late, and --check does not know them.
 */
#ifndef GEN_RICH_H
#define GEN_RICH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/gen/gen_rng.h"
#include "tools/gen/gen_text.h"

/* X(enumerator, name, what they are) */
#define GEN_FAMILIES(X)                                                  \
    X(GEN_SHOP, "shop", "order, inventory, user_activity")               \
    X(GEN_COMMERCE, "commerce", "orders by four producers, nested")      \
    X(GEN_GITHUB, "github", "like GitHub's public events")               \
    X(GEN_KIBANA, "kibana", "like Kibana's sample orders: many numbers") \
    X(GEN_MIXED, "mixed", "commerce, github and kibana in turn")         \
    X(GEN_SHAPES, "shapes", "no two of the same shape")

enum gen_family {
#define X(enumerator, name, help) enumerator,
    GEN_FAMILIES(X)
#undef X
        GEN_FAMILIES_COUNT
};

enum {
    GEN_RICH_BYTES_MAX = 16 * 1024 /* largest of these events, asserted per event */
};

/* What one event is made from. */
struct gen_rich {
    uint64_t seed;
    uint64_t seq;
    int64_t now_us;
    struct gen_day_cache *day;
    struct gen_rng rng;
};

/**
 * Writes the event, without line break, to out, which has room for GEN_RICH_BYTES_MAX. family is not
 * GEN_SHOP.
 * Thread: the owner of e.  Alloc: none.
 * @return bytes written.
 */
size_t gen_rich_write(struct gen_rich *e, enum gen_family family, char *out);

/** Name of a family as --events takes it. Thread: any. */
const char *gen_family_name(enum gen_family family);

/**
 * The writers of the families. out as in gen_rich_write(); each returns the end.
 * Thread: the owner of e.  Alloc: none.
 */
char *gen_commerce_put(struct gen_rich *e, char *out);
/** Likewise. */
char *gen_github_put(struct gen_rich *e, char *out);
/** Likewise. */
char *gen_kibana_put(struct gen_rich *e, char *out);
/** Likewise. */
char *gen_shapes_put(struct gen_rich *e, char *out);

/** One of the texts of a table. Thread: the owner of r. */
#define gen_rich_pick(r, table) \
    ((table)[gen_rng_below((r), (uint32_t)(sizeof(table) / sizeof((table)[0])))])

/** True in about percent of all draws. Thread: the owner of r. */
static inline bool gen_rich_chance(struct gen_rng *r, uint32_t percent)
{
    return gen_rng_below(r, 100) < percent;
}

#endif
