/*
 * HOT. One value against one column: the forms that a BigQuery load takes, and no others. Where the
 * service is known to be laxer in ways that are not documented, this stays strict.
 */
#include <errno.h>

#include "dataplane/event/check_internal.h"
#include "dataplane/event/decimal_internal.h"
#include "dataplane/event/text_internal.h"
#include "dataplane/event/timeval_internal.h"

#define PLAIN_BYTES_MAX 1024 /* of a string with escapes that is a number, a time or a word */
#define FINITE_DIGITS \
    300 /* a number of so many bytes without an exponent is below the largest double */

/* The text of a string value; unescaped into buf, which holds PLAIN_BYTES_MAX, when it has escapes.
 */
static bool plain_text(struct json_value v, char *buf, struct span *out)
{
    struct span body = json_string_body(v);

    *out = body;
    if (likely(memchr(body.ptr, '\\', body.len) == NULL))
        return true;
    if (body.len > PLAIN_BYTES_MAX)
        return false;
    *out = (struct span){buf, json_unescape(body, buf)};
    return true;
}

static bool is_finite(struct span number)
{
    double d;

    if (number.len <= FINITE_DIGITS && memchr(number.ptr, 'e', number.len) == NULL &&
        memchr(number.ptr, 'E', number.len) == NULL)
        return true;
    return json_double(number, &d) == 0;
}

/* Optional '-', then digits. 1.0 and 1e3 are whole numbers too, but a load need not take them as
 * INTEGER. */
static bool is_plain_integer(struct span s)
{
    size_t i = s.len > 0 && s.ptr[0] == '-' ? 1 : 0;

    if (i == s.len)
        return false;
    for (; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
    }
    return true;
}

static enum reason check_integer(struct span s, const char **why)
{
    int64_t n;
    int rc = is_plain_integer(s) ? json_int64(s, &n) : -EINVAL;

    if (likely(rc == 0))
        return REASON_NONE;
    *why = rc == -ERANGE ? "outside 64 bits" : "not a whole number";
    return REASON_BAD_VALUE;
}

static enum reason check_float(struct span s, bool is_string, const char **why)
{
    double d;

    *why = "not a finite number";
    if (!is_string)
        return is_finite(s) ? REASON_NONE : REASON_BAD_VALUE;
    if (span_equal(s, span_of("NaN")) || span_equal(s, span_of("Infinity")) ||
        span_equal(s, span_of("-Infinity")))
        return REASON_NONE;
    return json_double(s, &d) == 0 ? REASON_NONE : REASON_BAD_VALUE;
}

static enum reason check_numeric(const struct schema_field *f, struct span s, const char **why)
{
    struct decimal d;

    *why = "outside the column's range or scale";
    if (decimal_read(s, &d) != 0) {
        *why = "not a decimal number";
        return REASON_BAD_VALUE;
    }
    return decimal_fits(&d, f->type == COLUMN_BIGNUMERIC, f->precision, f->scale)
               ? REASON_NONE
               : REASON_BAD_VALUE;
}

static enum reason check_timestamp(struct span s, bool is_string, const char **why)
{
    unsigned form = 0;
    int64_t us;

    if (!is_string) {
        *why = "seconds outside the years 1 to 9999: milliseconds?";
        return time_parse_seconds(s, &us) == 0 ? REASON_NONE : REASON_BAD_VALUE;
    }
    *why = "not YYYY-MM-DD HH:MM[:SS[.ffffff]] with Z, +hh:mm or UTC";
    if (time_parse_form(s, &us, &form) != 0)
        return REASON_BAD_VALUE;
    if (form & TIME_FORM_NANOS)
        *why = "more than six fraction digits";
    return form & (TIME_FORM_DATE_ONLY | TIME_FORM_COMPACT_OFFSET | TIME_FORM_NANOS |
                   TIME_FORM_LOWER_T)
               ? REASON_BAD_VALUE
               : REASON_NONE;
}

static enum reason check_date(struct span s, const char **why)
{
    int32_t days;

    *why = "not YYYY-MM-DD";
    return s.len == DATE_TEXT_BYTES && date_parse(s, &days) == 0 ? REASON_NONE : REASON_BAD_VALUE;
}

static enum reason check_time(struct span s, const char **why)
{
    unsigned form = 0;
    size_t used;

    *why = "not HH:MM:SS[.ffffff]";
    if (time_of_day(s, &used, &form) < 0 || used != s.len || form != 0)
        return REASON_BAD_VALUE;
    return REASON_NONE;
}

static enum reason check_datetime(struct span s, const char **why)
{
    unsigned form = 0;
    int64_t us;

    *why = "not YYYY-MM-DD HH:MM:SS[.ffffff] without a zone";
    return time_parse_form(s, &us, &form) == 0 && form == 0 ? REASON_NONE : REASON_BAD_VALUE;
}

static enum reason check_boolean(struct span s, const char **why)
{
    *why = "neither true nor false";
    return span_equal(s, span_of("true")) || span_equal(s, span_of("false")) ? REASON_NONE
                                                                             : REASON_BAD_VALUE;
}

