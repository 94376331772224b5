/*
 * Types of which nothing is taken for now, because what waits of them has used up its room: whether a
 * body holds an event of one.
 *
 * Thread: worker.  Alloc: none.
 */
#ifndef PENSTOCK_REFUSAL_H
#define PENSTOCK_REFUSAL_H

#include "dataplane/base/live.h"
#include "dataplane/event/type.h"
#include "dataplane/json/json.h"

/** What it takes to look into a body. */
struct refusal_look {
    const struct live_settings *settings; /* that refuse some type */
    struct json_parser *parser;
    struct json_event *event; /* scratch */
    int n_events;             /* room in it */
    int type_path;
    const struct type_set *types;
    uint32_t event_bytes_max;
};

/**
 * The first refused type that an event of the body would be stored as, be it as a dead letter. The body
 * is parsed for that: searching it for the names takes longer.
 * @return NULL when there is none.
 */
const struct live_type *refusal_in_body(const struct refusal_look *l, struct span body,
                                        enum json_framing framing);

/** The refused type of a name, or NULL. An empty name: dead letters of no known type. */
const struct live_type *refusal_find(const struct live_settings *s, struct span name);

#endif
