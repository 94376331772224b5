/* COLD. Growing text with one check at the end. */
#include "sinks/engine/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "dataplane/json/walk.h"

#define TEXT_FIRST  512
#define FORMAT_MAX  1024
#define ESCAPE_STEP 128 /* bytes escaped at a time */

/* Room for more bytes and the NUL. */
static bool text_reserve(struct text *t, size_t more)
{
    size_t size = t->_size == 0 ? TEXT_FIRST : t->_size;
    char *ptr;

    if (t->_failed)
        return false;
    ASSERT(more < SIZE_MAX / 4);
    while (size < t->len + more + 1)
        size *= 2;
    if (size == t->_size)
        return true;
    ptr = realloc(t->ptr, size);
    if (ptr == NULL) {
        t->_failed = true;
        return false;
    }
    t->ptr = ptr;
    t->_size = size;
    return true;
}

void text_add(struct text *t, struct span s)
{
    ASSERT(t != NULL);
    if (!text_reserve(t, s.len))
        return;
    if (s.len > 0)
        memcpy(t->ptr + t->len, s.ptr, s.len);
    t->len += s.len;
    t->ptr[t->len] = '\0';
}

void text_adds(struct text *t, const char *s)
{
    ASSERT(s != NULL);
    text_add(t, span_of(s));
}

void text_addf(struct text *t, const char *format, ...)
{
    char line[FORMAT_MAX];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    ASSERT(n >= 0 && n < FORMAT_MAX);
    text_add(t, (struct span){.ptr = line, .len = (size_t)n});
}

void text_add_escaped(struct text *t, struct span s)
{
    char out[6 * ESCAPE_STEP];

    ASSERT(t != NULL);
    while (s.len > 0) {
        size_t step = s.len < ESCAPE_STEP ? s.len : ESCAPE_STEP;
        size_t n = json_escape((struct span){.ptr = s.ptr, .len = step}, out);

        ASSERT(n <= sizeof(out));
        text_add(t, (struct span){.ptr = out, .len = n});
        s.ptr += step;
        s.len -= step;
    }
}

void text_add_json(struct text *t, const char *s)
{
    ASSERT(s != NULL);
    text_adds(t, "\"");
    text_add_escaped(t, span_of(s));
    text_adds(t, "\"");
}

void text_cut(struct text *t, size_t len)
{
    ASSERT(len <= t->len);
    t->len = len;
    if (t->ptr != NULL)
        t->ptr[len] = '\0';
}

static bool url_unreserved(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

void text_add_url(struct text *t, const char *s)
{
    static const char digit[] = "0123456789ABCDEF";

    ASSERT(s != NULL);
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;
        char escaped[3] = {'%', digit[c >> 4], digit[c & 15]};

        if (url_unreserved(c))
            text_add(t, (struct span){.ptr = s, .len = 1});
        else
            text_add(t, (struct span){.ptr = escaped, .len = sizeof(escaped)});
    }
}

bool text_failed(const struct text *t)
{
    ASSERT(t != NULL);
    return t->_failed;
}

void text_reset(struct text *t)
{
    ASSERT(t != NULL);
    t->len = 0;
    t->_failed = false;
    if (t->ptr != NULL)
        t->ptr[0] = '\0';
}

void text_fini(struct text *t)
{
    ASSERT(t != NULL);
    free(t->ptr);
    *t = (struct text){0};
}
