/* HOT while a type is refused. See refusal.h. */
#include "dataplane/refusal.h"

#include "dataplane/type_named.h"

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
