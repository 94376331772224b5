// Role: the SQLite functions behind translated queries. Calendar functions take a TIMESTAMP as
// integer microseconds and a DATE or DATETIME as text, and answer in the same form.
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/localcloud/bq_time.h"
#include "tools/localcloud/http.h"
#include "tools/localcloud/sql.h"

struct moment {
    enum { AS_TIMESTAMP, AS_DATE, AS_DATETIME } form;
    int64_t us;
};

static const char *text_of(sqlite3_value *v)
{
    const unsigned char *s = sqlite3_value_text(v);
    return s ? (const char *)s : "";
}

// @return false after answering NULL or an error.
static bool take_moment(sqlite3_context *c, sqlite3_value *v, struct moment *m)
{
    int64_t days;
    if (sqlite3_value_type(v) == SQLITE_NULL) {
        sqlite3_result_null(c);
        return false;
    }
    if (sqlite3_value_type(v) == SQLITE_INTEGER) {
        *m = (struct moment){AS_TIMESTAMP, sqlite3_value_int64(v)};
        return true;
    }
    const char *s = text_of(v);
    size_t n = strlen(s);
    if (lc_parse_date(s, n, &days)) {
        *m = (struct moment){AS_DATE, days * LC_US_PER_DAY};
        return true;
    }
    m->form = AS_DATETIME;
    if (lc_parse_datetime(s, n, &m->us))
        return true;
    m->form = AS_TIMESTAMP;
    if (lc_parse_timestamp(s, n, true, &m->us))
        return true;
    char *message = lc_format("Invalid date or timestamp string \"%.60s\"", s);
    sqlite3_result_error(c, message, -1);
    free(message);
    return false;
}

static void answer(sqlite3_context *c, const struct moment *m)
{
    char text[40];
    if (m->us < LC_TIMESTAMP_MIN || m->us > LC_TIMESTAMP_LAST)
        sqlite3_result_error(c, "Date or timestamp overflow", -1);
    else if (m->form == AS_TIMESTAMP)
        sqlite3_result_int64(c, m->us);
    else if (m->form == AS_DATE)
        sqlite3_result_text(c, lc_date_text(lc_floor_div(m->us, LC_US_PER_DAY), text), -1,
                            SQLITE_TRANSIENT);
    else
        sqlite3_result_text(c, lc_datetime_text(m->us, 'T', text), -1, SQLITE_TRANSIENT);
}

// Length of a part that is a fixed number of microseconds, 0 for others.
static int64_t part_us(const char *part)
{
    static const struct {
        const char *name;
        int64_t us;
    } parts[] = {{"MICROSECOND", 1},         {"MILLISECOND", 1000},  {"SECOND", LC_US_PER_SECOND},
                 {"MINUTE", 60000000},       {"HOUR", 3600000000LL}, {"DAY", LC_US_PER_DAY},
                 {"WEEK", 7 * LC_US_PER_DAY}};
    for (size_t i = 0; i < LC_ARRAY_LEN(parts); i++)
        if (strcmp(part, parts[i].name) == 0)
            return parts[i].us;
    return 0;
}

static int part_months(const char *part)
{
    return !strcmp(part, "MONTH")     ? 1
           : !strcmp(part, "QUARTER") ? 3
           : !strcmp(part, "YEAR")    ? 12
                                      : 0;
}

static int64_t month_index(const struct moment *m)
{
    struct lc_date d = lc_date_from_days(lc_floor_div(m->us, LC_US_PER_DAY));
    return d.year * 12 + d.month - 1;
}

