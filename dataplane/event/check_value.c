/*
 * HOT. One value against one column: the forms that a BigQuery load takes, and no others. Where the
 * service is known to be laxer in ways that are not documented, this stays strict.
 */
#include <errno.h>
#include <math.h>

#include "dataplane/event/check_internal.h"
#include "dataplane/event/program_internal.h"
#include "dataplane/event/text_internal.h"
#include "dataplane/event/timeval_internal.h"

#define FINITE_DIGITS \
    300 /* a number of so many bytes without an exponent is below the largest double */

/* The text of a string value; unescaped into buf, which holds COLUMN_PLAIN_MAX, when it has escapes.
 */
static bool plain_text(struct json_value v, char *buf, struct span *out)
{
    struct span body = json_string_body(v);

    *out = body;
    if (likely(memchr(body.ptr, '\\', body.len) == NULL))
        return true;
    if (body.len > COLUMN_PLAIN_MAX)
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

static enum reason read_integer(struct span s, int64_t *out, const char **why)
{
    int rc = is_plain_integer(s) ? json_int64(s, out) : -EINVAL;

    if (likely(rc == 0))
        return REASON_NONE;
    *why = rc == -ERANGE ? "outside 64 bits" : "not a whole number";
    return REASON_BAD_VALUE;
}

static enum reason read_float(struct span s, bool is_string, double *out, const char **why)
{
    *why = "not a finite number";
    if (json_double(s, out) == 0)
        return REASON_NONE;
    if (is_string && span_equal(s, span_of("NaN")))
        *out = (double)NAN;
    else if (is_string && span_equal(s, span_of("Infinity")))
        *out = (double)INFINITY;
    else if (is_string && span_equal(s, span_of("-Infinity")))
        *out = -(double)INFINITY;
    else
        return REASON_BAD_VALUE;
    return REASON_NONE;
}

static enum reason read_numeric(const struct schema_field *f, struct span s, struct decimal *out,
                                const char **why)
{
    *why = "outside the column's range or scale";
    if (decimal_read(s, out) != 0) {
        *why = "not a decimal number";
        return REASON_BAD_VALUE;
    }
    return decimal_fits(out, f->type == COLUMN_BIGNUMERIC, f->precision, f->scale)
               ? REASON_NONE
               : REASON_BAD_VALUE;
}

static enum reason read_timestamp(struct span s, bool is_string, int64_t *us, const char **why)
{
    unsigned form = 0;

    if (!is_string) {
        *why = "seconds outside the years 1 to 9999: milliseconds?";
        return time_parse_seconds(s, us) == 0 ? REASON_NONE : REASON_BAD_VALUE;
    }
    *why = "not YYYY-MM-DD HH:MM[:SS[.ffffff]] with Z, +hh:mm or UTC";
    if (time_parse_form(s, us, &form) != 0)
        return REASON_BAD_VALUE;
    if (form & TIME_FORM_NANOS)
        *why = "more than six fraction digits";
    return form & (TIME_FORM_DATE_ONLY | TIME_FORM_COMPACT_OFFSET | TIME_FORM_NANOS |
                   TIME_FORM_LOWER_T)
               ? REASON_BAD_VALUE
               : REASON_NONE;
}

static enum reason read_date(struct span s, int64_t *out, const char **why)
{
    int32_t days;

    *why = "not YYYY-MM-DD";
    if (s.len != DATE_TEXT_BYTES || date_parse(s, &days) != 0)
        return REASON_BAD_VALUE;
    *out = days;
    return REASON_NONE;
}

static enum reason read_time(struct span s, int64_t *out, const char **why)
{
    unsigned form = 0;
    size_t used;
    int64_t us = time_of_day(s, &used, &form);

    *why = "not HH:MM:SS[.ffffff]";
    if (us < 0 || used != s.len || form != 0)
        return REASON_BAD_VALUE;
    *out = time_pack_clock(us);
    return REASON_NONE;
}

static enum reason read_datetime(struct span s, int64_t *out, const char **why)
{
    unsigned form = 0;
    int64_t us;

    *why = "not YYYY-MM-DD HH:MM:SS[.ffffff] without a zone";
    if (time_parse_form(s, &us, &form) != 0 || form != 0)
        return REASON_BAD_VALUE;
    *out = time_pack_civil(us);
    return REASON_NONE;
}

static enum reason read_boolean(struct span s, int64_t *out, const char **why)
{
    *why = "neither true nor false";
    *out = span_equal(s, span_of("true"));
    return *out != 0 || span_equal(s, span_of("false")) ? REASON_NONE : REASON_BAD_VALUE;
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

int64_t column_base64(struct span raw, char *out)
{
    struct text_iter it;
    uint32_t bits = 0;
    int64_t n = 0, len = 0;
    int padding = 0, c;

    text_iter_init(&it, raw);
    for (; (c = text_iter_next(&it)) != TEXT_END; n++) {
        int v = c == '=' ? 0 : base64_value(c);

        padding += c == '=';
        if (v < 0 || padding > 2 || (padding > 0 && c != '='))
            return -1;
        bits = bits << 6 | (uint32_t)v;
        if (n % 4 != 3)
            continue;
        for (int i = 0; i < 3 - padding; i++, len++) {
            if (out != NULL)
                out[len] = (char)(bits >> (16 - 8 * i));
        }
        if ((bits & ((1u << (8 * padding)) - 1)) != 0) /* bits that stand for nothing */
            return -1;
        bits = 0;
        if (padding > 0)
            padding = 3; /* nothing may follow */
    }
    return n % 4 == 0 ? len : -1;
}

static enum reason read_bytes(const struct schema_field *f, struct span raw, const char **why)
{
    int64_t n = column_base64(raw, NULL);

    *why = "not padded base64";
    if (n < 0)
        return REASON_BAD_VALUE;
    *why = "longer than the column's maxLength";
    return f->max_length == 0 || (uint64_t)n <= f->max_length ? REASON_NONE : REASON_BAD_VALUE;
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
    case COLUMN_RANGE:
        return 1u << JSON_OBJECT;
    default:
        return 1u << JSON_STRING;
    }
}

/* The types whose value is a short text or a number. */
static enum reason read_form(const struct schema_field *f, struct json_value v,
                             struct column_value *out, const char **why)
{
    struct span s = {v.ptr, v.len};
    bool is_string = v.type == JSON_STRING;

    if (is_string && !plain_text(v, out->unescaped, &s)) {
        *why = "too long";
        return REASON_BAD_VALUE;
    }
    switch ((enum column_type)f->type) {
    case COLUMN_INTEGER:
        return read_integer(s, &out->number, why);
    case COLUMN_FLOAT:
        return read_float(s, is_string, &out->real, why);
    case COLUMN_NUMERIC:
    case COLUMN_BIGNUMERIC:
        return read_numeric(f, s, &out->decimal, why);
    case COLUMN_BOOLEAN:
        return read_boolean(s, &out->number, why);
    case COLUMN_TIMESTAMP:
        return read_timestamp(s, is_string, &out->number, why);
    case COLUMN_DATE:
        return read_date(s, &out->number, why);
    case COLUMN_TIME:
        return read_time(s, &out->number, why);
    case COLUMN_DATETIME:
        return read_datetime(s, &out->number, why);
    case COLUMN_INTERVAL:
        *why = "not [-]Y-M [-]D [-]H:M:S[.ffffff] within BigQuery's range";
        return check_interval(s) ? REASON_NONE : REASON_BAD_VALUE;
    default:
        ASSERT_HOT(false);
        return REASON_WRONG_TYPE;
    }
}

/* One end of a range. @return false with *why set. */
static bool read_end(const struct schema_field *f, struct json_value v, struct column_value *out,
                     int64_t *end, const char **why)
{
    struct span s;
    enum reason reason;

    *why = "an end that is neither a string nor null";
    if (v.type != JSON_STRING)
        return false;
    *why = "too long";
    if (!plain_text(v, out->unescaped, &s))
        return false;
    if (f->range == COLUMN_DATE)
        reason = read_date(s, end, why);
    else if (f->range == COLUMN_DATETIME)
        reason = read_datetime(s, end, why);
    else
        reason = read_timestamp(s, true, end, why);
    return reason == REASON_NONE;
}

/* {"start": ..., "end": ...}: null, or not there, for no bound. Values compare as they are encoded. */
static enum reason read_range(const struct schema_field *f, struct json_value v,
                              struct column_value *out, const char **why)
{
    bool start_seen = false, end_seen = false;
    struct json_walk w;
    struct json_member m;

    out->has_start = false;
    out->has_end = false;
    json_walk_init(&w, v);
    while (json_walk_member(&w, &m)) {
        const bool start = json_key_equal(m.key, m.key_escaped, span_of("start"));
        bool *seen = start ? &start_seen : &end_seen;

        *why = "a RANGE has start and end, each at most once";
        if ((!start && !json_key_equal(m.key, m.key_escaped, span_of("end"))) || *seen)
            return REASON_BAD_VALUE;
        *seen = true;
        if (m.value.type == JSON_NULL)
            continue;
        if (!read_end(f, m.value, out, start ? &out->number : &out->past, why))
            return REASON_BAD_VALUE;
        *(start ? &out->has_start : &out->has_end) = true;
    }
    *why = "a RANGE whose start is not before its end";
    return out->has_start && out->has_end && out->number >= out->past ? REASON_BAD_VALUE
                                                                      : REASON_NONE;
}

enum reason column_value_read(const struct schema_field *f, struct json_value v,
                              struct column_value *out, const char **why)
{
    ASSERT_HOT(f->type != COLUMN_RECORD && v.type != JSON_NULL);
    if (unlikely((accepted_types(f->type) & 1u << v.type) == 0))
        return REASON_WRONG_TYPE;
    if (f->type != COLUMN_JSON && v.type == JSON_STRING)
        out->text = json_string_body(v);
    else
        out->text = (struct span){v.ptr, v.len};
    switch ((enum column_type)f->type) {
    case COLUMN_STRING:
        return check_string_length(f, out->text, why);
    case COLUMN_BYTES:
        return read_bytes(f, out->text, why);
    case COLUMN_GEOGRAPHY:
        *why = "neither WKT nor GeoJSON";
        return check_geography(out->text) ? REASON_NONE : REASON_BAD_VALUE;
    case COLUMN_RANGE:
        return read_range(f, v, out, why);
    case COLUMN_JSON:
        *why = "a number past the largest double";
        return check_json_numbers(v) ? REASON_NONE : REASON_BAD_VALUE;
    default:
        return read_form(f, v, out, why);
    }
}

enum reason check_scalar(const struct schema_field *f, struct json_value v, const char **why)
{
    struct column_value unused;

    return column_value_read(f, v, &unused, why);
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
