/* COLD. Look-ups in the configured types; workers keep their own hash of names (types.h). */
#include "dataplane/event/type.h"

#include <stdio.h>
#include <string.h>

static int name_compare(const char *a, struct span b)
{
    size_t len = strlen(a), both = len < b.len ? len : b.len;
    int c = both > 0 ? memcmp(a, b.ptr, both) : 0;

    ASSERT(a != NULL);
    return c != 0 ? c : (len > b.len) - (len < b.len);
}

static const struct type_config *find_in_order(const struct type_set *set, struct span name)
{
    uint32_t low = 0, high = set->n_types;

    ASSERT(set->by_name != NULL);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct type_config *t = &set->type[set->by_name[middle]];
        int c = name_compare(t->name, name);

        if (c == 0)
            return t;
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const struct type_config *type_find(const struct type_set *set, struct span name)
{
    ASSERT(set != NULL);
    if (set->by_name != NULL)
        return find_in_order(set, name);
    for (uint32_t i = 0; i < set->n_types; i++) {
        if (span_equal(span_of(set->type[i].name), name))
            return &set->type[i];
    }
    return NULL;
}

void type_table(const struct type_set *set, struct span name, char *out, size_t out_len)
{
    const struct type_config *t = type_find(set, name);
    char escaped[TYPE_ESCAPED_BYTES_MAX + 1];

    ASSERT(out_len > 0);
    if (t != NULL && t->table != NULL) {
        snprintf(out, out_len, "%s", t->table);
        return;
    }
    name_escape(name, escaped);
    snprintf(out, out_len, "%s", escaped);
}
