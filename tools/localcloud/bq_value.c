// Role: see bq_value.h.
#include "tools/localcloud/bq_value.h"

#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/localcloud/bq_time.h"

struct cell {
    enum { CELL_INT, CELL_REAL, CELL_BOOL, CELL_TEXT } kind;
    int64_t i;
    double d;
    const char *text; // into the row, scratch or owned
    size_t n;
    char scratch[40];
    char *owned;
};

void lc_value_ctx_fini(struct lc_value_ctx *c)
{
    lc_buf_free(&c->nested);
}

static bool wrong_value(struct lc_value_ctx *c, const struct lc_field *f, const json_t *v)
{
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    snprintf(c->err, LC_ERROR_BYTES, "Could not convert value to %s. Field: %.200s; Value: %.120s",
             lc_type_name(f->type), f->name, text ? text : "?");
    free(text);
    return false;
}

static bool take_integer(struct lc_value_ctx *c, const json_t *v, struct cell *out)
{
    out->kind = CELL_INT;
    if (json_is_integer(v)) {
        out->i = json_integer_value(v);
        return true;
    }
    if (json_is_string(v))
        return lc_parse_i64(json_string_value(v), &out->i) &&
               strlen(json_string_value(v)) == json_string_length(v);
    double d = json_is_real(v) && c->ints_as_reals ? json_real_value(v) : 0.5;
    out->i = fabs(d) <= 9007199254740992.0 ? (int64_t)d : 0;
    return fabs(d) <= 9007199254740992.0 && d == floor(d);
}

static bool special_float(const char *s, double *d)
{
    bool minus = *s == '-';
    s += minus || *s == '+';
    if (!strcasecmp(s, "nan"))
        *d = NAN;
    else if (!strcasecmp(s, "inf") || !strcasecmp(s, "infinity"))
        *d = minus ? -INFINITY : INFINITY;
    else
        return false;
    return true;
}

// Whole text is a JSON-like number: no hexadecimal, no leading blanks, finite.
static bool plain_number(const char *s, double *d)
{
    char *end;
    if (strspn(s, "0123456789+-.eE") != strlen(s) || !*s)
        return false;
    *d = strtod(s, &end);
    return *end == 0 && isfinite(*d);
}

static bool take_float(const json_t *v, struct cell *out)
{
    out->kind = CELL_REAL;
    if (json_is_number(v))
        out->d = json_number_value(v);
    else if (!json_is_string(v) || (!special_float(json_string_value(v), &out->d) &&
                                    !plain_number(json_string_value(v), &out->d)))
        return false;
    if (isnan(out->d)) { // SQLite stores NaN as NULL
        out->kind = CELL_TEXT;
        out->text = "NaN";
        out->n = 3;
    }
    return true;
}

static bool take_boolean(struct lc_value_ctx *c, const json_t *v, struct cell *out)
{
    static const char *const yes[] = {"true", "t", "yes", "y", "1"}, *const no[] = {"false", "f",
                                                                                    "no", "n", "0"};
    out->kind = CELL_BOOL;
    if (json_is_boolean(v)) {
        out->i = json_is_true(v);
        return true;
    }
    if (json_is_integer(v) && !c->streaming) {
        out->i = json_integer_value(v);
        return out->i == 0 || out->i == 1;
    }
    const char *s = json_string_value(v);
    if (c->streaming) {
        out->i = s && !strcasecmp(s, "true");
        return out->i || (s && !strcasecmp(s, "false"));
    }
    for (size_t i = 0; s && i < LC_ARRAY_LEN(yes); i++) {
        out->i = !strcasecmp(s, yes[i]);
        if (out->i || !strcasecmp(s, no[i]))
            return true;
    }
    return false;
}

