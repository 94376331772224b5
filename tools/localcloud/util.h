// Small helpers every part of localcloud uses: memory, growing buffers, text, base64, time.
// Thread: any, for every function here. Out of memory ends the process with a message: this is a
// development server, and half-done work in SQLite rolls back by itself.
#ifndef LOCALCLOUD_UTIL_H
#define LOCALCLOUD_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LC_PRINTF(fmt_index, first) __attribute__((format(printf, fmt_index, first)))
#define LC_ARRAY_LEN(a)             (sizeof(a) / sizeof((a)[0]))

/** Growing byte buffer. Zero-initialise it. p is NUL-terminated whenever n > 0. */
struct lc_buf {
    char *p;
    size_t n;
    size_t cap;
};

/** Zeroed memory of size bytes; never NULL. Owner: caller frees. */
void *lc_alloc(size_t size);

/** Grows p to size bytes (contents beyond the old size undefined); never NULL. Owner: caller frees.
 */
void *lc_realloc(void *p, size_t size);

/** Copy of s. Owner: caller frees. s must not be NULL. */
char *lc_strdup(const char *s);

/** Copy of the n bytes at s, NUL-terminated. Owner: caller frees. */
char *lc_strndup(const char *s, size_t n);

/** printf into new memory. Owner: caller frees. */
char *lc_format(const char *fmt, ...) LC_PRINTF(1, 2);

/** Appends n bytes. */
void lc_buf_add(struct lc_buf *b, const void *p, size_t n);

/** Appends a string. */
void lc_buf_str(struct lc_buf *b, const char *s);

/** Appends printf output. */
void lc_buf_fmt(struct lc_buf *b, const char *fmt, ...) LC_PRINTF(2, 3);

/** Frees the memory and makes b empty. */
void lc_buf_free(struct lc_buf *b);

/** Hands the text over and makes b empty. Owner: caller frees. @return never NULL. */
char *lc_buf_take(struct lc_buf *b);

/** Reads a whole decimal int64 (optional sign). @return false when s is anything else or out of
 * range. */
bool lc_parse_i64(const char *s, int64_t *out);

/** @return true when s starts with prefix. */
bool lc_starts_with(const char *s, const char *prefix);

/** @return true when the n bytes at s are well-formed UTF-8. */
bool lc_utf8_valid(const char *s, size_t n);

/**
 * Decodes %XX (and '+' as space when plus is set) of the n bytes at s.
 * Owner: caller frees. @return NULL on a malformed escape or an encoded NUL.
 */
char *lc_percent_decode(const char *s, size_t n, bool plus);

/** Appends s with everything but RFC 3986 unreserved characters percent-encoded. */
void lc_percent_encode(struct lc_buf *b, const char *s);

/** Standard base64 with padding. Owner: caller frees. */
char *lc_base64(const void *p, size_t n);

/**
 * Decodes standard or URL-safe base64, padding optional.
 * Owner: caller frees *out. @return false (and no memory) when s is not base64.
 */
bool lc_base64_decode(const char *s, size_t n, uint8_t **out, size_t *out_n);

/** Wall clock, microseconds since 1970 UTC. */
int64_t lc_now_us(void);

/** Sleeps for ms milliseconds. */
void lc_sleep_ms(int64_t ms);

/** Writes us as RFC 3339 with milliseconds, e.g. 2026-01-02T03:04:05.678Z. @return out. */
char *lc_rfc3339(int64_t us, char out[40]);

/** Hex text of 2 * n_bytes random digits. n_bytes <= 16. @return out. */
char *lc_random_hex(char *out, size_t n_bytes);

/** Shortest text that reads back as the same double; NaN, Infinity, -Infinity by name. @return out.
 */
char *lc_double_text(double d, char out[40]);

#endif
