// Role: expressions, by precedence: OR, AND, NOT, comparison, ||, + -, * /, unary, postfix.
#include <stdio.h>
#include <string.h>

#include "tools/localcloud/bq_time.h"
#include "tools/localcloud/sql_internal.h"

enum { DEPTH_MAX = 200 };

struct sx sql_make(const char *sql, enum lc_type type)
{
    return (struct sx){.sql = sql, .type = type};
}

const char *sql_type_text(const struct sx *x)
{
    return x->null                 ? "NULL"
           : x->repeated           ? "ARRAY"
           : x->type == LC_INTEGER ? "INT64"
           : x->type == LC_FLOAT   ? "FLOAT64"
           : x->type == LC_BOOLEAN ? "BOOL"
           : x->type == LC_RECORD  ? "STRUCT"
                                   : lc_type_name(x->type);
}

bool sql_is_number(const struct sx *x)
{
    return !x->repeated && (x->null || x->type == LC_INTEGER || x->type == LC_FLOAT ||
                            x->type == LC_NUMERIC || x->type == LC_BIGNUMERIC);
}

struct sx sql_adapt(struct sql_parser *p, struct sx x, enum lc_type type)
{
    int64_t v;
    char text[40];
    size_t n = x.literal ? strlen(x.text) : 0;
    if (x.null || !x.literal || type == LC_STRING)
        return x;
    if (type == LC_TIMESTAMP && lc_parse_timestamp(x.text, n, true, &v))
        return sql_make(sql_fmt(p, "%lld", (long long)v), type);
    if (type == LC_DATE && lc_parse_date(x.text, n, &v))
        return sql_make(sql_fmt(p, "'%s'", lc_date_text(v, text)), type);
    if (type == LC_DATETIME && lc_parse_datetime(x.text, n, &v))
        return sql_make(sql_fmt(p, "'%s'", lc_datetime_text(v, 'T', text)), type);
    if (type == LC_TIME && lc_parse_time(x.text, n, &v))
        return sql_make(sql_fmt(p, "'%s'", lc_time_text(v, text)), type);
    if (type == LC_DATE || type == LC_TIMESTAMP || type == LC_DATETIME || type == LC_TIME)
        sql_fail(p, "Could not cast literal \"%s\" to type %s", x.text, lc_type_name(type));
    return x;
}

void sql_match(struct sql_parser *p, struct sx *a, struct sx *b, const char *what)
{
    *a = sql_adapt(p, *a, b->type);
    *b = sql_adapt(p, *b, a->type);
    bool numbers = sql_is_number(a) && sql_is_number(b);
    bool same = a->type == b->type && !a->repeated && !b->repeated && a->type != LC_RECORD;
    if (!same && !numbers && !a->null && !b->null)
        sql_fail(p, "No matching signature for operator %s for argument types: %s, %s", what,
                 sql_type_text(a), sql_type_text(b));
}

const struct sql_column *sql_source_column(const struct sql_source *s, const char *name)
{
    for (size_t i = 0; i < s->column_count; i++)
        if (strcasecmp(s->columns[i].name, name) == 0)
            return &s->columns[i];
    return NULL;
}

static struct sx typed_field(struct sql_parser *p, const char *sql, const struct lc_field *f)
{
    if (!(f->mode == LC_REPEATED) && (f->type == LC_NUMERIC || f->type == LC_BIGNUMERIC))
        sql = sql_fmt(p, "CAST(%s AS NUMERIC)", sql);
    return (struct sx){
        .sql = sql, .type = f->type, .repeated = f->mode == LC_REPEATED, .sub = &f->sub};
}

struct sx sql_member(struct sql_parser *p, struct sx x, const char *name)
{
    if (x.type == LC_JSON && !x.repeated)
        return sql_make(
            sql_fmt(p, "(%s -> %s)", x.sql, sql_quote_text(p, sql_fmt(p, "$.\"%s\"", name))),
            LC_JSON);
    if (x.type != LC_RECORD || x.repeated || !x.sub) {
        sql_fail(p, "Cannot access field %s on a value with type %s%s", name, sql_type_text(&x),
                 x.repeated ? " (use UNNEST)" : "");
        return x;
    }
    const struct lc_field *f = lc_schema_find(x.sub, name);
    if (!f) {
        sql_fail(p, "Field name %s does not exist in STRUCT", name);
        return x;
    }
    return typed_field(p, sql_fmt(p, "json_extract(%s, '$.%s')", x.sql, f->name), f);
}

