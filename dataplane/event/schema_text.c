/* COLD. Growing texts and properties of field objects, for the schema compiler. See
 * schema_internal.h. */
#include <errno.h>
#include <stdlib.h>

#include "dataplane/event/schema_internal.h"

#define TEXT_ROOM_MIN 1024

static bool reserve(struct schema_text *t, size_t more)
{
    size_t room = t->_room == 0 ? TEXT_ROOM_MIN : t->_room;
    char *p;

    if (t->failed)
        return false;
    if (t->_room - t->len >= more)
        return true;
    while (room - t->len < more)
        room *= 2;
    p = schema_realloc(t->ptr, room);
    if (p == NULL) {
        t->failed = true;
        return false;
    }
    t->ptr = p;
    t->_room = room;
    return true;
}

void schema_text_add(struct schema_text *t, struct span bytes)
{
    if (bytes.len == 0 || !reserve(t, bytes.len))
        return;
    memcpy(t->ptr + t->len, bytes.ptr, bytes.len);
    t->len += bytes.len;
}

void schema_text_adds(struct schema_text *t, const char *s)
{
    schema_text_add(t, span_of(s));
}

void schema_text_compact(struct schema_text *t, struct json_value v)
{
    bool in_string = false;

    if (!reserve(t, v.len))
        return;
    for (uint32_t i = 0; i < v.len; i++) {
        char c = v.ptr[i];

        if (!in_string && (c == ' ' || c == '\t' || c == '\n' || c == '\r'))
            continue;
        t->ptr[t->len++] = c;
        if (c == '"')
            in_string = !in_string;
        else if (in_string && c == '\\')
            t->ptr[t->len++] = v.ptr[++i];
    }
}

char *schema_text_finish(struct schema_text *t)
{
    if (!reserve(t, JSON_PADDING_BYTES)) {
        free(t->ptr);
        *t = (struct schema_text){.failed = true};
        return NULL;
    }
    memset(t->ptr + t->len, 0, JSON_PADDING_BYTES);
    return t->ptr;
}

bool schema_property(struct json_value field, const char *key, struct json_value *out)
{
    return json_find(field, span_of(key), out) && out->type != JSON_NULL;
}

struct span schema_property_text(struct json_value field, const char *key)
{
    struct json_value v;
    struct span body;

    if (!schema_property(field, key, &v) || v.type != JSON_STRING)
        return (struct span){"", 0};
    body = json_string_body(v);
    if (memchr(body.ptr, '\\', body.len) != NULL) /* neither names nor types need escapes */
        return (struct span){"", 0};
    return body;
}

int schema_property_int(struct json_value field, const char *key, int64_t *out)
{
    struct json_value v;

    if (!schema_property(field, key, &v))
        return -ENOENT;
    if (v.type == JSON_NUMBER)
        return json_int64((struct span){v.ptr, v.len}, out) == 0 ? 0 : -EINVAL;
    if (v.type == JSON_STRING)
        return json_int64(json_string_body(v), out) == 0 ? 0 : -EINVAL;
    return -EINVAL;
}