static bool take_timestamp(const json_t *v, struct cell *out)
{
    out->kind = CELL_INT;
    if (json_is_string(v))
        return lc_parse_timestamp(json_string_value(v), json_string_length(v), false, &out->i);
    if (json_is_integer(v)) {
        int64_t s = json_integer_value(v);
        if (s < LC_TIMESTAMP_MIN / LC_US_PER_SECOND || s > LC_TIMESTAMP_LAST / LC_US_PER_SECOND)
            return false;
        out->i = s * LC_US_PER_SECOND;
        return true;
    }
    double us = json_is_real(v) ? json_real_value(v) * 1e6 : 1e300;
    if (us < (double)LC_TIMESTAMP_MIN || us > 253402300799999000.0)
        return false;
    out->i = llround(us);
    return true;
}

static bool take_calendar(enum lc_type type, const json_t *v, struct cell *out)
{
    int64_t value;
    const char *s = json_string_value(v);
    size_t n = json_string_length(v);
    if (!s)
        return false;
    if (type == LC_DATE && lc_parse_date(s, n, &value))
        lc_date_text(value, out->scratch);
    else if (type == LC_TIME && lc_parse_time(s, n, &value))
        lc_time_text(value, out->scratch);
    else if (type == LC_DATETIME && lc_parse_datetime(s, n, &value))
        lc_datetime_text(value, 'T', out->scratch);
    else
        return false;
    out->text = out->scratch;
    out->n = strlen(out->scratch);
    return true;
}