// A bare name in one scope: a column of some source, or an UNNEST alias. @return how many fit.
static size_t find_in_scope(const struct sql_scope *s, const char *name, struct sx *out)
{
    size_t hits = 0;
    for (size_t i = 0; i < s->source_count; i++) {
        const struct sql_source *src = &s->sources[i];
        const struct sql_column *c = sql_source_column(src, name);
        if (src->is_value && src->alias && strcasecmp(src->alias, name) == 0) {
            *out = src->element;
            return 1;
        }
        if (c) {
            *out = c->x;
            hits++;
        }
    }
    return hits;
}

static const struct sql_source *find_source(const struct sql_scope *s, const char *alias)
{
    for (size_t i = 0; i < s->source_count; i++)
        if (s->sources[i].alias && strcasecmp(s->sources[i].alias, alias) == 0)
            return &s->sources[i];
    return NULL;
}

static bool find_item(const struct sql_scope *s, const char *name, struct sx *out)
{
    for (size_t i = 0; i < s->item_count; i++)
        if (strcasecmp(s->items[i].name, name) == 0) {
            *out = s->items[i].x;
            out->sql = s->items[i].x.sql;
            return true;
        }
    return false;
}

static struct sx source_member(struct sql_parser *p, const struct sql_source *src)
{
    const char *name = sql_name(p);
    const struct sql_column *c = sql_source_column(src, name);
    if (c)
        return c->x;
    if (src->is_value && src->element.type == LC_RECORD)
        return sql_member(p, src->element, name);
    sql_fail(p, "Name %s not found inside %s", name, src->alias);
    return sql_make("NULL", LC_STRING);
}

static struct sx name_ref(struct sql_parser *p, const char *name)
{
    struct sx x;
    for (const struct sql_scope *s = p->scope; s; s = s->parent) {
        const struct sql_source *src = sql_is_op(p, ".") ? find_source(s, name) : NULL;
        if (src) {
            p->pos++;
            return source_member(p, src);
        }
        size_t hits = find_in_scope(s, name, &x);
        if (hits > 1)
            sql_fail(p, "Column name %s is ambiguous", name);
        if (hits || find_item(s, name, &x))
            return x;
    }
    sql_fail(p, "Unrecognized name: %s", name);
    return sql_make("NULL", LC_STRING);
}

static struct sx typed_literal(struct sql_parser *p, enum lc_type type)
{
    struct sx x = {.literal = true, .type = LC_STRING, .text = sql_peek(p)->text, .sql = "NULL"};
    p->pos++;
    return sql_adapt(p, x, type);
}

static struct sx case_expr(struct sql_parser *p)
{
    struct lc_buf b = {0};
    struct sx base = {0}, result = {.null = true, .sql = "NULL"};
    bool has_base = !sql_is(p, "WHEN");
    if (has_base)
        base = sql_expr(p);
    lc_buf_str(&b, "(CASE");
    while (sql_accept(p, "WHEN")) {
        struct sx when = sql_expr(p);
        if (has_base)
            sql_match(p, &base, &when, "CASE");
        sql_expect(p, "THEN");
        struct sx then = sql_expr(p);
        result = result.null ? then : result;
        if (has_base)
            lc_buf_fmt(&b, " WHEN %s = %s THEN %s", base.sql, when.sql, then.sql);
        else
            lc_buf_fmt(&b, " WHEN %s THEN %s", when.sql, then.sql);
    }
    if (sql_accept(p, "ELSE")) {
        struct sx other = sql_expr(p);
        if (result.null || (result.type == LC_INTEGER && other.type == LC_FLOAT))
            result = other;
        lc_buf_fmt(&b, " ELSE %s", other.sql);
    }
    sql_expect(p, "END");
    lc_buf_str(&b, " END)");
    struct sx x = sql_make(sql_take(p, &b), result.type);
    x.repeated = result.repeated;
    x.sub = result.sub;
    x.null = result.null;
    return x;
}

static struct sx array_literal(struct sql_parser *p)
{
    struct lc_buf b = {0};
    struct sx first = {0};
    lc_buf_str(&b, "json_array(");
    for (size_t i = 0; !sql_is_op(p, "]") && !p->failed; i++) {
        struct sx x = sql_expr(p);
        first = i ? first : x;
        lc_buf_fmt(&b, "%s%s", i ? "," : "", x.sql);
        if (!sql_accept_op(p, ","))
            break;
    }
    sql_expect_op(p, "]");
    lc_buf_str(&b, ")");
    return (struct sx){.sql = sql_take(p, &b), .type = first.type, .repeated = true};
}

