/*
 * COLD. Turns a good event into a malformed one, for tests of dead letters. Every result is wrong
 * beyond doubt: broken_json is refused by any strict JSON parser, bad_utf8 by any UTF-8 decoder,
 * wrong_type by any load into the type's schema (no number in quotes, which loads accept), and
 * missing_field drops a REQUIRED field. Time fields are left alone: what a bad time means is the
 * receiver's policy.
 */
#ifndef GEN_MALFORM_H
#define GEN_MALFORM_H

#include <stddef.h>

#include "tools/gen/gen_event.h"
#include "tools/gen/gen_rng.h"

/**
 * Rewrites the good event text[0..bytes) of info.type in place as info.kind, a malformed kind. text
 * has room for GEN_EVENT_BYTES_MAX. The result holds no line break. The id stays except where
 * broken_json cuts the text off. Thread: any.  Alloc: none.
 * @return the new length.
 */
size_t gen_malform(char *text, size_t bytes, struct gen_event_info info, struct gen_rng *r);

#endif
