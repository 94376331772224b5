/*
 * HOT. The scalar scanner: one pass that validates a value and picks members, eight bytes at a time
 * inside strings. It is the reference for every other variant.
 *
 * No recursion: the open containers are one bit each (1 = object) in a shift register. Picking
 * costs nothing where no path leads: every open container carries the set of paths that lead
 * through it, and keys are compared only while that set is not empty, that is in objects at depth
 * JSON_PATH_KEYS_MAX at most.
 *
 * Where errors are: at the first byte with which no valid document can go on, and at the end when
 * only bytes are missing; a bad UTF-8 sequence at its first byte, cut off by the end or not; an
 * unpaired surrogate at its backslash, unless the end comes first.
 */
#include "dataplane/json/json_nest.h"

bool json_scan_fail(struct json_scan *s, const char *at, enum json_error error)
{
    ASSERT_HOT(at >= s->doc && at <= s->end);
    if (at < s->end && utf8_length(at, s->end) == 0)
        error = JSON_ERROR_UTF8;
    s->at = at;
    s->error = (uint8_t)error;
    return false;
}

/* The same for the helpers that return where they came to. */
static COLD_PATH const char *fail_at(struct json_scan *s, const char *at, enum json_error error)
{
    json_scan_fail(s, at, error);
    return NULL;
}

/* White space of a document that has some. */
static __attribute__((noinline)) const char *skip_space_run(struct json_scan *s, const char *p)
{
    const char *end = s->end;

    while (p < end) {
        if (*p == '\n' || *p == '\r')
            s->flags |= JSON_HAS_LINE_BREAK;
        else if (*p != ' ' && *p != '\t')
            break;
        p++;
        while (p < end && load64(p) == BYTES(' '))
            p += 8;
    }
    return p < end ? p : end; /* the last word may have reached into the padding */
}

static inline const char *skip_space(struct json_scan *s, const char *p)
{
    if (likely((uint8_t)*p > ' '))
        return p;
    return skip_space_run(s, p);
}

/* A bit at the top of every byte that a string's plain run ends at: control, quote, backslash, not
 * ASCII. Only the lowest one is exact: borrows go upwards from a true one. */
static inline uint64_t string_stops(uint64_t w)
{
    return ((w - BYTES(0x20)) | ((w ^ BYTES('"')) - BYTES(1)) | ((w ^ BYTES('\\')) - BYTES(1)) |
            w) &
           BYTES(0x80);
}

/* After the high surrogate escape at p; q is behind it. */
static const char *scan_low_surrogate(struct json_scan *s, const char *p, const char *q)
{
    for (int i = 0; i < 6; i++, q++) {
        const char c = *q;
        bool fits;

        if (q >= s->end)
            return fail_at(s, s->end, JSON_ERROR_TRUNCATED);
        switch (i) {
        case 0:
            fits = c == '\\';
            break;
        case 1:
            fits = c == 'u';
            break;
        case 2:
            fits = (c | 0x20) == 'd';
            break;
        case 3:
            fits = hex_digit(c) >= 0xC;
            break;
        default:
            fits = hex_digit(c) >= 0;
        }
        if (!fits)
            return fail_at(s, p, JSON_ERROR_SURROGATE);
    }
    return q;
}

/* A \u escape; p is at its backslash. */
static const char *scan_unicode_escape(struct json_scan *s, const char *p)
{
    unsigned unit = 0;
    const char *q = p + 2;

    for (int i = 0; i < 4; i++, q++) {
        const int digit = hex_digit(*q);

        if (q >= s->end)
            return fail_at(s, s->end, JSON_ERROR_TRUNCATED);
        if (digit < 0)
            return fail_at(s, q, JSON_ERROR_STRING);
        unit = unit << 4 | (unsigned)digit;
    }
    if ((unit & 0xF800) != 0xD800)
        return q;
    if (unit >= 0xDC00)
        return fail_at(s, p, JSON_ERROR_SURROGATE);
    return scan_low_surrogate(s, p, q);
}