static void f_add(sqlite3_context *c, int argc, sqlite3_value **argv)
{
    struct moment m;
    (void)argc;
    if (!take_moment(c, argv[0], &m))
        return;
    int64_t n = sqlite3_value_int64(argv[1]), step = part_us(text_of(argv[2])), total;
    int months = part_months(text_of(argv[2]));
    if (n > 4000000000000000LL || n < -4000000000000000LL || (!step && !months) ||
        __builtin_mul_overflow(n, step, &total)) {
        sqlite3_result_error(c, "Unsupported date part or interval overflow", -1);
        return;
    }
    if (months && n > -200000 && n < 200000) {
        int64_t days = lc_floor_div(m.us, LC_US_PER_DAY), index = month_index(&m) + n * months;
        struct lc_date d = lc_date_from_days(days);
        int day = d.day;
        d.year = lc_floor_div(index, 12);
        d.month = (int)(index - d.year * 12) + 1;
        d.day = day < lc_month_days(d.year, d.month) ? day : lc_month_days(d.year, d.month);
        total = (lc_days_from_date(d) - days) * LC_US_PER_DAY;
    }
    m.us += total;
    answer(c, &m);
}

static void f_trunc(sqlite3_context *c, int argc, sqlite3_value **argv)
{
    struct moment m;
    (void)argc;
    if (!take_moment(c, argv[0], &m))
        return;
    const char *part = text_of(argv[1]);
    int64_t step = part_us(part), months = part_months(part);
    if (strcmp(part, "WEEK") == 0 || strcmp(part, "ISOWEEK") == 0) { // 1970-01-04 was a Sunday
        int64_t origin = (strcmp(part, "WEEK") == 0 ? 3 : 4) * LC_US_PER_DAY;
        m.us = lc_floor_div(m.us - origin, 7 * LC_US_PER_DAY) * 7 * LC_US_PER_DAY + origin;
    } else if (months) {
        int64_t index = lc_floor_div(month_index(&m), months) * months;
        int64_t year = lc_floor_div(index, 12);
        m.us = lc_days_from_date((struct lc_date){year, (int)(index - year * 12) + 1, 1}) *
               LC_US_PER_DAY;
    } else if (step) {
        m.us = lc_floor_div(m.us, step) * step;
    } else {
        sqlite3_result_error(c, "Unsupported date part", -1);
        return;
    }
    answer(c, &m);
}

static void f_diff(sqlite3_context *c, int argc, sqlite3_value **argv)
{
    struct moment a, b;
    (void)argc;
    if (!take_moment(c, argv[0], &a) || !take_moment(c, argv[1], &b))
        return;
    const char *part = text_of(argv[2]);
    int64_t step = part_us(part), months = part_months(part);
    if (months)
        sqlite3_result_int64(c, lc_floor_div(month_index(&a), months) -
                                    lc_floor_div(month_index(&b), months));
    else if (step && a.form == AS_TIMESTAMP)
        sqlite3_result_int64(c, (a.us - b.us) / step);
    else if (step) {
        int64_t origin = step == 7 * LC_US_PER_DAY ? 3 * LC_US_PER_DAY : 0;
        sqlite3_result_int64(c,
                             lc_floor_div(a.us - origin, step) - lc_floor_div(b.us - origin, step));
    } else
        sqlite3_result_error(c, "Unsupported date part", -1);
}

static int64_t extract_part(const struct moment *m, const char *part)
{
    int64_t days = lc_floor_div(m->us, LC_US_PER_DAY), in_day = m->us - days * LC_US_PER_DAY;
    struct lc_date d = lc_date_from_days(days);
    int64_t day_of_year = days - lc_days_from_date((struct lc_date){d.year, 1, 1}) + 1;
    int64_t day_of_week = (days + 4) - lc_floor_div(days + 4, 7) * 7; // 0: Sunday
    if (!strcmp(part, "YEAR"))
        return d.year;
    if (!strcmp(part, "QUARTER"))
        return (d.month + 2) / 3;
    if (!strcmp(part, "MONTH"))
        return d.month;
    if (!strcmp(part, "DAY"))
        return d.day;
    if (!strcmp(part, "DAYOFWEEK"))
        return day_of_week + 1;
    if (!strcmp(part, "DAYOFYEAR"))
        return day_of_year;
    if (!strcmp(part, "WEEK"))
        return (day_of_year - 1 + 7 - day_of_week) / 7;
    if (!strcmp(part, "HOUR"))
        return in_day / 3600000000LL;
    if (!strcmp(part, "MINUTE"))
        return in_day / 60000000 % 60;
    if (!strcmp(part, "SECOND"))
        return in_day / LC_US_PER_SECOND % 60;
    if (!strcmp(part, "MILLISECOND"))
        return in_day / 1000 % 1000;
    return !strcmp(part, "MICROSECOND") ? in_day % LC_US_PER_SECOND : -1;
}