static bool take_numeric(enum lc_type type, const json_t *v, struct cell *out)
{
    const char *s = json_string_value(v);
    if (json_is_number(v)) {
        out->owned = json_dumps(v, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
        s = out->owned;
    }
    double d;
    if (!s || !plain_number(s, &d))
        return false;
    size_t whole = 0, fraction = 0;
    const char *digit = s + (*s == '-' || *s == '+');
    while (*digit == '0')
        digit++;
    for (bool point = false; *digit && *digit != 'e' && *digit != 'E'; digit++) {
        point = point || *digit == '.';
        whole += !point;
        fraction += point && *digit != '.';
    }
    if (!*digit &&
        (whole > (type == LC_NUMERIC ? 29 : 39) || fraction > (type == LC_NUMERIC ? 9 : 38)))
        return false;
    out->text = s;
    out->n = strlen(s);
    return fabs(d) < (type == LC_NUMERIC ? 1e29 : 5.8e38);
}

static size_t characters(const char *s, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += (s[i] & 0xc0) != 0x80;
    return count;
}

static bool take_text(const struct lc_field *f, const json_t *v, struct cell *out)
{
    if (!json_is_string(v))
        return false;
    out->text = json_string_value(v);
    out->n = json_string_length(v);
    if (f->type != LC_BYTES)
        return !f->length_max || characters(out->text, out->n) <= (size_t)f->length_max;
    uint8_t *raw;
    size_t raw_n;
    if (!lc_base64_decode(out->text, out->n, &raw, &raw_n))
        return false;
    out->owned = lc_base64(raw, raw_n); // one spelling, so that equal bytes are equal text
    free(raw);
    out->text = out->owned;
    out->n = strlen(out->owned);
    return !f->length_max || raw_n <= (size_t)f->length_max;
}

// A load takes any JSON value; insertAll a string that holds JSON text.
static bool take_json(struct lc_value_ctx *c, const json_t *v, struct cell *out)
{
    const size_t flags = JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;
    json_t *parsed = c->streaming && json_is_string(v)
                         ? json_loadb(json_string_value(v), json_string_length(v), flags, NULL)
                     : c->streaming ? NULL
                                    : json_incref((json_t *)v);
    out->owned = parsed ? json_dumps(parsed, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    out->text = out->owned;
    out->n = out->owned ? strlen(out->owned) : 0;
    json_decref(parsed);
    return out->owned != NULL;
}

// [sign]Y-M [sign]D [sign]H:M:S[.F]
static bool take_interval(const json_t *v, struct cell *out)
{
    static const char blanks[] = "- _::";
    static const long long most[] = {10000, 11, 3660000, 87840000, 59, 59};
    const char *p = json_string_value(v), *start = p;
    long long part[6];
    if (!p || strlen(p) != json_string_length(v))
        return false;
    for (int i = 0; i < 6; i++) {
        char *end;
        if ((i == 0 || i == 2 || i == 3) && (*p == '-' || *p == '+'))
            p++;
        if (!isdigit((unsigned char)*p) || strspn(p, "0123456789") > 9)
            return false;
        part[i] = strtoll(p, &end, 10);
        if (part[i] > most[i] || (i < 5 && *end != (i == 2 ? ' ' : blanks[i])))
            return false;
        p = end + (i < 5);
    }
    bool more = false;
    if (*p == '.') {
        size_t digits = strspn(p + 1, "0123456789");
        more = strspn(p + 1, "0") < digits;
        if (digits == 0 || digits > 6)
            return false;
        p += 1 + digits;
    }
    out->text = start;
    out->n = json_string_length(v);
    return *p == '\0' && (part[0] < 10000 || part[1] == 0) &&
           (part[3] < 87840000 || (part[4] == 0 && part[5] == 0 && !more));
}

// One end of a range: text, in microseconds or days for comparing, and as it is answered.
static bool take_end(enum lc_type type, const json_t *v, int64_t *value, char text[40])
{
    const char *s = json_string_value(v);
    size_t n = json_string_length(v);
    if (!v || json_is_null(v)) {
        snprintf(text, 40, "UNBOUNDED");
        return true;
    }
    if (!s)
        return false;
    if (type == LC_DATE && lc_parse_date(s, n, value))
        lc_date_text(*value, text);
    else if (type == LC_DATETIME && lc_parse_datetime(s, n, value))
        lc_datetime_text(*value, 'T', text);
    else if (type == LC_TIMESTAMP && lc_parse_timestamp(s, n, false, value))
        lc_datetime_text(*value, 'T', text);
    else
        return false;
    return true;
}

// {"start": ..., "end": ...}, each missing or null for no bound.
static bool take_range(const struct lc_field *f, const json_t *v, struct cell *out)
{
    const json_t *start = json_object_get(v, "start"), *end = json_object_get(v, "end");
    const size_t members = (start != NULL) + (size_t)(end != NULL);
    char from[40], to[40];
    int64_t first = INT64_MIN, past = INT64_MAX;
    if (!json_is_object(v) || json_object_size(v) != members ||
        !take_end(f->range, start, &first, from) || !take_end(f->range, end, &past, to) ||
        first >= past)
        return false;
    out->owned = lc_format("[%s, %s)", from, to);
    out->text = out->owned;
    out->n = strlen(out->owned);
    return true;
}

// Checks one non-null scalar. out->owned, when set, is the caller's to free, on failure too.
static bool take_scalar(struct lc_value_ctx *c, const struct lc_field *f, const json_t *v,
                        struct cell *out)
{
    bool ok = false;
    out->kind = CELL_TEXT;
    out->owned = NULL;
    switch (f->type) {
    case LC_INTEGER:
        ok = take_integer(c, v, out);
        break;
    case LC_FLOAT:
        ok = take_float(v, out);
        break;
    case LC_BOOLEAN:
        ok = take_boolean(c, v, out);
        break;
    case LC_TIMESTAMP:
        ok = take_timestamp(v, out);
        break;
    case LC_DATE:
    case LC_TIME:
    case LC_DATETIME:
        ok = take_calendar(f->type, v, out);
        break;
    case LC_NUMERIC:
    case LC_BIGNUMERIC:
        ok = take_numeric(f->type, v, out);
        break;
    case LC_JSON:
        ok = take_json(c, v, out);
        break;
    case LC_INTERVAL:
        ok = take_interval(v, out);
        break;
    case LC_RANGE:
        ok = take_range(f, v, out);
        break;
    default:
        ok = f->type != LC_RECORD && take_text(f, v, out);
        break;
    }
    if (ok)
        c->bytes += out->kind == CELL_TEXT ? out->n + 2 : out->kind == CELL_BOOL ? 1u : 8u;
    return ok || wrong_value(c, f, v);
}

static void add_json_text(struct lc_buf *b, const char *s, size_t n)
{
    lc_buf_add(b, "\"", 1);
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char ch = (unsigned char)s[i];
        if (ch >= 0x20 && ch != '"' && ch != '\\')
            continue;
        lc_buf_add(b, s + from, i - from);
        if (ch < 0x20)
            lc_buf_fmt(b, "\\u%04x", ch);
        else
            lc_buf_fmt(b, "\\%c", ch);
        from = i + 1;
    }
    lc_buf_add(b, s + from, n - from);
    lc_buf_add(b, "\"", 1);
}

static void add_cell(struct lc_buf *b, enum lc_type type, const struct cell *x)
{
    char number[40];
    if (x->kind == CELL_INT)
        lc_buf_fmt(b, "%lld", (long long)x->i);
    else if (x->kind == CELL_BOOL)
        lc_buf_str(b, x->i ? "true" : "false");
    else if (x->kind == CELL_REAL && isinf(x->d))
        lc_buf_str(b, x->d > 0 ? "9e999" : "-9e999"); // SQLite's JSON reads these as infinities
    else if (x->kind == CELL_REAL)
        lc_buf_str(b, lc_double_text(x->d, number));
    else if (type == LC_JSON)
        lc_buf_add(b, x->text, x->n);
    else
        add_json_text(b, x->text, x->n);
}

static bool add_value(struct lc_value_ctx *c, const struct lc_field *f, const json_t *v,
                      bool element);

// Value of a field in an object: exact key first, then any spelling (names are case-insensitive).
static const json_t *member(const json_t *object, const char *name)
{
    const json_t *v = json_object_get(object, name);
    if (v)
        return v;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) if (strcasecmp(key, name) == 0) return value;
    return NULL;
}

