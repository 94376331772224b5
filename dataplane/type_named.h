/* HOT. Which type an event names. */
#ifndef PENSTOCK_TYPE_NAMED_H
#define PENSTOCK_TYPE_NAMED_H

#include <string.h>

#include "dataplane/event/names.h"
#include "dataplane/json/json.h"
#include "dataplane/json/walk.h"

/**
 * The type that an event names, in its own bytes or unescaped into room of 6 * TYPE_NAME_BYTES_MAX.
 * Thread: any.  Alloc: none.
 * @return an empty span when it is not usable.
 */
static inline struct span type_named(const struct json_event *ev, const struct json_field *f,
                                     char *room)
{
    struct span raw = {.ptr = ev->ptr + f->offset + 1, .len = f->len - 2};

    if (f->type != JSON_STRING || raw.len == 0 || raw.len > (size_t)6 * TYPE_NAME_BYTES_MAX)
        return (struct span){0};
    if (memchr(raw.ptr, '\\', raw.len) != NULL)
        raw = (struct span){.ptr = room, .len = json_unescape(raw, room)};
    return raw.len <= TYPE_NAME_BYTES_MAX ? raw : (struct span){0};
}

#endif