static void f_extract(sqlite3_context *c, int argc, sqlite3_value **argv)
{
    struct moment m;
    (void)argc;
    if (!take_moment(c, argv[0], &m))
        return;
    int64_t v = extract_part(&m, text_of(argv[1]));
    if (v < 0)
        sqlite3_result_error(c, "Unsupported date part", -1);
    else
        sqlite3_result_int64(c, v);
}

static void convert(sqlite3_context *c, sqlite3_value *v, int form)
{
    struct moment m;
    if (!take_moment(c, v, &m))
        return;
    if (form == AS_DATE)
        m.us = lc_floor_div(m.us, LC_US_PER_DAY) * LC_US_PER_DAY;
    m.form = form;
    answer(c, &m);
}

static void f_date(sqlite3_context *c, int argc, sqlite3_value **argv)
{
    (void)argc;
    convert(c, argv[0], AS_DATE);
}

static void f_timestamp(sqlite3_context *c, int argc, sqlite3_value **argv)
{
    (void)argc;
    convert(c, argv[0], AS_TIMESTAMP);
}

static void f_unix(sqlite3_context *c, int argc, sqlite3_value **argv)
{
    (void)argc;
    if (sqlite3_value_type(argv[0]) != SQLITE_NULL)
        sqlite3_result_int64(
            c, lc_floor_div(sqlite3_value_int64(argv[0]), sqlite3_value_int64(argv[1])));
}

static void f_strftime(sqlite3_context *c, int argc, sqlite3_value **argv)
{
    struct moment m;
    char out[512];
    (void)argc;
    if (!take_moment(c, argv[1], &m))
        return;
    struct lc_buf format = {0};
    int64_t seconds = lc_floor_div(m.us, LC_US_PER_SECOND);
    for (const char *s = text_of(argv[0]); *s; s++) { // %E#S, %E*S: seconds with a fraction
        if (s[0] == '%' && s[1] == 'E' && s[2] && s[3] == 'S' &&
            (s[2] == '*' || (s[2] >= '0' && s[2] <= '6'))) {
            char fraction[16];
            snprintf(fraction, sizeof fraction, "%06d", (int)(m.us - seconds * LC_US_PER_SECOND));
            int digits = s[2] == '*' ? 6 : s[2] - '0';
            lc_buf_fmt(&format, "%%S%s%.*s", digits ? "." : "", digits, fraction);
            s += 3;
        } else {
            lc_buf_add(&format, s, 1);
        }
    }
    time_t t = (time_t)seconds;
    struct tm tm;
    gmtime_r(&t, &tm);
    tm.tm_zone = "UTC";
    size_t n = format.n ? strftime(out, sizeof out, format.p, &tm) : 0;
    sqlite3_result_text(c, out, (int)n, SQLITE_TRANSIENT);
    lc_buf_free(&format);
}

static void f_div(sqlite3_context *c, int argc, sqlite3_value **argv)
{
    (void)argc;
    if (sqlite3_value_type(argv[0]) == SQLITE_NULL || sqlite3_value_type(argv[1]) == SQLITE_NULL)
        return;
    double b = sqlite3_value_double(argv[1]);
    if (b == 0)
        sqlite3_result_error(c, "division by zero", -1);
    else
        sqlite3_result_double(c, sqlite3_value_double(argv[0]) / b);
}

