// Role: function calls. Most functions are a row of the table: argument count, SQLite template,
// result type.
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "tools/localcloud/bq_time.h"
#include "tools/localcloud/sql_internal.h"

enum { ARGS_MAX = 32 };

enum result {
    R_STRING = LC_STRING,
    R_INT = LC_INTEGER,
    R_FLOAT = LC_FLOAT,
    R_BOOL = LC_BOOLEAN,
    R_TIMESTAMP = LC_TIMESTAMP,
    R_DATE = LC_DATE,
    R_JSON = LC_JSON,
    R_FIRST = 100, // type of the first argument
    R_SECOND,      // type of the second
};

// Kinds of the arguments, one letter each; the last repeats:
//  a anything, n number, s STRING, b BOOL, t DATE, DATETIME or TIMESTAMP, T TIMESTAMP, d DATE,
//  i INTERVAL, p date part, y calendar type or STRING, j JSON or STRING, r ARRAY
struct function {
    const char *name;
    const char *kinds;
    int min;
    int max;
    const char *text; // $1..$9 arguments, $* all with commas
    enum result result;
};

static const struct function functions[] = {
    {"SUM", "n", 1, 1, "sum($1)", R_FIRST},
    {"AVG", "n", 1, 1, "avg($1)", R_FLOAT},
    {"MIN", "a", 1, 1, "min($1)", R_FIRST},
    {"MAX", "a", 1, 1, "max($1)", R_FIRST},
    {"ANY_VALUE", "a", 1, 1, "max($1)", R_FIRST},
    {"COUNTIF", "b", 1, 1, "count(CASE WHEN $1 THEN 1 END)", R_INT},
    {"APPROX_COUNT_DISTINCT", "a", 1, 1, "count(DISTINCT $1)", R_INT},
    {"STRING_AGG", "s", 1, 2, "group_concat($*)", R_STRING},
    {"LOGICAL_AND", "b", 1, 1, "min($1)", R_BOOL},
    {"LOGICAL_OR", "b", 1, 1, "max($1)", R_BOOL},
    {"ROW_NUMBER", "", 0, 0, "row_number()", R_INT},
    {"RANK", "", 0, 0, "rank()", R_INT},
    {"DENSE_RANK", "", 0, 0, "dense_rank()", R_INT},
    {"LAG", "an", 1, 2, "lag($*)", R_FIRST},
    {"LEAD", "an", 1, 2, "lead($*)", R_FIRST},
    {"IF", "baa", 3, 3, "(CASE WHEN $1 THEN $2 ELSE $3 END)", R_SECOND},
    {"IFNULL", "aa", 2, 2, "ifnull($1, $2)", R_FIRST},
    {"NULLIF", "aa", 2, 2, "nullif($1, $2)", R_FIRST},
    {"COALESCE", "a", 1, ARGS_MAX, "coalesce($*, NULL)", R_FIRST},
    {"GREATEST", "a", 2, ARGS_MAX, "max($*)", R_FIRST},
    {"LEAST", "a", 2, ARGS_MAX, "min($*)", R_FIRST},
    {"ABS", "n", 1, 1, "abs($1)", R_FIRST},
    {"SIGN", "n", 1, 1, "sign($1)", R_FIRST},
    {"ROUND", "n", 1, 2, "round($*)", R_FLOAT},
    {"FLOOR", "n", 1, 1, "floor(CAST($1 AS REAL))", R_FLOAT},
    {"CEIL", "n", 1, 1, "ceil(CAST($1 AS REAL))", R_FLOAT},
    {"SQRT", "n", 1, 1, "sqrt($1)", R_FLOAT},
    {"MOD", "n", 2, 2, "($1 % $2)", R_INT},
    {"DIV", "n", 2, 2, "($1 / $2)", R_INT},
    {"SAFE_DIVIDE", "n", 2, 2, "(CAST($1 AS REAL) / nullif($2, 0))", R_FLOAT},
    {"LENGTH", "s", 1, 1, "length($1)", R_INT},
    {"CHAR_LENGTH", "s", 1, 1, "length($1)", R_INT},
    {"LOWER", "s", 1, 1, "lower($1)", R_STRING},
    {"UPPER", "s", 1, 1, "upper($1)", R_STRING},
    {"TRIM", "s", 1, 2, "trim($*)", R_STRING},
    {"LTRIM", "s", 1, 2, "ltrim($*)", R_STRING},
    {"RTRIM", "s", 1, 2, "rtrim($*)", R_STRING},
    {"REPLACE", "s", 3, 3, "replace($*)", R_STRING},
    {"SUBSTR", "sn", 2, 3, "substr($*)", R_STRING},
    {"SUBSTRING", "sn", 2, 3, "substr($*)", R_STRING},
    {"STRPOS", "s", 2, 2, "instr($1, $2)", R_INT},
    {"CONCAT", "s", 1, ARGS_MAX, "lc_concat($*)", R_STRING},
    {"STARTS_WITH", "s", 2, 2, "(substr($1, 1, length($2)) = $2)", R_BOOL},
    {"ENDS_WITH", "s", 2, 2, "(length($2) = 0 OR substr($1, -length($2)) = $2)", R_BOOL},
    {"ARRAY_LENGTH", "r", 1, 1, "json_array_length($1)", R_INT},
    {"JSON_VALUE", "js", 1, 2, "lc_json_value($*)", R_STRING},
    {"JSON_EXTRACT_SCALAR", "js", 1, 2, "lc_json_value($*)", R_STRING},
    {"JSON_QUERY", "js", 1, 2, "lc_json_query($*)", R_FIRST},
    {"JSON_EXTRACT", "js", 1, 2, "lc_json_query($*)", R_FIRST},
    {"TIMESTAMP", "y", 1, 1, "lc_timestamp($1)", R_TIMESTAMP},
    {"UNIX_SECONDS", "T", 1, 1, "lc_unix($1, 1000000)", R_INT},
    {"UNIX_MILLIS", "T", 1, 1, "lc_unix($1, 1000)", R_INT},
    {"UNIX_MICROS", "T", 1, 1, "$1", R_INT},
    {"TIMESTAMP_SECONDS", "n", 1, 1, "($1 * 1000000)", R_TIMESTAMP},
    {"TIMESTAMP_MILLIS", "n", 1, 1, "($1 * 1000)", R_TIMESTAMP},
    {"TIMESTAMP_MICROS", "n", 1, 1, "($1)", R_TIMESTAMP},
    {"UNIX_DATE", "d", 1, 1, "lc_unix(lc_timestamp($1), 86400000000)", R_INT},
    {"TIMESTAMP_ADD", "Ti", 2, 2, "lc_add($1, $2)", R_FIRST},
    {"TIMESTAMP_SUB", "Ti", 2, 2, "lc_add($1, -$2)", R_FIRST},
    {"DATE_ADD", "di", 2, 2, "lc_add($1, $2)", R_FIRST},
    {"DATE_SUB", "di", 2, 2, "lc_add($1, -$2)", R_FIRST},
    {"DATETIME_ADD", "ti", 2, 2, "lc_add($1, $2)", R_FIRST},
    {"DATETIME_SUB", "ti", 2, 2, "lc_add($1, -$2)", R_FIRST},
    {"TIMESTAMP_TRUNC", "Tp", 2, 2, "lc_trunc($1, $2)", R_FIRST},
    {"DATE_TRUNC", "dp", 2, 2, "lc_trunc($1, $2)", R_FIRST},
    {"DATETIME_TRUNC", "tp", 2, 2, "lc_trunc($1, $2)", R_FIRST},
    {"TIMESTAMP_DIFF", "TTp", 3, 3, "lc_diff($1, $2, $3)", R_INT},
    {"DATE_DIFF", "ddp", 3, 3, "lc_diff($1, $2, $3)", R_INT},
    {"DATETIME_DIFF", "ttp", 3, 3, "lc_diff($1, $2, $3)", R_INT},
    {"FORMAT_TIMESTAMP", "sT", 2, 2, "lc_strftime($1, $2)", R_STRING},
    {"FORMAT_DATE", "sd", 2, 2, "lc_strftime($1, $2)", R_STRING},
    {"FORMAT_DATETIME", "st", 2, 2, "lc_strftime($1, $2)", R_STRING},
    {"TO_JSON_STRING", "j", 1, 1, "$1", R_STRING},
};

