/* HOT. See gen_rich.h. */
#include "tools/gen/gen_rich.h"

#include <stdbool.h>

#include "tools/gen/gen_assert.h"

/* So that an event of the mixed family is not the event of the same number of its own family. */
#define MIXED_SALT UINT64_C(0x6d697865645f6d78)

const char *gen_family_name(enum gen_family family)
{
    static const char *const names[GEN_FAMILIES_COUNT] = {
#define X(enumerator, name, help) name,
        GEN_FAMILIES(X)
#undef X
    };
    GEN_ASSERT(family < GEN_FAMILIES_COUNT);
    return names[family];
}

size_t gen_rich_write(struct gen_rich *e, enum gen_family family, char *out)
{
    static char *(*const writers[GEN_FAMILIES_COUNT])(struct gen_rich *, char *) = {
        [GEN_COMMERCE] = gen_commerce_put,
        [GEN_GITHUB] = gen_github_put,
        [GEN_KIBANA] = gen_kibana_put,
        [GEN_SHAPES] = gen_shapes_put,
    };
    e->rng = gen_rng_at(family == GEN_MIXED ? e->seed ^ MIXED_SALT : e->seed, e->seq);
    if (family == GEN_MIXED) {
        static const enum gen_family turns[] = {GEN_COMMERCE, GEN_GITHUB, GEN_KIBANA};
        family = gen_rich_pick(&e->rng, turns);
    }
    GEN_ASSERT(family < GEN_FAMILIES_COUNT && writers[family] != NULL);
    size_t bytes = (size_t)(writers[family](e, out) - out);
    GEN_ASSERT(bytes > 2 && bytes < GEN_RICH_BYTES_MAX);
    return bytes;
}