static void f_concat(sqlite3_context *c, int argc, sqlite3_value **argv)
{
    struct lc_buf b = {0};
    for (int i = 0; i < argc; i++) {
        if (sqlite3_value_type(argv[i]) == SQLITE_NULL) {
            lc_buf_free(&b);
            return;
        }
        lc_buf_add(&b, text_of(argv[i]), (size_t)sqlite3_value_bytes(argv[i]));
    }
    sqlite3_result_text(c, b.n ? b.p : "", (int)b.n, SQLITE_TRANSIENT);
    lc_buf_free(&b);
}

// Follows $.a.b[0] or $['a']; borrowed. @return NULL when there is nothing there.
static const json_t *follow(const json_t *v, const char *path)
{
    path += *path == '$';
    while (v && *path) {
        bool bracket = *path == '[';
        char mark = bracket && (path[1] == '\'' || path[1] == '"') ? path[1] : 0;
        path += 1 + (mark != 0);
        const char stop[3] = {mark ? mark : bracket ? ']' : '.', !bracket ? '[' : 0, 0};
        size_t n = strcspn(path, stop);
        char *key = lc_strndup(path, n);
        int64_t index;
        if (bracket && !mark)
            v = lc_parse_i64(key, &index) && index >= 0 ? json_array_get(v, (size_t)index) : NULL;
        else
            v = json_object_get(v, key);
        free(key);
        path += n;
        if (mark)
            path += *path == mark;
        if (bracket)
            path += *path == ']';
    }
    return v;
}

static void json_result(sqlite3_context *c, int argc, sqlite3_value **argv, bool scalar)
{
    char number[40];
    if (sqlite3_value_type(argv[0]) == SQLITE_NULL)
        return;
    json_t *root =
        json_loadb(text_of(argv[0]), (size_t)sqlite3_value_bytes(argv[0]), JSON_DECODE_ANY, NULL);
    const json_t *v = root ? follow(root, argc > 1 ? text_of(argv[1]) : "$") : NULL;
    if (v && scalar && json_is_string(v)) {
        sqlite3_result_text(c, json_string_value(v), (int)json_string_length(v), SQLITE_TRANSIENT);
    } else if (v && scalar && json_is_real(v)) {
        sqlite3_result_text(c, lc_double_text(json_real_value(v), number), -1, SQLITE_TRANSIENT);
    } else if (v && !(scalar && (json_is_object(v) || json_is_array(v) || json_is_null(v)))) {
        char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
        sqlite3_result_text(c, text ? text : "null", -1, SQLITE_TRANSIENT);
        free(text);
    }
    json_decref(root);
}

static void f_json_value(sqlite3_context *c, int argc, sqlite3_value **argv)
{
    json_result(c, argc, argv, true);
}

static void f_json_query(sqlite3_context *c, int argc, sqlite3_value **argv)
{
    json_result(c, argc, argv, false);
}

static void cast_to_string(sqlite3_context *c, sqlite3_value *v, const char *from)
{
    char text[40], zoned[48];
    if (!strcmp(from, "TIMESTAMP")) {
        snprintf(zoned, sizeof zoned, "%s+00", lc_datetime_text(sqlite3_value_int64(v), ' ', text));
        sqlite3_result_text(c, zoned, -1, SQLITE_TRANSIENT);
    } else if (!strcmp(from, "BOOLEAN")) {
        sqlite3_result_text(c, sqlite3_value_int(v) ? "true" : "false", -1, SQLITE_STATIC);
    } else if (!strcmp(from, "FLOAT")) {
        lc_double_text(sqlite3_value_double(v), text);
        size_t n = strlen(text);
        if (n > 2 && !strcmp(text + n - 2, ".0"))
            text[n - 2] = 0;
        sqlite3_result_text(c, text, -1, SQLITE_TRANSIENT);
    } else {
        sqlite3_result_text(c, text_of(v), -1, SQLITE_TRANSIENT);
    }
}