const char *sql_part(struct sql_parser *p)
{
    static const char *const parts[] = {
        "MICROSECOND", "MILLISECOND", "SECOND",  "MINUTE", "HOUR",      "DAY",       "WEEK",
        "ISOWEEK",     "MONTH",       "QUARTER", "YEAR",   "DAYOFWEEK", "DAYOFYEAR", "DATE"};
    for (size_t i = 0; i < LC_ARRAY_LEN(parts); i++)
        if (sql_accept(p, parts[i]))
            return parts[i];
    sql_fail(p, "A date part such as DAY is expected, not \"%s\"", sql_peek(p)->text);
    return "DAY";
}

const char *sql_interval(struct sql_parser *p, const char **part)
{
    struct sx n = sql_expr(p);
    if (n.literal) {
        int64_t v = 0;
        if (!lc_parse_i64(n.text, &v))
            sql_fail(p, "INTERVAL needs a whole number");
        n = sql_make(sql_fmt(p, "%lld", (long long)v), LC_INTEGER);
    }
    if (n.type != LC_INTEGER)
        sql_fail(p, "INTERVAL needs INT64, not %s", sql_type_text(&n));
    *part = sql_part(p);
    return n.sql;
}

static struct sx interval_argument(struct sql_parser *p)
{
    const char *part;
    sql_expect(p, "INTERVAL");
    const char *n = sql_interval(p, &part);
    return sql_make(sql_fmt(p, "(%s), '%s'", n, part), LC_INTEGER);
}

