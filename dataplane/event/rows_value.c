/*
 * HOT. What a value shows, and whether it fits a column whose type came from data. Types from data
 * are strict: a column takes only the JSON type that it was made from, so that every value reads
 * back as what it was. See rows_internal.h.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "dataplane/event/check_internal.h"
#include "dataplane/event/decimal_internal.h"
#include "dataplane/event/rows_internal.h"
#include "dataplane/event/text_internal.h"

#define DIGITS_ALWAYS   15  /* a double gives back so many digits, whatever they are (DBL_DIG) */
#define EXPONENT_ALWAYS 290 /* within these powers of ten */
#define DIGITS_MAX      800 /* no double has more (767) */
#define SAFE_INTEGER    INT64_C(9007199254740991) /* 2^53 - 1 */

static bool is_plain_integer(struct span s)
{
    size_t i = s.len > 0 && s.ptr[0] == '-' ? 1 : 0;

    for (; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
    }
    return true;
}

/* The significant digits of a number, and the power of ten of the first. @return how many. */
static size_t significant(const struct decimal *d, size_t *first, int64_t *power)
{
    size_t n = d->whole.len + d->fraction.len;

    *first = 0;
    while (*first < n && decimal_digit(d, *first) == 0)
        ++*first;
    while (n > *first && decimal_digit(d, n - 1) == 0)
        n--;
    *power = (int64_t)d->whole.len - 1 - (int64_t)*first + d->exponent;
    return n - *first;
}

/*
 * Whether the nearest double, printed with n digits, gives these digits again. Only digits and the
 * exponent are looked at: the decimal point depends on the locale.
 */
static COLD_PATH bool double_keeps(struct span number, const struct decimal *d, size_t first,
                                   size_t n, int64_t power)
{
    char text[DIGITS_MAX + 64];
    const char *p = text;
    double value;
    int len;

    if (n > DIGITS_MAX || json_double(number, &value) != 0 || value == 0)
        return false;
    len = snprintf(text, sizeof(text), "%.*e", (int)n - 1, fabs(value));
    ASSERT(len > 0 && (size_t)len < sizeof(text));
    for (size_t i = 0; i < n; p++) {
        ASSERT(*p != '\0');
        if (*p < '0' || *p > '9')
            continue;
        if (*p - '0' != decimal_digit(d, first + i++))
            return false;
    }
    return *p == 'e' && strtoll(p + 1, NULL, 10) == power;
}

enum rows_number rows_number(struct span number)
{
    struct decimal d;
    size_t first, n;
    int64_t whole, power;
    int rc;

    if (is_plain_integer(number) && json_int64(number, &whole) == 0)
        return ROWS_NUMBER_INTEGER;
    rc = decimal_read(number, &d);
    ASSERT(rc == 0); /* the document was valid */
    n = significant(&d, &first, &power);
    if (n == 0 || (n <= DIGITS_ALWAYS && power >= -EXPONENT_ALWAYS && power <= EXPONENT_ALWAYS))
        return ROWS_NUMBER_FLOAT;
    return double_keeps(number, &d, first, n, power) ? ROWS_NUMBER_FLOAT : ROWS_NUMBER_TEXT;
}

bool rows_integer_in_double(struct span integer)
{
    int64_t v = 0;
    uint64_t u;
    int rc = json_int64(integer, &v);

    ASSERT_HOT(rc == 0);
    u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    return rc == 0 && (u == 0 || u >> __builtin_ctzll(u) <= (uint64_t)SAFE_INTEGER);
}

bool rows_integer_is_safe(struct span integer)
{
    int64_t v = 0;

    if (integer.len < 16)
        return true;
    return json_int64(integer, &v) == 0 && v >= -SAFE_INTEGER && v <= SAFE_INTEGER;
}

enum rows_elements rows_elements(struct json_value array)
{
    enum rows_elements all = ROWS_ELEMENTS_NONE;
    struct json_walk w;
    struct json_value v;

