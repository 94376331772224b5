/* COLD. Look-ups in the configured types; workers keep their own hash of names (types.h). */
#include "dataplane/event/type.h"

#include <stdio.h>

const struct type_config *type_find(const struct type_set *set, struct span name)
{
    ASSERT(set != NULL);
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