static bool fits(char kind, const struct sx *x)
{
    bool calendar =
        !x->repeated && (x->type == LC_DATE || x->type == LC_TIMESTAMP || x->type == LC_DATETIME);
    switch (kind) {
    case 'n':
        return sql_is_number(x);
    case 's':
        return x->type == LC_STRING && !x->repeated;
    case 'b':
        return x->type == LC_BOOLEAN && !x->repeated;
    case 'T':
        return x->type == LC_TIMESTAMP && !x->repeated;
    case 'd':
        return (x->type == LC_DATE || x->type == LC_TIMESTAMP) && !x->repeated;
    case 't':
        return calendar;
    case 'y':
        return calendar || (x->type == LC_STRING && !x->repeated);
    case 'j':
        return x->type == LC_STRING || x->type == LC_JSON || x->type == LC_RECORD || x->repeated;
    case 'r':
        return x->repeated;
    default:
        return true;
    }
}

static struct sx argument(struct sql_parser *p, const struct function *f, size_t i)
{
    size_t last = strlen(f->kinds);
    char kind = last ? f->kinds[i < last ? i : last - 1] : 'a';
    if (kind == 'i')
        return interval_argument(p);
    if (kind == 'p')
        return sql_make(sql_fmt(p, "'%s'", sql_part(p)), LC_STRING);
    struct sx x = sql_expr(p);
    if (kind == 'T' || kind == 'd')
        x = sql_adapt(p, x, kind == 'T' ? LC_TIMESTAMP : LC_DATE);
    if (!x.null && !fits(kind, &x))
        sql_fail(p, "No matching signature for function %s for argument type %s at argument %zu",
                 f->name, sql_type_text(&x), i + 1);
    return x;
}

static const char *fill_template(struct sql_parser *p, const char *text, const struct sx *args,
                                 size_t count)
{
    struct lc_buf b = {0};
    for (const char *s = text; *s; s++) {
        if (*s != '$') {
            lc_buf_add(&b, s, 1);
            continue;
        }
        s++;
        for (size_t i = 0; *s == '*' && i < count; i++)
            lc_buf_fmt(&b, "%s%s", i ? ", " : "", args[i].sql);
        if (*s != '*')
            lc_buf_str(&b, args[*s - '1'].sql);
    }
    return sql_take(p, &b);
}

static struct sx result_of(const struct function *f, const char *sql, const struct sx *args,
                           size_t count)
{
    struct sx x = {.sql = sql};
    const struct sx *like = f->result == R_FIRST    ? &args[0]
                            : f->result == R_SECOND ? &args[1]
                                                    : NULL;
    if (!like) {
        x.type = (enum lc_type)f->result;
        return x;
    }
    for (size_t i = (size_t)(like - args); like->null && i < count; i++)
        like = &args[i];
    x.type = like->type;
    x.repeated = like->repeated;
    x.sub = like->sub;
    for (size_t i = (size_t)(like - args); i < count && x.type == LC_INTEGER; i++)
        if (args[i].type == LC_FLOAT && !args[i].null)
            x.type = LC_FLOAT;
    return x;
}

