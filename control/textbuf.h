/*
 * A growing text: answers, metrics, lists of problems. Without memory it stops growing and says so
 * in `failed`; what is there stays valid. Thread: any; a textbuf belongs to one thread. Not for
 * workers.
 */
#ifndef PENSTOCK_CONTROL_TEXTBUF_H
#define PENSTOCK_CONTROL_TEXTBUF_H

#include "dataplane/base/compiler.h"
#include "dataplane/base/span.h"

/** Zero it before use; ptr is NUL-terminated once something was added. */
struct textbuf {
    char *ptr;
    size_t len;
    size_t _cap;
    bool failed;
};

/** Appends formatted text. Owner: t owns its memory until textbuf_fini(). */
void textbuf_add(struct textbuf *t, const char *format, ...) PRINTF(2, 3);

/** Appends bytes as they are. */
void textbuf_bytes(struct textbuf *t, const char *bytes, size_t len);

/** Appends a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
void textbuf_json(struct textbuf *t, struct span s);

/** Appends bytes for people: control characters and non-ASCII bytes that are not UTF-8 become '?'.
 */
void textbuf_printable(struct textbuf *t, struct span s);

/** The text so far, never NULL. */
const char *textbuf_str(const struct textbuf *t);

/** Frees the text; t is empty and may be used again. */
void textbuf_fini(struct textbuf *t);

#endif
