/* HOT while a type is refused. See refusal.h. */
#include "dataplane/refusal.h"

#include <string.h>

#include "dataplane/type_named.h"

#define NAMES_MAX 16 /* more are not searched for: a parse costs less */

/* Whether a name stands in JSON as it is, whoever wrote it: but for escapes that need not be. */
static bool is_plain(struct span name)
{
    for (size_t i = 0; i < name.len; i++) {
        if ((unsigned char)name.ptr[i] < 0x20 || name.ptr[i] == '"' || name.ptr[i] == '\\')
            return false;
    }
    return name.len > 0;
}

static bool has_name(struct span body, struct span name)
{
    char quoted[TYPE_NAME_BYTES_MAX + 2];

    ASSERT_HOT(name.len <= TYPE_NAME_BYTES_MAX);
    quoted[0] = '"';
    memcpy(quoted + 1, name.ptr, name.len);
    quoted[name.len + 1] = '"';
    return memmem(body.ptr, body.len, quoted, name.len + 2) != NULL;
}

/* Whether a body may hold an event of a refused type: false is certain. */
static bool is_possible(const struct live_settings *s, struct span body)
{
    ASSERT_HOT(s->n_refused > 0);
    if (s->n_refused > NAMES_MAX || memmem(body.ptr, body.len, "\\u", 2) != NULL ||
        memmem(body.ptr, body.len, "\\/", 2) != NULL)
        return true;
    for (uint32_t i = 0; i < s->n_types; i++) {
        if (s->type[i].refused && (!is_plain(s->type[i].name) || has_name(body, s->type[i].name)))
            return true;
    }
    return false;
}

const struct live_type *refusal_find(const struct live_settings *s, struct span name)
{
    const struct live_type *t = live_type_find(s, name);

    return t != NULL && t->refused ? t : NULL;
}

static const struct live_type *event_refused(const struct refusal_look *l,
                                             const struct json_event *ev)
{
    char room[6 * TYPE_NAME_BYTES_MAX];
    struct span type = {"", 0};

    if (ev->error == JSON_ERROR_NONE && ev->type == JSON_OBJECT && ev->len <= l->event_bytes_max)
        type = type_named(ev, &ev->field[l->type_path], room);
    if (type.len > 0 && l->types->unlisted == UNLISTED_DEAD_LETTER &&
        type_find(l->types, type) == NULL)
        type.len = 0;
    return refusal_find(l->settings, type);
}

const struct live_type *refusal_in_body(const struct refusal_look *l, struct span body,
                                        enum json_framing framing)
{
    struct json_stream s;
    int n;

    ASSERT_HOT(l->settings->n_refused > 0);
    if (!is_possible(l->settings, body))
        return NULL;
    json_stream_init(&s, l->parser, body.ptr, body.len, framing);
    while ((n = json_next(&s, l->event, l->n_events)) > 0) {
        for (int i = 0; i < n; i++) {
            const struct live_type *type = event_refused(l, &l->event[i]);

            if (type != NULL)
                return type;
        }
    }
    return NULL;
}
