/*
 * HOT. Walks documents that have been validated. Nothing is checked, but every loop ends at the
 * value's end, so that a mistake of ours reads no foreign bytes; no padding is needed either.
 */
#include "dataplane/json/walk.h"

#include "dataplane/json/json_internal.h"

#define REPLACEMENT 0xFFFD

static inline const char *skip_blank(const char *p, const char *end)
{
    while (p < end && is_space(*p))
        p++;
    return p;
}

/* A bit at the top of every quote or backslash; only the lowest is exact. */
static inline uint64_t string_marks(uint64_t w)
{
    const uint64_t quote = w ^ BYTES('"');
    const uint64_t backslash = w ^ BYTES('\\');

    return (((quote - BYTES(1)) & ~quote) | ((backslash - BYTES(1)) & ~backslash)) & BYTES(0x80);
}

/* p is behind the opening quote. @return past the closing one; *escaped is set if there is a
 * backslash. */
static const char *skip_string(const char *p, const char *end, bool *escaped)
{
    while (p < end) {
        if (end - p >= 8) {
            const uint64_t marks = string_marks(load64(p));

            if (marks == 0) {
                p += 8;
                continue;
            }
            p += (unsigned)__builtin_ctzll(marks) >> 3;
        }
        if (*p == '"')
            return p + 1;
        if (*p == '\\') {
            *escaped = true;
            p++;
        }
        p++;
    }
    return end;
}

/* p is at a bracket. @return past its partner. */
static const char *skip_container(const char *p, const char *end)
{
    unsigned depth = 0;
    bool escaped;

    while (p < end) {
        const char c = *p++;

        if (c == '"') {
            p = skip_string(p, end, &escaped);
        } else if ((c | 0x20) == '{') {
            depth++;
        } else if ((c | 0x20) == '}') {
            if (--depth == 0)
                return p;
        }
    }
    return end;
}

/* A number or a literal ends where a delimiter stands. */
static const char *skip_plain(const char *p, const char *end)
{
    while (p < end && *p != ',' && *p != '}' && *p != ']' && !is_space(*p))
        p++;
    return p;
}

static inline uint8_t type_of(char c)
{
    switch (c) {
    case '"':
        return JSON_STRING;
    case '{':
        return JSON_OBJECT;
    case '[':
        return JSON_ARRAY;
    case 't':
        return JSON_TRUE;
    case 'f':
        return JSON_FALSE;
    case 'n':
        return JSON_NULL;
    default:
        return c == '-' || is_digit(c) ? JSON_NUMBER : JSON_ABSENT;
    }
}

static inline struct json_value value_between(const char *p, const char *end)
{
    struct json_value v = {0};
    const char *past;
    bool escaped;

    p = skip_blank(p, end);
    v.ptr = p;
    if (p == end)
        return v;
    v.type = type_of(*p);
    if (v.type == JSON_STRING)
        past = skip_string(p + 1, end, &escaped);
    else if (v.type >= JSON_ARRAY)
        past = skip_container(p, end);
    else
        past = skip_plain(p, end);
    v.len = (uint32_t)(past - p);
    return v;
}

struct json_value json_value_at(const char *ptr, size_t len)
{
    return len == 0 ? (struct json_value){.ptr = ptr} : value_between(ptr, ptr + len);
}

void json_walk_init(struct json_walk *w, struct json_value container)
{
    ASSERT_HOT(container.type == JSON_ARRAY || container.type == JSON_OBJECT);
    ASSERT_HOT(container.len >= 2);
    w->_p = container.ptr + 1;
    w->_end = container.ptr + container.len - 1;
}

/* Skips white space and the comma before a member or element. */
static inline const char *walk_ahead(const struct json_walk *w)
{
    const char *p = skip_blank(w->_p, w->_end);

    if (p < w->_end && *p == ',')
        p = skip_blank(p + 1, w->_end);
    return p;
}

bool json_walk_member(struct json_walk *w, struct json_member *out)
{
    const char *p = walk_ahead(w);
    const char *key = p + 1;

    if (p >= w->_end)
        return false;
    ASSERT_HOT(*p == '"');
    out->key_escaped = false;
    p = skip_string(key, w->_end, &out->key_escaped);
    out->key = (struct span){.ptr = key, .len = (size_t)(p - 1 - key)};
    p = skip_blank(p, w->_end);
    ASSERT_HOT(p < w->_end && *p == ':');
    out->value = value_between(p + 1, w->_end);
    ASSERT_HOT(out->value.len > 0);
    w->_p = out->value.ptr + out->value.len;
    return true;
}

bool json_walk_element(struct json_walk *w, struct json_value *out)
{
    const char *p = walk_ahead(w);

    if (p >= w->_end)
        return false;
    *out = value_between(p, w->_end);
    ASSERT_HOT(out->len > 0);
    w->_p = out->ptr + out->len;
    return true;
}