static struct sx parenthesized(struct sql_parser *p)
{
    if (sql_is(p, "SELECT") || sql_is(p, "WITH")) {
        struct sql_rel rel = sql_query(p);
        sql_expect_op(p, ")");
        if (rel.column_count != 1)
            sql_fail(p, "Scalar subquery cannot have more than one column");
        struct sx x = rel.column_count ? rel.columns[0].x : sql_make("NULL", LC_STRING);
        x.sql = sql_fmt(p, "(%s)", rel.sql);
        x.literal = false;
        return x;
    }
    struct sx x = sql_expr(p);
    sql_expect_op(p, ")");
    if (!x.literal)
        x.sql = sql_fmt(p, "(%s)", x.sql);
    return x;
}

static struct sx string_literal(struct sql_parser *p, const char *text)
{
    return (struct sx){
        .sql = sql_quote_text(p, text), .type = LC_STRING, .literal = true, .text = text};
}

static struct sx exists_expr(struct sql_parser *p)
{
    sql_expect_op(p, "(");
    struct sql_rel rel = sql_query(p);
    sql_expect_op(p, ")");
    return sql_make(sql_fmt(p, "EXISTS(%s)", rel.sql), LC_BOOLEAN);
}

static struct sx keyword_or_name(struct sql_parser *p, const char *name)
{
    static const struct {
        const char *word;
        enum lc_type type;
    } typed[] = {{"DATE", LC_DATE},
                 {"TIMESTAMP", LC_TIMESTAMP},
                 {"DATETIME", LC_DATETIME},
                 {"TIME", LC_TIME}};
    for (size_t i = 0; i < LC_ARRAY_LEN(typed); i++)
        if (sql_peek(p)->kind == TOK_STRING && strcasecmp(name, typed[i].word) == 0)
            return typed_literal(p, typed[i].type);
    if (strcasecmp(name, "TRUE") == 0 || strcasecmp(name, "FALSE") == 0)
        return sql_make(strcasecmp(name, "TRUE") == 0 ? "1" : "0", LC_BOOLEAN);
    if (strcasecmp(name, "NULL") == 0)
        return (struct sx){.sql = "NULL", .type = LC_INTEGER, .null = true};
    if (strcasecmp(name, "CASE") == 0)
        return case_expr(p);
    if (strcasecmp(name, "EXISTS") == 0)
        return exists_expr(p);
    if (sql_is_op(p, "("))
        return sql_call(p, name);
    if (strcasecmp(name, "CURRENT_DATE") == 0 || strcasecmp(name, "CURRENT_TIMESTAMP") == 0)
        return sql_call(p, name);
    if (sql_reserved(name)) {
        p->pos--;
        sql_fail(p, "Syntax error: Unexpected keyword %s", name);
        return sql_make("NULL", LC_STRING);
    }
    return name_ref(p, name);
}

static struct sx primary(struct sql_parser *p)
{
    const struct tok *t = sql_peek(p);
    if (t->kind != TOK_END)
        p->pos++;
    switch (t->kind) {
    case TOK_INT:
        return sql_make(t->text, LC_INTEGER);
    case TOK_FLOAT:
        return sql_make(t->text, LC_FLOAT);
    case TOK_STRING:
        return string_literal(p, t->text);
    case TOK_QUOTED:
        return name_ref(p, t->text);
    case TOK_NAME:
        return keyword_or_name(p, t->text);
    default:
        break;
    }
    if (t->kind == TOK_OP && strcmp(t->text, "(") == 0)
        return parenthesized(p);
    if (t->kind == TOK_OP && strcmp(t->text, "[") == 0)
        return array_literal(p);
    p->pos -= t->kind != TOK_END;
    sql_fail(p, "Syntax error: Unexpected \"%s\"", t->text);
    return sql_make("NULL", LC_STRING);
}

static struct sx array_element(struct sql_parser *p, struct sx x)
{
    const char *how = sql_peek(p)->kind == TOK_NAME ? sql_peek(p)->text : "";
    bool ordinal = strcasecmp(how, "ORDINAL") == 0 || strcasecmp(how, "SAFE_ORDINAL") == 0;
    bool offset = strcasecmp(how, "OFFSET") == 0 || strcasecmp(how, "SAFE_OFFSET") == 0;
    if (!x.repeated || (!ordinal && !offset)) {
        sql_fail(p, "An array is accessed with [OFFSET(n)] or [ORDINAL(n)]");
        return x;
    }
    p->pos++;
    sql_expect_op(p, "(");
    struct sx n = sql_expr(p);
    sql_expect_op(p, ")");
    sql_expect_op(p, "]");
    x.sql = sql_fmt(p, "json_extract(%s, '$[' || ((%s) - %d) || ']')", x.sql, n.sql, ordinal);
    x.repeated = false;
    return x;
}