// After matched of the object's keys were used: names the first other one. @return false when there
// is one.
static bool check_unknown(struct lc_value_ctx *c, const struct lc_schema *s, const json_t *object,
                          size_t matched, const char *parent)
{
    const char *key;
    json_t *value;
    if (matched == json_object_size(object))
        return true;
    json_object_foreach((json_t *)object, key, value)
    {
        const struct lc_field *f = lc_schema_find(s, key);
        if (f && member(object, f->name) != value) {
            snprintf(c->err, LC_ERROR_BYTES, "Duplicate key (differs in case only): %.200s", key);
            c->where = key;
            return false;
        }
        if (!f && !c->ignore_unknown) {
            snprintf(c->err, LC_ERROR_BYTES, "no such field: %.100s%s%.200s.", parent,
                     *parent ? "." : "", key);
            c->where = key;
            return false;
        }
    }
    return true;
}

static bool add_record(struct lc_value_ctx *c, const struct lc_field *f, const json_t *v)
{
    if (!json_is_object(v))
        return wrong_value(c, f, v);
    size_t matched = 0;
    bool first = true;
    lc_buf_str(&c->nested, "{");
    for (size_t i = 0; i < f->sub.count; i++) {
        const struct lc_field *sub = &f->sub.fields[i];
        const json_t *value = member(v, sub->name);
        matched += value != NULL;
        if (!value && sub->mode == LC_NULLABLE)
            continue;
        lc_buf_str(&c->nested, first ? "" : ",");
        add_json_text(&c->nested, sub->name, strlen(sub->name));
        lc_buf_str(&c->nested, ":");
        first = false;
        if (!add_value(c, sub, value, false))
            return false;
    }
    lc_buf_str(&c->nested, "}");
    return check_unknown(c, &f->sub, v, matched, f->name);
}

static bool add_array(struct lc_value_ctx *c, const struct lc_field *f, const json_t *v)
{
    lc_buf_str(&c->nested, "[");
    if (v && !json_is_null(v) && !json_is_array(v)) {
        snprintf(c->err, LC_ERROR_BYTES,
                 "Array specified for non-repeated or scalar for repeated field: %.200s.", f->name);
        return false;
    }
    for (size_t i = 0; i < json_array_size(v); i++) {
        lc_buf_str(&c->nested, i ? "," : "");
        if (!add_value(c, f, json_array_get(v, i), true))
            return false;
    }
    lc_buf_str(&c->nested, "]");
    return true;
}