uint32_t json_count(struct json_value array)
{
    struct json_walk w;
    struct json_value v;
    uint32_t n = 0;

    json_walk_init(&w, array);
    while (json_walk_element(&w, &v))
        n++;
    return n;
}

bool json_find(struct json_value object, struct span key, struct json_value *out)
{
    struct json_walk walk;
    struct json_member member;
    bool found = false;

    ASSERT_HOT(object.type == JSON_OBJECT);
    json_walk_init(&walk, object);
    while (json_walk_member(&walk, &member)) {
        if (!json_key_equal(member.key, member.key_escaped, key))
            continue;
        *out = member.value;
        found = true;
    }
    return found;
}

/* The UTF-16 unit of the \uXXXX at p, or -1. */
static int unicode_unit(const char *p, const char *end)
{
    int unit = 0;

    if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
        return -1;
    for (int i = 2; i < 6; i++) {
        const int digit = hex_digit(p[i]);

        if (digit < 0)
            return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

static size_t utf8_put(unsigned code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

/* Decodes the \uXXXX at *p, or two of them, and moves *p on. */
static size_t unescape_unicode(const char **p, const char *end, char out[4])
{
    const int unit = unicode_unit(*p, end);
    unsigned code = REPLACEMENT;
    int low;

    if (unit < 0) { /* never in a valid document */
        *p += 1;
        out[0] = '\\';
        return 1;
    }
    *p += 6;
    if ((unit & 0xF800) != 0xD800) {
        code = (unsigned)unit;
    } else if (unit < 0xDC00 && ((low = unicode_unit(*p, end)) & ~0x3FF) == 0xDC00) {
        *p += 6;
        code = 0x10000u + ((unsigned)(unit - 0xD800) << 10) + (unsigned)(low - 0xDC00);
    }
    return utf8_put(code, out);
}

/* Decodes the escape at *p (a backslash) and moves *p on. @return the bytes in out. */
static size_t unescape_one(const char **p, const char *end, char out[4])
{
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    const char *found;

    ASSERT_HOT(*p < end && **p == '\\');
    found = end - *p < 2 ? NULL : memchr(from, (*p)[1], sizeof(from) - 1);
    if (found == NULL)
        return unescape_unicode(p, end, out);
    *p += 2;
    out[0] = to[found - from];
    return 1;
}

bool json_key_equal(struct span raw, bool escaped, struct span text)
{
    const char *p = raw.ptr;
    const char *end = raw.ptr + raw.len;
    size_t done = 0;

    if (likely(!escaped))
        return span_equal(raw, text);
    while (p < end) {
        char bytes[4];
        size_t n = 1;

        if (*p == '\\')
            n = unescape_one(&p, end, bytes);
        else
            bytes[0] = *p++;
        if (text.len - done < n || memcmp(text.ptr + done, bytes, n) != 0)
            return false;
        done += n;
    }
    return done == text.len;
}

size_t json_unescape(struct span raw, char *out)
{
    const char *p = raw.ptr;
    const char *end;
    char *o = out;

    if (raw.len == 0)
        return 0;
    end = p + raw.len;
    while (p < end) {
        const char *mark = memchr(p, '\\', (size_t)(end - p));
        const size_t plain = (size_t)((mark == NULL ? end : mark) - p);
        char bytes[4];
        size_t n;

        memcpy(o, p, plain);
        o += plain;
        p += plain;
        if (mark == NULL)
            break;
        n = unescape_one(&p, end, bytes);
        memcpy(o, bytes, n);
        o += n;
    }
    ASSERT_HOT((size_t)(o - out) <= raw.len);
    return (size_t)(o - out);
}

/* The letter of a short escape, 'u' for a long one, 0 for a byte that stands for itself. */
static inline char escape_letter(char c)
{
    static const char short_escapes[0x20] = {
        ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};

    if (c == '"' || c == '\\')
        return c;
    if ((uint8_t)c >= 0x20)
        return 0;
    return short_escapes[(uint8_t)c] != 0 ? short_escapes[(uint8_t)c] : 'u';
}

size_t json_escape(struct span text, char *out)
{
    static const char hex[] = "0123456789abcdef";
    char *o = out;

    for (size_t i = 0; i < text.len; i++) {
        const char c = text.ptr[i];
        const char letter = escape_letter(c);

        if (letter == 0) {
            *o++ = c;
            continue;
        }
        *o++ = '\\';
        *o++ = letter;
        if (letter != 'u')
            continue;
        *o++ = '0';
        *o++ = '0';
        *o++ = hex[(uint8_t)c >> 4];
        *o++ = hex[(uint8_t)c & 0xF];
    }
    ASSERT_HOT((size_t)(o - out) <= 6 * text.len);
    return (size_t)(o - out);
}