static enum reason check_string_length(const struct schema_field *f, struct span raw,
                                       const char **why)
{
    struct text_iter it;
    uint64_t n = 0;
    int c;

    if (f->max_length == 0 || raw.len <= f->max_length)
        return REASON_NONE;
    text_iter_init(&it, raw);
    while ((c = text_iter_next(&it)) != TEXT_END)
        n += (c & 0xC0) != 0x80 ? 1
                                : 0; /* every byte but UTF-8's continuations starts a character */
    *why = "longer than the column's maxLength";
    return n <= f->max_length ? REASON_NONE : REASON_BAD_VALUE;
}

static int base64_value(int c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static enum reason check_bytes(const struct schema_field *f, struct span raw, const char **why)
{
    struct text_iter it;
    uint64_t n = 0, padding = 0;
    int last = 0, c;

    *why = "not padded base64";
    text_iter_init(&it, raw);
    while ((c = text_iter_next(&it)) != TEXT_END) {
        n++;
        if (c == '=') {
            padding++;
            continue;
        }
        last = base64_value(c);
        if (last < 0 || padding > 0)
            return REASON_BAD_VALUE;
    }
    if (n % 4 != 0 || padding > 2)
        return REASON_BAD_VALUE;
    if ((padding == 1 && (last & 3) != 0) ||
        (padding == 2 && (last & 15) != 0)) /* bits that stand for nothing */
        return REASON_BAD_VALUE;
    *why = "longer than the column's maxLength";
    return f->max_length == 0 || n / 4 * 3 - padding <= f->max_length ? REASON_NONE
                                                                      : REASON_BAD_VALUE;
}

/* Which JSON types a column takes, as bits. */
static unsigned accepted_types(enum column_type type)
{
    switch (type) {
    case COLUMN_INTEGER:
    case COLUMN_FLOAT:
    case COLUMN_NUMERIC:
    case COLUMN_BIGNUMERIC:
    case COLUMN_TIMESTAMP:
        return 1u << JSON_NUMBER | 1u << JSON_STRING;
    case COLUMN_BOOLEAN:
        return 1u << JSON_TRUE | 1u << JSON_FALSE | 1u << JSON_STRING;
    case COLUMN_JSON:
        return ~0u;
    default:
        return 1u << JSON_STRING;
    }
}

/* The types whose value is a short text or a number. */
static enum reason check_form(const struct schema_field *f, struct json_value v, const char **why)
{
    char buf[PLAIN_BYTES_MAX + JSON_PADDING_BYTES];
    struct span s = {v.ptr, v.len};
    bool is_string = v.type == JSON_STRING;

    if (is_string && !plain_text(v, buf, &s)) {
        *why = "too long";
        return REASON_BAD_VALUE;
    }
    switch ((enum column_type)f->type) {
    case COLUMN_INTEGER:
        return check_integer(s, why);
    case COLUMN_FLOAT:
        return check_float(s, is_string, why);
    case COLUMN_NUMERIC:
    case COLUMN_BIGNUMERIC:
        return check_numeric(f, s, why);
    case COLUMN_BOOLEAN:
        return is_string ? check_boolean(s, why) : REASON_NONE;
    case COLUMN_TIMESTAMP:
        return check_timestamp(s, is_string, why);
    case COLUMN_DATE:
        return check_date(s, why);
    case COLUMN_TIME:
        return check_time(s, why);
    case COLUMN_DATETIME:
        return check_datetime(s, why);
    default:
        ASSERT_HOT(false);
        return REASON_WRONG_TYPE;
    }
}

enum reason check_scalar(const struct schema_field *f, struct json_value v, const char **why)
{
    ASSERT_HOT(f->type != COLUMN_RECORD && v.type != JSON_NULL);
    if (unlikely((accepted_types(f->type) & 1u << v.type) == 0))
        return REASON_WRONG_TYPE;
    switch ((enum column_type)f->type) {
    case COLUMN_STRING:
        return check_string_length(f, json_string_body(v), why);
    case COLUMN_BYTES:
        return check_bytes(f, json_string_body(v), why);
    case COLUMN_GEOGRAPHY:
        *why = "neither WKT nor GeoJSON";
        return check_geography(json_string_body(v)) ? REASON_NONE : REASON_BAD_VALUE;
    case COLUMN_JSON:
        *why = "a number past the largest double";
        return check_json_numbers(v) ? REASON_NONE : REASON_BAD_VALUE;
    default:
        return check_form(f, v, why);
    }
}

/* The position behind the string that starts at p. */
static const char *skip_string(const char *p, const char *end)
{
    for (p++; p < end && *p != '"'; p++) {
        if (*p == '\\')
            p++;
    }
    return p + 1;
}

bool check_json_numbers(struct json_value v)
{
    const char *p = v.ptr;
    const char *end = v.ptr + v.len;

    while (p < end) {
        const char *start = p;

        if (*p == '"') {
            p = skip_string(p, end);
            continue;
        }
        if (*p != '-' && (*p < '0' || *p > '9')) {
            p++;
            continue;
        }
        while (p < end && (*p == '-' || *p == '+' || *p == '.' || (*p | 0x20) == 'e' ||
                           (*p >= '0' && *p <= '9')))
            p++;
        if (!is_finite((struct span){start, (size_t)(p - start)}))
            return false;
    }
    return true;
}