static bool required_missing(struct lc_value_ctx *c, const struct lc_field *f, const json_t *v)
{
    if (v)
        snprintf(c->err, LC_ERROR_BYTES,
                 "Only optional fields can be set to NULL. Field: %.200s; Value: NULL", f->name);
    else
        snprintf(c->err, LC_ERROR_BYTES, "Missing required field: %.200s.", f->name);
    return false;
}

// Appends v as JSON. element: v is an element of the repeated field f.
static bool add_value(struct lc_value_ctx *c, const struct lc_field *f, const json_t *v,
                      bool element)
{
    if (f->mode == LC_REPEATED && !element)
        return add_array(c, f, v);
    bool json_null = f->type == LC_JSON && v && element;
    if ((!v || json_is_null(v)) && !json_null) {
        if (element || f->mode == LC_REQUIRED)
            return required_missing(c, f, v);
        lc_buf_str(&c->nested, "null");
        return true;
    }
    if (f->type == LC_RECORD)
        return add_record(c, f, v);
    struct cell x;
    bool ok = take_scalar(c, f, v, &x);
    if (ok)
        add_cell(&c->nested, f->type, &x);
    free(x.owned);
    return ok;
}

static bool bind_nested(struct lc_value_ctx *c, const struct lc_field *f, const json_t *v,
                        sqlite3_stmt *st, int index)
{
    c->nested.n = 0;
    if (!add_value(c, f, v, false))
        return false;
    sqlite3_bind_text(st, index, c->nested.p, (int)c->nested.n, SQLITE_TRANSIENT);
    return true;
}

static void bind_cell(sqlite3_stmt *st, int index, const struct cell *x)
{
    if (x->kind == CELL_REAL)
        sqlite3_bind_double(st, index, x->d);
    else if (x->kind != CELL_TEXT)
        sqlite3_bind_int64(st, index, x->i);
    else
        sqlite3_bind_text(st, index, x->text, (int)x->n,
                          x->owned || x->text == x->scratch ? SQLITE_TRANSIENT : SQLITE_STATIC);
}

static int64_t partition_us(enum lc_type type, const struct cell *x)
{
    int64_t v = 0;
    if (type == LC_TIMESTAMP)
        return x->i;
    if (type == LC_DATE && lc_parse_date(x->text, x->n, &v))
        return v * LC_US_PER_DAY;
    bool ok = lc_parse_datetime(x->text, x->n, &v);
    assert(ok);
    return v;
}

static bool bind_field(struct lc_value_ctx *c, const struct lc_field *f, const json_t *v,
                       sqlite3_stmt *st, int index)
{
    if ((f->mode == LC_REPEATED && json_array_size(v)) ||
        (v && !json_is_null(v) && f->type == LC_RECORD))
        return bind_nested(c, f, v, st, index);
    if (!v || json_is_null(v) || f->mode == LC_REPEATED) {
        if (f->mode == LC_REPEATED && v && !json_is_null(v) && !json_is_array(v))
            return bind_nested(c, f, v, st, index); // says what is wrong
        sqlite3_bind_null(st, index);
        return f->mode != LC_REQUIRED || required_missing(c, f, v);
    }
    struct cell x;
    bool ok = take_scalar(c, f, v, &x);
    if (ok)
        bind_cell(st, index, &x);
    if (ok && (size_t)index == c->partition_param)
        c->partition_us = partition_us(f->type, &x);
    free(x.owned);
    return ok;
}

bool lc_row_bind(struct lc_value_ctx *c, const struct lc_schema *s, const json_t *row,
                 sqlite3_stmt *st)
{
    size_t matched = 0;
    c->partition_us = INT64_MIN;
    c->where = NULL;
    if (!json_is_object(row)) {
        snprintf(c->err, LC_ERROR_BYTES, "Start of a JSON object expected.");
        return false;
    }
    for (size_t i = 0; i < s->count; i++) {
        const json_t *v = member(row, s->fields[i].name);
        matched += v != NULL;
        if (!bind_field(c, &s->fields[i], v, st, (int)i + 1)) {
            c->where = c->where ? c->where : s->fields[i].name;
            return false;
        }
    }
    return check_unknown(c, s, row, matched, "");
}
