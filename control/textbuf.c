/* COLD. Growing text, see textbuf.h. */
#include "control/textbuf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define FIRST_BYTES 512

/* Makes room for more bytes and a NUL. */
static bool textbuf_room(struct textbuf *t, size_t more)
{
    size_t need = t->len + more + 1;
    size_t cap = t->_cap > 0 ? t->_cap : FIRST_BYTES;
    char *ptr;

    ASSERT(need > t->len);
    if (t->failed)
        return false;
    if (need <= t->_cap)
        return true;
    while (cap < need)
        cap *= 2;
    ptr = realloc(t->ptr, cap);
    if (ptr == NULL) {
        t->failed = true;
        return false;
    }
    t->ptr = ptr;
    t->_cap = cap;
    return true;
}

void textbuf_bytes(struct textbuf *t, const char *bytes, size_t len)
{
    ASSERT(bytes != NULL || len == 0);
    if (!textbuf_room(t, len))
        return;
    if (len > 0)
        memcpy(t->ptr + t->len, bytes, len);
    t->len += len;
    t->ptr[t->len] = '\0';
}

void textbuf_add(struct textbuf *t, const char *format, ...)
{
    va_list args, again;
    int n;

    ASSERT(format != NULL);
    va_start(args, format);
    va_copy(again, args);
    n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n > 0 && textbuf_room(t, (size_t)n)) {
        n = vsnprintf(t->ptr + t->len, t->_cap - t->len, format, again);
        t->len += n > 0 ? (size_t)n : 0;
        ASSERT(t->len < t->_cap);
    }
    va_end(again);
}

/* Length of the valid UTF-8 sequence at p, or 0. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xC2 && p[0] < 0xE0 ? 2 : (p[0] & 0xF0) == 0xE0 ? 3 : 0;

    if (n == 0 && p[0] >= 0xF0 && p[0] <= 0xF4)
        n = 4;
    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    }
    if (n == 3 && ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] >= 0xA0)))
        return 0;
    if (n == 4 && ((p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] >= 0x90)))
        return 0;
    return n;
}

void textbuf_json(struct textbuf *t, struct span s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t i = 0;

    ASSERT(s.ptr != NULL || s.len == 0);
    textbuf_bytes(t, "\"", 1);
    while (i < s.len) {
        size_t n = utf8_length(p + i, s.len - i);

        if (n == 0) {
            textbuf_bytes(t, "\\ufffd", 6);
            n = 1;
        } else if (p[i] == '"' || p[i] == '\\') {
            textbuf_add(t, "\\%c", p[i]);
        } else if (p[i] < 0x20) {
            textbuf_add(t, "\\u%04x", p[i]);
        } else {
            textbuf_bytes(t, s.ptr + i, n);
        }
        i += n;
    }
    textbuf_bytes(t, "\"", 1);
}

void textbuf_printable(struct textbuf *t, struct span s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    size_t i = 0;

    ASSERT(s.ptr != NULL || s.len == 0);
    while (i < s.len) {
        size_t n = utf8_length(p + i, s.len - i);

        if (n == 0 || p[i] < 0x20 || p[i] == 0x7F) {
            textbuf_bytes(t, "?", 1);
            n = 1;
        } else {
            textbuf_bytes(t, s.ptr + i, n);
        }
        i += n;
    }
}

const char *textbuf_str(const struct textbuf *t)
{
    ASSERT(t->ptr == NULL || t->len < t->_cap);
    return t->ptr != NULL ? t->ptr : "";
}

void textbuf_fini(struct textbuf *t)
{
    ASSERT(t != NULL);
    free(t->ptr);
    *t = (struct textbuf){0};
}