// @return false when the value cannot be cast.
static bool cast_number(sqlite3_context *c, sqlite3_value *v, const char *to)
{
    int64_t i;
    char *end;
    bool is_text = sqlite3_value_type(v) == SQLITE_TEXT, to_int = !strcmp(to, "INTEGER");
    if (to_int && is_text) {
        if (!lc_parse_i64(text_of(v), &i))
            return false;
        sqlite3_result_int64(c, i);
        return true;
    }
    double d = is_text ? strtod(text_of(v), &end) : sqlite3_value_double(v);
    if (is_text && (*end || end == text_of(v)))
        return false;
    if (!to_int)
        sqlite3_result_double(c, d);
    else if (sqlite3_value_type(v) == SQLITE_INTEGER)
        sqlite3_result_int64(c, sqlite3_value_int64(v));
    else if (fabs(d) < 9.2e18)
        sqlite3_result_int64(c, llround(d));
    else
        return false;
    return true;
}

static bool cast_value(sqlite3_context *c, sqlite3_value *v, const char *from, const char *to)
{
    int64_t us;
    const char *s = text_of(v);
    bool is_text = sqlite3_value_type(v) == SQLITE_TEXT;
    if (!strcmp(to, "STRING")) {
        cast_to_string(c, v, from);
    } else if (!strcmp(to, "INTEGER") || !strcmp(to, "FLOAT") || strstr(to, "NUMERIC")) {
        return cast_number(c, v, to);
    } else if (!strcmp(to, "BOOLEAN")) {
        bool yes = is_text ? !strcasecmp(s, "true") : sqlite3_value_int64(v) != 0;
        if (is_text && !yes && strcasecmp(s, "false"))
            return false;
        sqlite3_result_int(c, yes);
    } else {
        if (is_text && !lc_parse_timestamp(s, strlen(s), true, &us))
            return false;
        convert(c, v,
                !strcmp(to, "DATE")       ? AS_DATE
                : !strcmp(to, "DATETIME") ? AS_DATETIME
                                          : AS_TIMESTAMP);
    }
    return true;
}

static void f_cast(sqlite3_context *c, int argc, sqlite3_value **argv)
{
    (void)argc;
    if (sqlite3_value_type(argv[0]) == SQLITE_NULL)
        return;
    const char *from = text_of(argv[1]), *to = text_of(argv[2]);
    if (cast_value(c, argv[0], from, to) || sqlite3_value_int(argv[3]))
        return;
    char *message = lc_format("Bad %s value: %.100s", to, text_of(argv[0]));
    sqlite3_result_error(c, message, -1);
    free(message);
}

void lc_sql_register(sqlite3 *db)
{
    static const struct {
        const char *name;
        int args;
        void (*f)(sqlite3_context *, int, sqlite3_value **);
    } list[] = {{"lc_add", 3, f_add},
                {"lc_trunc", 2, f_trunc},
                {"lc_diff", 3, f_diff},
                {"lc_extract", 2, f_extract},
                {"lc_date", 1, f_date},
                {"lc_timestamp", 1, f_timestamp},
                {"lc_unix", 2, f_unix},
                {"lc_strftime", 2, f_strftime},
                {"lc_div", 2, f_div},
                {"lc_concat", -1, f_concat},
                {"lc_json_value", -1, f_json_value},
                {"lc_json_query", -1, f_json_query},
                {"lc_cast", 4, f_cast}};
    for (size_t i = 0; i < LC_ARRAY_LEN(list); i++)
        sqlite3_create_function(db, list[i].name, list[i].args, SQLITE_UTF8 | SQLITE_DETERMINISTIC,
                                NULL, list[i].f, NULL, NULL);
    sqlite3_exec(db, "PRAGMA case_sensitive_like = ON", NULL, NULL, NULL);
}