static struct sx postfix(struct sql_parser *p)
{
    struct sx x = primary(p);
    while (!p->failed) {
        if (sql_accept_op(p, "."))
            x = sql_member(p, x, sql_name(p));
        else if (sql_accept_op(p, "["))
            x = array_element(p, x);
        else
            break;
    }
    return x;
}

static struct sx unary(struct sql_parser *p)
{
    if (!sql_is_op(p, "-") && !sql_is_op(p, "+"))
        return postfix(p);
    bool minus = sql_is_op(p, "-");
    p->pos++;
    struct sx x = unary(p);
    if (!sql_is_number(&x))
        sql_fail(p, "Unary %s needs a number, not %s", minus ? "-" : "+", sql_type_text(&x));
    x.sql = minus ? sql_fmt(p, "(- %s)", x.sql) : x.sql;
    return x;
}

static struct sx arithmetic(struct sql_parser *p, struct sx a, const char *op, struct sx b)
{
    if (!sql_is_number(&a) || !sql_is_number(&b))
        sql_fail(p, "No matching signature for operator %s for argument types: %s, %s", op,
                 sql_type_text(&a), sql_type_text(&b));
    enum lc_type type = a.type == LC_INTEGER && b.type == LC_INTEGER ? LC_INTEGER : LC_FLOAT;
    if (strcmp(op, "/") == 0)
        return sql_make(sql_fmt(p, "lc_div(%s, %s)", a.sql, b.sql), LC_FLOAT);
    return sql_make(sql_fmt(p, "(%s %s %s)", a.sql, op, b.sql), type);
}

static struct sx product(struct sql_parser *p)
{
    struct sx x = unary(p);
    while (sql_is_op(p, "*") || sql_is_op(p, "/")) {
        const char *op = sql_peek(p)->text;
        p->pos++;
        x = arithmetic(p, x, op, unary(p));
    }
    return x;
}

static struct sx shift_by_interval(struct sql_parser *p, struct sx x, bool minus)
{
    const char *part;
    p->pos++;
    const char *n = sql_interval(p, &part);
    if (x.type != LC_DATE && x.type != LC_TIMESTAMP && x.type != LC_DATETIME)
        sql_fail(p, "INTERVAL cannot be added to %s", sql_type_text(&x));
    return sql_make(sql_fmt(p, "lc_add(%s, %s(%s), '%s')", x.sql, minus ? "-" : "", n, part),
                    x.type);
}

static struct sx sum(struct sql_parser *p)
{
    struct sx x = product(p);
    while (sql_is_op(p, "+") || sql_is_op(p, "-")) {
        const char *op = sql_peek(p)->text;
        p->pos++;
        if (sql_is(p, "INTERVAL"))
            x = shift_by_interval(p, x, *op == '-');
        else if (x.type == LC_DATE && !x.null) {
            struct sx n = product(p);
            x = sql_make(
                sql_fmt(p, "lc_add(%s, %s(%s), 'DAY')", x.sql, *op == '-' ? "-" : "", n.sql),
                LC_DATE);
        } else
            x = arithmetic(p, x, op, product(p));
    }
    return x;
}

static struct sx concat(struct sql_parser *p)
{
    struct sx x = sum(p);
    while (sql_accept_op(p, "||")) {
        struct sx y = sum(p);
        if ((x.type != LC_STRING && !x.null) || (y.type != LC_STRING && !y.null))
            sql_fail(p, "No matching signature for operator || for argument types: %s, %s",
                     sql_type_text(&x), sql_type_text(&y));
        x = sql_make(sql_fmt(p, "(%s || %s)", x.sql, y.sql), LC_STRING);
    }
    return x;
}

static struct sx in_list(struct sql_parser *p, struct sx x)
{
    struct lc_buf b = {0};
    if (sql_accept(p, "UNNEST")) {
        sql_expect_op(p, "(");
        struct sx list = sql_expr(p);
        sql_expect_op(p, ")");
        return sql_make(sql_fmt(p, "%s IN (SELECT value FROM json_each(%s))", x.sql, list.sql),
                        LC_BOOLEAN);
    }
    sql_expect_op(p, "(");
    if (sql_is(p, "SELECT") || sql_is(p, "WITH")) {
        struct sql_rel rel = sql_query(p);
        sql_expect_op(p, ")");
        return sql_make(sql_fmt(p, "%s IN (%s)", x.sql, rel.sql), LC_BOOLEAN);
    }
    lc_buf_fmt(&b, "%s IN (", x.sql);
    for (size_t i = 0; !p->failed; i++) {
        struct sx y = sql_expr(p);
        sql_match(p, &x, &y, "IN");
        lc_buf_fmt(&b, "%s%s", i ? ", " : "", y.sql);
        if (!sql_accept_op(p, ","))
            break;
    }
    sql_expect_op(p, ")");
    lc_buf_str(&b, ")");
    return sql_make(sql_take(p, &b), LC_BOOLEAN);
}

