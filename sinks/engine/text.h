/*
 * Growing text for URLs and request bodies. A failed allocation sticks: check text_failed() once at
 * the end. Thread: any; a text belongs to one thread.  Alloc: heap.
 */
#ifndef PENSTOCK_ENGINE_TEXT_H
#define PENSTOCK_ENGINE_TEXT_H

#include "dataplane/base/compiler.h"
#include "dataplane/base/span.h"

/** Zero it before first use; NUL-terminated as soon as something was added. */
struct text {
    char *ptr; /* NULL while empty */
    size_t len;
    size_t _size;
    bool _failed;
};

/** Appends bytes. */
void text_add(struct text *t, struct span s);

/** Appends a C string. */
void text_adds(struct text *t, const char *s);

/** Appends as snprintf() does; the addition is shorter than 1 KiB. */
void text_addf(struct text *t, const char *format, ...) PRINTF(2, 3);

/** Appends s as a JSON string, quotes included. */
void text_add_json(struct text *t, const char *s);

/** Appends s as the body of a JSON string, without quotes. */
void text_add_escaped(struct text *t, struct span s);

/** Takes back what was added behind the first len bytes. */
void text_cut(struct text *t, size_t len);

/** Appends s percent-encoded: all but RFC 3986's unreserved characters, so '/' too. */
void text_add_url(struct text *t, const char *s);

/** Whether an allocation failed since the last reset. */
bool text_failed(const struct text *t);

/** Empties it and keeps its memory. */
void text_reset(struct text *t);

/** Frees it. */
void text_fini(struct text *t);

#endif