    json_walk_init(&w, array);
    while (json_walk_element(&w, &v)) {
        enum rows_elements one =
            v.type == JSON_OBJECT ? ROWS_ELEMENTS_OBJECT : ROWS_ELEMENTS_SCALAR;

        if (v.type == JSON_NULL || v.type == JSON_ARRAY ||
            (all != ROWS_ELEMENTS_NONE && all != one))
            return ROWS_ELEMENTS_MIXED;
        all = one;
    }
    return all;
}

bool rows_source_fits(const struct json_member *m)
{
    struct text_iter it;
    size_t n = 0;

    if (m->key.len <= ROWS_SOURCE_BYTES_MAX)
        return true;
    if (!m->key_escaped || m->key.len > ROWS_RAW_NAME_MAX)
        return false;
    text_iter_init(&it, m->key);
    while (text_iter_next(&it) != TEXT_END)
        n++;
    return n <= ROWS_SOURCE_BYTES_MAX;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

static uint32_t object_shows(struct json_value object, uint32_t depth)
{
    struct json_walk w;
    struct json_member m;
    uint32_t n = 0;

    json_walk_init(&w, object);
    while (n != 1 && json_walk_member(&w, &m)) {
        if (rows_source_fits(&m))
            n = least(n, rows_shows(m.value, depth + 1));
    }
    if (n == 0)
        return 0;
    return depth >= SCHEMA_DEPTH_MAX ? 1 : n + 1; /* at the limit it becomes a JSON column */
}

uint32_t rows_shows(struct json_value v, uint32_t depth)
{
    struct json_walk w;
    uint32_t n = 0;

    if (v.type == JSON_NULL)
        return 0;
    if (v.type == JSON_OBJECT)
        return object_shows(v, depth);
    if (v.type != JSON_ARRAY)
        return 1;
    switch (rows_elements(v)) {
    case ROWS_ELEMENTS_NONE:
        return 0;
    case ROWS_ELEMENTS_OBJECT:
        json_walk_init(&w, v);
        while (n != 1 && json_walk_element(&w, &v))
            n = least(n, object_shows(v, depth));
        return n;
    default:
        return 1;
    }
}

bool rows_is_time(struct json_value string)
{
    static const struct schema_field column = {.type = COLUMN_TIMESTAMP};
    const char *why;

    return string.type == JSON_STRING && check_scalar(&column, string, &why) == REASON_NONE;
}

bool rows_fits(const struct rows_column *c, struct json_value v)
{
    const struct schema_field *f = c->field;
    const char *why = "";

    if (f->type == COLUMN_JSON)
        return true;
    if (v.type == JSON_NULL || v.type == JSON_ARRAY)
        return false;
    if (f->type == COLUMN_RECORD)
        return v.type == JSON_OBJECT;
    if (c->base)
        return check_scalar(f, v, &why) == REASON_NONE;
    switch ((enum column_type)f->type) {
    case COLUMN_STRING:
        return v.type == JSON_STRING;
    case COLUMN_INTEGER:
        return v.type == JSON_NUMBER &&
               rows_number((struct span){v.ptr, v.len}) == ROWS_NUMBER_INTEGER;
    case COLUMN_FLOAT:
        if (v.type != JSON_NUMBER)
            return false;
        switch (rows_number((struct span){v.ptr, v.len})) {
        case ROWS_NUMBER_INTEGER:
            return rows_integer_in_double((struct span){v.ptr, v.len});
        case ROWS_NUMBER_FLOAT:
            return true;
        default:
            return false;
        }
    case COLUMN_BOOLEAN:
        return v.type == JSON_TRUE || v.type == JSON_FALSE;
    case COLUMN_TIMESTAMP:
        return rows_is_time(v);
    default:
        ASSERT(false); /* rows_parse() lets no other type be one from data */
        return false;
    }
}