static const char *scan_escape(struct json_scan *s, const char *p)
{
    s->escaped = true;
    if (p + 1 >= s->end)
        return fail_at(s, s->end, JSON_ERROR_TRUNCATED);
    switch (p[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return p + 2;
    case 'u':
        return scan_unicode_escape(s, p);
    default:
        return fail_at(s, p + 1, JSON_ERROR_STRING);
    }
}

/* What ended a plain run of a string, other than its quote: escapes, UTF-8, or an error. */
static __attribute__((noinline)) const char *scan_string_special(struct json_scan *s, const char *p)
{
    while (p < s->end) {
        size_t n;

        if (*p == '\\') {
            p = scan_escape(s, p);
            if (p == NULL)
                return NULL;
            continue;
        }
        if ((uint8_t)*p < 0x20)
            return fail_at(s, p, JSON_ERROR_STRING);
        if ((uint8_t)*p < 0x80)
            break;
        n = utf8_length(p, s->end);
        if (n == 0)
            return fail_at(s, p, JSON_ERROR_UTF8);
        p += n;
    }
    return p;
}

/* The rest of a string; p is behind its opening quote. */
static inline const char *scan_string(struct json_scan *s, const char *p)
{
    const char *end = s->end;

    for (;;) {
        uint64_t stops;

        if (unlikely(p >= end))
            return fail_at(s, end, JSON_ERROR_TRUNCATED);
        stops = string_stops(load64(p));
        if (stops == 0) {
            p += 8;
            continue;
        }
        p += (unsigned)__builtin_ctzll(stops) >> 3;
        if (unlikely(p >= end))
            return fail_at(s, end, JSON_ERROR_TRUNCATED);
        if (likely(*p == '"'))
            return p + 1;
        p = scan_string_special(s, p);
        if (unlikely(p == NULL))
            return NULL;
    }
}

/* One digit or more. */
static inline const char *scan_digits(struct json_scan *s, const char *p)
{
    if (unlikely(p >= s->end))
        return fail_at(s, s->end, JSON_ERROR_TRUNCATED);
    if (unlikely(!is_digit(*p)))
        return fail_at(s, p, JSON_ERROR_NUMBER);
    do {
        p++;
    } while (p < s->end && is_digit(*p));
    return p;
}

#define FAR_DIGITS 300 /* in front of the point: near the 309 of the largest double */

/* A number; p is at its first byte. */
static inline const char *scan_number(struct json_scan *s, const char *p)
{
    const char *end = s->end;
    const char *digits;

    if (*p == '-')
        p++;
    digits = p;
    p = scan_digits(s, p);
    if (unlikely(p == NULL))
        return NULL;
    if (unlikely(*digits == '0' && p > digits + 1))
        return fail_at(s, digits + 1, JSON_ERROR_NUMBER);
    if (unlikely(p - digits >= FAR_DIGITS))
        s->flags |= JSON_FAR_NUMBER;
    if (p < end && *p == '.') {
        p = scan_digits(s, p + 1);
        if (unlikely(p == NULL))
            return NULL;
    }
    if (p < end && (*p | 0x20) == 'e') {
        s->flags |= JSON_FAR_NUMBER;
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        p = scan_digits(s, p);
    }
    return p;
}

static const char *scan_literal(struct json_scan *s, const char *p, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (unlikely(p + i >= s->end))
            return fail_at(s, s->end, JSON_ERROR_TRUNCATED);
        if (unlikely(p[i] != text[i]))
            return fail_at(s, p + i, JSON_ERROR_LITERAL);
    }
    return p + len;
}

/* A byte with which no value starts: name the error after what was probably meant. */
static COLD_PATH const char *scan_no_value(struct json_scan *s, const char *p)
{
    const char lower = (char)(*p | 0x20);

    if (*p == '+' || *p == '.')
        return fail_at(s, p, JSON_ERROR_NUMBER);
    if (lower >= 'a' && lower <= 'z') /* NaN, None, True, undefined */
        return fail_at(s, p, JSON_ERROR_LITERAL);
    return fail_at(s, p, JSON_ERROR_SYNTAX);
}

/* Any value but strings, objects and arrays. */
static inline const char *scan_plain(struct json_scan *s, const char *p, uint8_t *type)
{
    if (*p == '-' || is_digit(*p)) {
        *type = JSON_NUMBER;
        return scan_number(s, p);
    }
    switch (*p) {
    case 't':
        *type = JSON_TRUE;
        return scan_literal(s, p, "true", 4);
    case 'f':
        *type = JSON_FALSE;
        return scan_literal(s, p, "false", 5);
    case 'n':
        *type = JSON_NULL;
        return scan_literal(s, p, "null", 4);
    default:
        return scan_no_value(s, p);
    }
}