static struct sx between(struct sql_parser *p, struct sx x)
{
    struct sx low = concat(p);
    sql_expect(p, "AND");
    struct sx high = concat(p);
    sql_match(p, &x, &low, "BETWEEN");
    sql_match(p, &x, &high, "BETWEEN");
    return sql_make(sql_fmt(p, "%s BETWEEN %s AND %s", x.sql, low.sql, high.sql), LC_BOOLEAN);
}

static struct sx is_test(struct sql_parser *p, struct sx x)
{
    bool not = sql_accept(p, "NOT");
    const char *what = sql_accept(p, "NULL")    ? "NULL"
                       : sql_accept(p, "TRUE")  ? "TRUE"
                       : sql_accept(p, "FALSE") ? "FALSE"
                                                : NULL;
    if (!what)
        sql_fail(p, "Syntax error: IS is followed by NULL, TRUE or FALSE");
    return sql_make(sql_fmt(p, "(%s IS %s%s)", x.sql, not ? "NOT " : "", what ? what : "NULL"),
                    LC_BOOLEAN);
}

static struct sx comparison(struct sql_parser *p)
{
    static const char *const ops[] = {"=", "<", ">", "<=", ">=", "<>", "!="};
    struct sx x = concat(p);
    for (size_t i = 0; i < LC_ARRAY_LEN(ops); i++)
        if (sql_accept_op(p, ops[i])) {
            struct sx y = concat(p);
            sql_match(p, &x, &y, ops[i]);
            return sql_make(sql_fmt(p, "(%s %s %s)", x.sql, ops[i], y.sql), LC_BOOLEAN);
        }
    if (sql_accept(p, "IS"))
        return is_test(p, x);
    size_t at = p->pos;
    bool not = sql_accept(p, "NOT");
    if (sql_accept(p, "IN")) {
        x = in_list(p, x);
    } else if (sql_accept(p, "BETWEEN")) {
        x = between(p, x);
    } else if (sql_accept(p, "LIKE")) {
        struct sx y = concat(p);
        sql_match(p, &x, &y, "LIKE");
        x = sql_make(sql_fmt(p, "%s LIKE %s ESCAPE '\\'", x.sql, y.sql), LC_BOOLEAN);
    } else {
        p->pos = p->failed ? p->pos : at;
        return x;
    }
    x.sql = sql_fmt(p, "(%s%s%s)", not ? "NOT (" : "", x.sql, not ? ")" : "");
    return x;
}

static void need_bool(struct sql_parser *p, const struct sx *x, const char *what)
{
    if (x->type != LC_BOOLEAN && !x->null)
        sql_fail(p, "%s needs BOOL, not %s", what, sql_type_text(x));
}

static struct sx negation(struct sql_parser *p)
{
    if (!sql_accept(p, "NOT"))
        return comparison(p);
    struct sx x = negation(p);
    need_bool(p, &x, "NOT");
    return sql_make(sql_fmt(p, "(NOT %s)", x.sql), LC_BOOLEAN);
}

static struct sx conjunction(struct sql_parser *p)
{
    struct sx x = negation(p);
    while (sql_accept(p, "AND")) {
        struct sx y = negation(p);
        need_bool(p, &x, "AND");
        need_bool(p, &y, "AND");
        x = sql_make(sql_fmt(p, "(%s AND %s)", x.sql, y.sql), LC_BOOLEAN);
    }
    return x;
}

struct sx sql_expr(struct sql_parser *p)
{
    if (++p->depth > DEPTH_MAX)
        sql_fail(p, "The query is nested too deeply");
    struct sx x = conjunction(p);
    while (sql_accept(p, "OR")) {
        struct sx y = conjunction(p);
        need_bool(p, &x, "OR");
        need_bool(p, &y, "OR");
        x = sql_make(sql_fmt(p, "(%s OR %s)", x.sql, y.sql), LC_BOOLEAN);
    }
    p->depth--;
    return x;
}
