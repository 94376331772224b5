/* COLD. Lists of objects: grown, sorted by name, searched. */
#include <stdlib.h>

#include "control/verify_internal.h"

void objects_add(struct object_list *l, const struct seen_object *o, const char *name)
{
    struct seen_object *item;

    ASSERT(name != NULL);
    if (l->n == l->room) {
        size_t room = l->room > 0 ? 2 * l->room : 1024;

        item = realloc(l->item, room * sizeof(*item));
        if (item == NULL) {
            l->failed = true;
            return;
        }
        l->item = item;
        l->room = room;
    }
    if (l->names.len > UINT32_MAX - 4096) {
        l->failed = true;
        return;
    }
    item = &l->item[l->n++];
    *item = *o;
    item->name_at = (uint32_t)l->names.len;
    textbuf_bytes(&l->names, name, strlen(name) + 1);
    l->failed = l->failed || l->names.failed;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct seen_object *)a)->name, ((const struct seen_object *)b)->name);
}

void objects_finish(struct object_list *l)
{
    ASSERT(l->n <= l->room);
    if (l->failed) { /* names may be missing */
        l->n = 0;
        return;
    }
    for (size_t i = 0; i < l->n; i++)
        l->item[i].name = l->names.ptr + l->item[i].name_at;
    if (l->n > 1)
        qsort(l->item, l->n, sizeof(*l->item), compare_names);
}

const struct seen_object *objects_find(const struct object_list *l, const char *name)
{
    struct seen_object key = {.name = name};

    ASSERT(name != NULL);
    return l->n > 0 ? bsearch(&key, l->item, l->n, sizeof(*l->item), compare_names) : NULL;
}

void objects_fini(struct object_list *l)
{
    ASSERT(l != NULL);
    free(l->item);
    textbuf_fini(&l->names);
    *l = (struct object_list){0};
}