static struct sx table_call(struct sql_parser *p, const struct function *f)
{
    struct sx args[ARGS_MAX] = {{0}};
    size_t count = 0;
    bool distinct = sql_accept(p, "DISTINCT");
    while (!sql_is_op(p, ")") && !p->failed && count < ARGS_MAX) {
        args[count] = argument(p, f, count);
        count++;
        if (!sql_accept_op(p, ","))
            break;
    }
    sql_expect_op(p, ")");
    if ((int)count < f->min || (int)count > f->max) {
        sql_fail(p, "Number of arguments does not match for function %s: %zu given", f->name,
                 count);
        return sql_make("NULL", LC_STRING);
    }
    if (distinct && count)
        args[0].sql = sql_fmt(p, "DISTINCT %s", args[0].sql);
    return result_of(f, fill_template(p, f->text, args, count), args, count);
}

static struct sx count_call(struct sql_parser *p)
{
    if (sql_accept_op(p, "*")) {
        sql_expect_op(p, ")");
        return sql_make("count(*)", LC_INTEGER);
    }
    bool distinct = sql_accept(p, "DISTINCT");
    struct sx x = sql_expr(p);
    sql_expect_op(p, ")");
    return sql_make(sql_fmt(p, "count(%s%s)", distinct ? "DISTINCT " : "", x.sql), LC_INTEGER);
}

static struct sx now_call(struct sql_parser *p, const char *name)
{
    char text[40];
    int64_t now = lc_now_us();
    if (sql_accept_op(p, "(")) {
        if (sql_peek(p)->kind == TOK_STRING && strcasecmp(sql_peek(p)->text, "UTC") == 0)
            p->pos++;
        if (!sql_is_op(p, ")"))
            sql_fail(p, "localcloud knows the time zone UTC only");
        sql_expect_op(p, ")");
    }
    if (strcasecmp(name, "CURRENT_TIMESTAMP") == 0)
        return sql_make(sql_fmt(p, "%lld", (long long)now), LC_TIMESTAMP);
    if (strcasecmp(name, "CURRENT_DATETIME") == 0)
        return sql_make(sql_fmt(p, "'%s'", lc_datetime_text(now, 'T', text)), LC_DATETIME);
    return sql_make(sql_fmt(p, "'%s'", lc_date_text(lc_floor_div(now, LC_US_PER_DAY), text)),
                    LC_DATE);
}

static struct sx date_call(struct sql_parser *p)
{
    struct sx x = sql_expr(p);
    if (sql_accept_op(p, ",") && x.type == LC_INTEGER) {
        struct sx m = sql_expr(p);
        sql_expect_op(p, ",");
        struct sx d = sql_expr(p);
        x = sql_make(
            sql_fmt(p, "lc_date(printf('%%04d-%%02d-%%02d', %s, %s, %s))", x.sql, m.sql, d.sql),
            LC_DATE);
    } else {
        if (sql_peek(p)->kind == TOK_STRING && strcasecmp(sql_peek(p)->text, "UTC") == 0)
            p->pos++;
        if (!fits('y', &x) && !x.null)
            sql_fail(p, "No matching signature for function DATE for argument type %s",
                     sql_type_text(&x));
        x = sql_make(sql_fmt(p, "lc_date(%s)", x.sql), LC_DATE);
    }
    if (!sql_is_op(p, ")"))
        sql_fail(p, "localcloud knows the time zone UTC only");
    sql_expect_op(p, ")");
    return x;
}

static struct sx extract_call(struct sql_parser *p)
{
    const char *part = sql_part(p);
    sql_expect(p, "FROM");
    struct sx x = sql_expr(p);
    sql_expect_op(p, ")");
    if (!fits('t', &x))
        sql_fail(p, "EXTRACT needs DATE, DATETIME or TIMESTAMP, not %s", sql_type_text(&x));
    if (strcmp(part, "DATE") == 0)
        return sql_make(sql_fmt(p, "lc_date(%s)", x.sql), LC_DATE);
    return sql_make(sql_fmt(p, "lc_extract(%s, '%s')", x.sql, part), LC_INTEGER);
}