/* A key and its colon; p is at the quote. @return the first byte of the value. */
static inline const char *scan_key(struct json_scan *s, struct nest *n, const char *p)
{
    const char *body = p + 1;

    if (unlikely(p >= s->end))
        return fail_at(s, s->end, JSON_ERROR_TRUNCATED);
    if (unlikely(*p != '"'))
        return fail_at(s, p, JSON_ERROR_SYNTAX);
    s->escaped = false;
    p = scan_string(s, body);
    if (unlikely(p == NULL))
        return NULL;
    n->found = 0;
    n->under = 0;
    if (n->live != 0)
        nest_key(s, n, (struct span){.ptr = body, .len = (size_t)(p - 1 - body)});
    p = skip_space(s, p);
    if (unlikely(p >= s->end))
        return fail_at(s, s->end, JSON_ERROR_TRUNCATED);
    if (unlikely(*p != ':'))
        return fail_at(s, p, JSON_ERROR_SYNTAX);
    return skip_space(s, p + 1);
}

/* A value that is no container; p is at its first byte. */
static inline const char *scan_leaf(struct json_scan *s, struct nest *n, const char *p,
                                    uint8_t *type)
{
    const char *start = p;

    if (likely(*p == '"')) {
        *type = JSON_STRING;
        p = scan_string(s, p + 1);
    } else {
        p = scan_plain(s, p, type);
    }
    if (unlikely(n->found != 0) && p != NULL) {
        nest_fields(s, n->found, start, p, *type);
        n->found = 0;
    }
    return p;
}

/*
 *   value ── leaf ───────────────► after ── ',' ─► key (object) or value (array)
 *     │ '{' ─► key ── ':' ─► value   ▲ │ '}' ']'
 *     │ '[' ─► value                 │ ▼
 *     └ '{}' '[]' ───────────────► close, and out when the root is closed
 */
bool json_scalar_scan(struct json_scan *s)
{
    const char *p = s->doc;
    const char *end = s->end;
    struct nest n;
    uint8_t type = JSON_ABSENT;

    ASSERT_HOT(p <= end);
    s->error = JSON_ERROR_NONE;
    s->flags = 0;
    n.kinds = 0;
    n.depth = 0;
    n.live = 0;
    n.found = 0;
    n.under = s->pick == NULL ? 0 : s->pick->all;

value:
    if (unlikely(p >= end))
        return json_scan_fail(s, end, JSON_ERROR_TRUNCATED);
    if (*p != '{' && *p != '[') {
        p = scan_leaf(s, &n, p, &type);
        if (unlikely(p == NULL))
            return false;
        goto after;
    }
    if (unlikely(n.depth == JSON_DEPTH_MAX))
        return json_scan_fail(s, p, JSON_ERROR_DEPTH);
    nest_open(&n, p);
    p = skip_space(s, p + 1);
    if (unlikely(p >= end))
        return json_scan_fail(s, end, JSON_ERROR_TRUNCATED);
    if ((n.kinds & 1) == 0) {
        if (*p != ']')
            goto value;
        goto close;
    }
    if (*p == '}') {
        s->flags |= n.depth == 1 ? JSON_EMPTY_OBJECT : 0;
        goto close;
    }
key:
    p = scan_key(s, &n, p);
    if (unlikely(p == NULL))
        return false;
    goto value;
close:
    p++;
    type = (n.kinds & 1) != 0 ? JSON_OBJECT : JSON_ARRAY;
    nest_close(s, &n, p);
after:
    if (n.depth == 0) {
        s->at = p;
        s->type = type;
        return true;
    }
    p = skip_space(s, p);
    if (unlikely(p >= end))
        return json_scan_fail(s, end, JSON_ERROR_TRUNCATED);
    if (*p == ',') {
        p = skip_space(s, p + 1);
        if ((n.kinds & 1) != 0)
            goto key;
        goto value;
    }
    if (*p == ((n.kinds & 1) != 0 ? '}' : ']'))
        goto close;
    return json_scan_fail(s, p, JSON_ERROR_SYNTAX);
}