struct sx sql_cast(struct sql_parser *p, struct sx x, const char *type, bool safe)
{
    static const struct {
        const char *name;
        enum lc_type type;
    } types[] = {
        {"STRING", LC_STRING},       {"INT64", LC_INTEGER},        {"INTEGER", LC_INTEGER},
        {"FLOAT64", LC_FLOAT},       {"BOOL", LC_BOOLEAN},         {"DATE", LC_DATE},
        {"BOOLEAN", LC_BOOLEAN},     {"NUMERIC", LC_NUMERIC},      {"DATETIME", LC_DATETIME},
        {"TIMESTAMP", LC_TIMESTAMP}, {"BIGNUMERIC", LC_BIGNUMERIC}};
    for (size_t i = 0; i < LC_ARRAY_LEN(types); i++) {
        if (strcasecmp(types[i].name, type) != 0)
            continue;
        if (x.repeated || x.type == LC_RECORD)
            sql_fail(p, "Invalid cast from %s to %s", sql_type_text(&x), type);
        return sql_make(sql_fmt(p, "lc_cast(%s, '%s', '%s', %d)", x.sql, lc_type_name(x.type),
                                lc_type_name(types[i].type), safe),
                        types[i].type);
    }
    sql_fail(p, "localcloud cannot cast to %s", type);
    return x;
}

static struct sx cast_call(struct sql_parser *p, bool safe)
{
    struct sx x = sql_expr(p);
    sql_expect(p, "AS");
    const char *type = sql_name(p);
    sql_expect_op(p, ")");
    return sql_cast(p, x, type, safe);
}

static const char *expr_list(struct sql_parser *p, bool order)
{
    struct lc_buf b = {0};
    for (size_t i = 0; !p->failed; i++) {
        struct sx x = sql_expr(p);
        lc_buf_fmt(&b, "%s%s", i ? ", " : "", x.sql);
        if (order && sql_accept(p, "DESC"))
            lc_buf_str(&b, " DESC");
        else if (order)
            sql_accept(p, "ASC");
        if (!sql_accept_op(p, ","))
            break;
    }
    return sql_take(p, &b);
}

static struct sx over_clause(struct sql_parser *p, struct sx x)
{
    const char *partition = NULL, *order = NULL;
    sql_expect_op(p, "(");
    if (sql_accept(p, "PARTITION")) {
        sql_expect(p, "BY");
        partition = expr_list(p, false);
    }
    if (sql_accept(p, "ORDER")) {
        sql_expect(p, "BY");
        order = expr_list(p, true);
    }
    sql_expect_op(p, ")"); // window frames are not translated
    x.sql = sql_fmt(p, "%s OVER (%s%s%s%s)", x.sql, partition ? "PARTITION BY " : "",
                    partition ? partition : "", order ? " ORDER BY " : "", order ? order : "");
    return x;
}

static struct sx any_call(struct sql_parser *p, const char *name)
{
    if (strcasecmp(name, "CURRENT_DATE") == 0 || strcasecmp(name, "CURRENT_TIMESTAMP") == 0 ||
        strcasecmp(name, "CURRENT_DATETIME") == 0)
        return now_call(p, name);
    sql_expect_op(p, "(");
    if (strcasecmp(name, "COUNT") == 0)
        return count_call(p);
    if (strcasecmp(name, "DATE") == 0)
        return date_call(p);
    if (strcasecmp(name, "EXTRACT") == 0)
        return extract_call(p);
    if (strcasecmp(name, "CAST") == 0 || strcasecmp(name, "SAFE_CAST") == 0)
        return cast_call(p, strcasecmp(name, "SAFE_CAST") == 0);
    if (strcasecmp(name, "STRING") == 0) {
        struct sx x = sql_expr(p);
        sql_expect_op(p, ")");
        return sql_cast(p, x, "STRING", false);
    }
    for (size_t i = 0; i < LC_ARRAY_LEN(functions); i++)
        if (strcasecmp(functions[i].name, name) == 0)
            return table_call(p, &functions[i]);
    sql_fail(p, "Function not found (or not known to localcloud): %s", name);
    return sql_make("NULL", LC_STRING);
}

struct sx sql_call(struct sql_parser *p, const char *name)
{
    struct sx x = any_call(p, name);
    return sql_accept(p, "OVER") ? over_clause(p, x) : x;
}
