// Role: SELECT: FROM first (names need it), then the list, WHERE, GROUP BY, HAVING, ORDER BY,
// LIMIT.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/localcloud/sql_internal.h"

static void add_source(struct sql_parser *p, struct sql_source s)
{
    struct sql_scope *scope = p->scope;
    struct sql_source *list = sql_alloc(p, (scope->source_count + 1) * sizeof *list);
    if (scope->source_count)
        memcpy(list, scope->sources, scope->source_count * sizeof *list);
    list[scope->source_count++] = s;
    scope->sources = list;
}

static const char *accept_alias(struct sql_parser *p)
{
    if (sql_accept(p, "AS"))
        return sql_name(p);
    const struct tok *t = sql_peek(p);
    bool plain = t->kind == TOK_QUOTED || (t->kind == TOK_NAME && !sql_reserved(t->text) &&
                                           strcasecmp(t->text, "OFFSET") != 0);
    return plain ? sql_name(p) : NULL;
}

// Columns as seen through an alias.
static struct sql_column *qualify(struct sql_parser *p, const struct sql_column *columns,
                                  size_t count, const char *alias)
{
    struct sql_column *out = sql_alloc(p, count * sizeof *out);
    for (size_t i = 0; i < count; i++) {
        out[i] = columns[i];
        out[i].x.sql =
            sql_fmt(p, "%s.%s", sql_quote_name(p, alias), sql_quote_name(p, columns[i].name));
        out[i].x.literal = out[i].x.null = false;
        if (!out[i].x.repeated && out[i].x.type == LC_NUMERIC)
            out[i].x.sql = sql_fmt(p, "CAST(%s AS NUMERIC)", out[i].x.sql);
    }
    return out;
}

// Parts of a table name: `a.b.c`, a.b.c, my-project.b.c. @return how many.
static size_t table_path(struct sql_parser *p, const char *parts[3])
{
    struct lc_buf b = {0};
    size_t count = 0;
    if (sql_peek(p)->kind == TOK_QUOTED || sql_peek(p)->kind == TOK_NAME)
        lc_buf_str(&b, sql_name(p));
    else
        sql_fail(p, "Syntax error: Expected a table, not \"%s\"", sql_peek(p)->text);
    while (!p->failed && (sql_is_op(p, ".") || sql_is_op(p, "-"))) {
        lc_buf_str(&b, sql_peek(p)->text);
        p->pos++;
        lc_buf_str(&b, sql_peek(p)->text);
        p->pos += sql_peek(p)->kind != TOK_END;
    }
    lc_buf_str(&b, "");
    char *text = (char *)sql_take(p, &b);
    for (char *s = text; s && count < 3;) {
        parts[count++] = s;
        s = strchr(s, '.');
        if (s)
            *s++ = 0;
        if (s && count == 3)
            sql_fail(p, "A table name has at most three parts");
    }
    return count;
}

static const struct sql_with *find_with(const struct sql_parser *p, const char *name)
{
    for (size_t i = p->with_count; i > 0; i--)
        if (strcasecmp(p->with[i - 1].name, name) == 0)
            return &p->with[i - 1];
    return NULL;
}

static struct sql_column *schema_columns(struct sql_parser *p, const struct lc_schema *s)
{
    struct sql_column *columns = sql_alloc(p, s->count * sizeof *columns);
    for (size_t i = 0; i < s->count; i++) {
        const struct lc_field *f = &s->fields[i];
        columns[i].name = f->name;
        columns[i].x =
            (struct sx){.type = f->type, .repeated = f->mode == LC_REPEATED, .sub = &f->sub};
    }
    return columns;
}

// A table of the catalog. @return its SQLite text.
static const char *catalog_table(struct sql_parser *p, const char *parts[3], size_t count,
                                 struct sql_source *src)
{
    struct lc_sql_table t = {0};
    char why[LC_ERROR_BYTES] = "";
    const char *name = parts[count - 1];
    if (p->failed)
        return "NULL";
    if (!p->resolve(p->cls, count > 2 ? parts[0] : "", count > 1 ? parts[count - 2] : "", name, &t,
                    why)) {
        sql_fail(p, "%s", why);
        return "NULL";
    }
    p->schemas = lc_realloc(p->schemas, (p->schema_count + 1) * sizeof *p->schemas);
    p->schemas[p->schema_count++] = t.schema;
    struct lc_buf b = {0};
    lc_buf_str(&b, t.from);
    free(t.from);
    src->columns = schema_columns(p, &t.schema);
    src->column_count = t.schema.count;
    return sql_take(p, &b);
}

static const char *finish_source(struct sql_parser *p, struct sql_source *src, const char *from,
                                 const char *fallback)
{
    const char *alias = accept_alias(p);
    src->alias = alias ? alias : fallback ? fallback : sql_fmt(p, "lc_s%zu", p->name_count++);
    src->columns = qualify(p, src->columns, src->column_count, src->alias);
    add_source(p, *src);
    return sql_fmt(p, "%s AS %s", from, sql_quote_name(p, src->alias));
}

static const char *unnest(struct sql_parser *p, struct sx list)
{
    if (!list.repeated)
        sql_fail(p, "Values referenced in UNNEST must be arrays, not %s", sql_type_text(&list));
    const char *given = accept_alias(p);
    const char *alias = given ? given : sql_fmt(p, "lc_u%zu", p->name_count++);
    const char *quoted = sql_quote_name(p, alias);
    struct sql_source src = {.alias = alias, .is_value = true};
    src.element =
        (struct sx){.sql = sql_fmt(p, "%s.value", quoted), .type = list.type, .sub = list.sub};
    if (list.type == LC_RECORD && list.sub && !p->failed) {
        src.columns = schema_columns(p, list.sub);
        src.column_count = list.sub->count;
        for (size_t i = 0; i < src.column_count; i++)
            src.columns[i].x = sql_member(p, src.element, src.columns[i].name);
    }
    add_source(p, src);
    if (sql_accept(p, "WITH")) {
        sql_expect(p, "OFFSET");
        const char *name = accept_alias(p);
        struct sql_source key = {.alias = name ? name : "offset", .is_value = true};
        key.element = sql_make(sql_fmt(p, "%s.key", quoted), LC_INTEGER);
        add_source(p, key);
    }
    return sql_fmt(p, "json_each(%s) AS %s", list.sql, quoted);
}

// alias.path in FROM, where alias is an earlier source: an implied UNNEST.
static bool is_correlated(const struct sql_parser *p)
{
    const struct tok *t = sql_peek(p);
    if (t->kind != TOK_NAME || p->toks[p->pos + 1].kind != TOK_OP ||
        strcmp(p->toks[p->pos + 1].text, ".") != 0)
        return false;
    for (size_t i = 0; i < p->scope->source_count; i++)
        if (strcasecmp(p->scope->sources[i].alias, t->text) == 0)
            return true;
    return false;
}

static const char *from_item(struct sql_parser *p)
{
    struct sql_source src = {0};
    const char *parts[3] = {"", "", ""};
    if (sql_accept(p, "UNNEST")) {
        sql_expect_op(p, "(");
        struct sx list = sql_expr(p);
        sql_expect_op(p, ")");
        return unnest(p, list);
    }
    if (sql_accept_op(p, "(")) {
        struct sql_scope *outer = p->scope;
        struct sql_rel rel = sql_query(p);
        p->scope = outer;
        sql_expect_op(p, ")");
        src.columns = rel.columns;
        src.column_count = rel.column_count;
        return finish_source(p, &src, sql_fmt(p, "(%s)", rel.sql), NULL);
    }
    if (is_correlated(p))
        return unnest(p, sql_expr(p));
    size_t count = table_path(p, parts);
    const struct sql_with *with = count == 1 ? find_with(p, parts[0]) : NULL;
    if (with) {
        src.columns = with->rel.columns;
        src.column_count = with->rel.column_count;
        return finish_source(p, &src, sql_fmt(p, "(%s)", with->rel.sql), with->name);
    }
    const char *from = catalog_table(p, parts, count, &src);
    return finish_source(p, &src, from, count ? parts[count - 1] : "t");
}

// The join word at the cursor as SQLite has it; NULL at the end of FROM.
static const char *join_word(struct sql_parser *p)
{
    static const char *const sides[] = {"LEFT", "RIGHT", "FULL"};
    if (sql_accept_op(p, ","))
        return ",";
    if (sql_accept(p, "JOIN"))
        return " JOIN ";
    if (sql_is(p, "INNER") || sql_is(p, "CROSS")) {
        const char *word = sql_is(p, "CROSS") ? " CROSS JOIN " : " JOIN ";
        p->pos++;
        sql_expect(p, "JOIN");
        return word;
    }
    for (size_t i = 0; i < LC_ARRAY_LEN(sides); i++)
        if (sql_accept(p, sides[i])) {
            sql_accept(p, "OUTER");
            sql_expect(p, "JOIN");
            return sql_fmt(p, " %s JOIN ", sides[i]);
        }
    return NULL;
}

// USING(a, b): equality of the columns; the right side's copies disappear from bare names.
static const char *using_condition(struct sql_parser *p)
{
    struct lc_buf b = {0};
    struct sql_source *right = &p->scope->sources[p->scope->source_count - 1];
    sql_expect_op(p, "(");
    for (size_t i = 0; !p->failed; i++) {
        const char *name = sql_name(p);
        const struct sql_column *left = NULL, *other = sql_source_column(right, name);
        for (size_t k = 0; k + 1 < p->scope->source_count && !left; k++)
            left = sql_source_column(&p->scope->sources[k], name);
        if (!left || !other) {
            sql_fail(p, "Column %s in USING is not on both sides", name);
            break;
        }
        lc_buf_fmt(&b, "%s%s = %s", i ? " AND " : "", left->x.sql, other->x.sql);
        ((struct sql_column *)other)->name =
            ""; // the right side's copy no longer makes the name ambiguous
        if (!sql_accept_op(p, ","))
            break;
    }
    sql_expect_op(p, ")");
    return sql_take(p, &b);
}

static const char *from_clause(struct sql_parser *p)
{
    struct lc_buf b = {0};
    lc_buf_fmt(&b, " FROM %s", from_item(p));
    const char *word;
    while (!p->failed && (word = join_word(p))) {
        const char *item = from_item(p);
        lc_buf_fmt(&b, "%s%s", word, item);
        if (sql_accept(p, "ON")) {
            struct sx on = sql_expr(p);
            lc_buf_fmt(&b, " ON %s", on.sql);
        } else if (sql_accept(p, "USING")) {
            lc_buf_fmt(&b, " ON %s", using_condition(p));
        }
    }
    return sql_take(p, &b);
}

static void add_item(struct sql_parser *p, struct sql_rel *rel, const char *name, struct sx x)
{
    struct sql_column *list = sql_alloc(p, (rel->column_count + 1) * sizeof *list);
    if (rel->column_count)
        memcpy(list, rel->columns, rel->column_count * sizeof *list);
    list[rel->column_count++] = (struct sql_column){name, x};
    rel->columns = list;
}

static bool excepted(struct sql_parser *p, size_t except_pos, const char *name)
{
    size_t saved = p->pos;
    bool hit = false;
    p->pos = except_pos;
    while (except_pos && !hit && !p->failed) {
        hit = strcasecmp(sql_name(p), name) == 0;
        if (!sql_accept_op(p, ","))
            break;
    }
    p->pos = saved;
    return hit;
}

// "*" or "alias.*", with EXCEPT (names).
static void star_items(struct sql_parser *p, struct sql_rel *rel, const char *alias)
{
    size_t except_pos = 0;
    if (sql_accept(p, "EXCEPT")) {
        sql_expect_op(p, "(");
        except_pos = p->pos;
        while (!sql_is_op(p, ")") && sql_peek(p)->kind != TOK_END)
            p->pos++;
        sql_expect_op(p, ")");
    }
    if (!p->scope->source_count)
        sql_fail(p, "SELECT * must have a FROM clause");
    for (size_t i = 0; i < p->scope->source_count; i++) {
        const struct sql_source *s = &p->scope->sources[i];
        if (alias && strcasecmp(s->alias, alias) != 0)
            continue;
        if (s->is_value && s->element.type != LC_RECORD)
            add_item(p, rel, s->alias, s->element);
        for (size_t k = 0; k < s->column_count; k++)
            if (*s->columns[k].name && !excepted(p, except_pos, s->columns[k].name))
                add_item(p, rel, s->columns[k].name, s->columns[k].x);
    }
}

static bool accept_star(struct sql_parser *p, struct sql_rel *rel)
{
    if (sql_accept_op(p, "*")) {
        star_items(p, rel, NULL);
        return true;
    }
    const struct tok *t = sql_peek(p);
    bool dotted = t->kind == TOK_NAME && t[1].kind == TOK_OP && !strcmp(t[1].text, ".") &&
                  t[2].kind == TOK_OP && !strcmp(t[2].text, "*");
    if (dotted) {
        p->pos += 3;
        star_items(p, rel, t->text);
    }
    return dotted;
}

static void select_list(struct sql_parser *p, struct sql_rel *rel)
{
    for (size_t i = 0; !p->failed; i++) {
        if (!accept_star(p, rel)) {
            size_t from = p->pos;
            struct sx x = sql_expr(p);
            const struct tok *last = &p->toks[p->pos - (p->pos > 0)];
            bool path = p->pos > from && (last->kind == TOK_NAME || last->kind == TOK_QUOTED) &&
                        (p->pos == from + 1 || !strcmp(p->toks[p->pos - 2].text, "."));
            const char *alias = accept_alias(p);
            const char *name = alias ? alias : path ? last->text : sql_fmt(p, "f%zu_", i);
            add_item(p, rel, name, x);
        }
        if (!sql_accept_op(p, ",") || sql_is(p, "FROM"))
            break;
    }
}

// Position of this SELECT's FROM, or 0.
static size_t find_from(const struct sql_parser *p)
{
    int depth = 0;
    for (size_t i = p->pos; i < p->count; i++) {
        const struct tok *t = &p->toks[i];
        if (t->kind == TOK_OP && (*t->text == '(' || *t->text == '['))
            depth++;
        else if (t->kind == TOK_OP && (*t->text == ')' || *t->text == ']') && --depth < 0)
            return 0;
        else if (t->kind == TOK_NAME && depth == 0 && strcasecmp(t->text, "UNION") == 0)
            return 0;
        else if (t->kind == TOK_NAME && depth == 0 && strcasecmp(t->text, "FROM") == 0)
            return i;
    }
    return 0;
}

// One GROUP BY or ORDER BY key: an ordinal, an alias of the list, or an expression.
static const char *key_text(struct sql_parser *p, const struct sql_rel *rel, bool prefer_alias)
{
    const struct tok *t = sql_peek(p);
    const struct tok *next = &p->toks[p->pos + (t->kind != TOK_END)];
    bool alone = next->kind != TOK_OP || *next->text == ',' || *next->text == ')';
    if (t->kind == TOK_INT && alone) {
        int64_t n = 0;
        p->pos++;
        if (!lc_parse_i64(t->text, &n) || n < 1 || n > (int64_t)rel->column_count)
            sql_fail(p, "Column number %s is out of range", t->text);
        return t->text;
    }
    for (size_t i = 0; prefer_alias && alone && (t->kind == TOK_NAME || t->kind == TOK_QUOTED) &&
                       i < rel->column_count;
         i++)
        if (strcasecmp(rel->columns[i].name, t->text) == 0) {
            p->pos++;
            return sql_fmt(p, "%zu", i + 1);
        }
    return sql_expr(p).sql;
}

static const char *group_by(struct sql_parser *p, const struct sql_rel *rel)
{
    struct lc_buf b = {0};
    sql_expect(p, "BY");
    for (size_t i = 0; !p->failed; i++) {
        lc_buf_fmt(&b, "%s%s", i ? ", " : " GROUP BY ", key_text(p, rel, true));
        if (!sql_accept_op(p, ","))
            break;
    }
    return sql_take(p, &b);
}

static const char *condition(struct sql_parser *p, const char *word)
{
    struct sx x = sql_expr(p);
    if (x.type != LC_BOOLEAN && !x.null)
        sql_fail(p, "%s clause should return type BOOL, but returns %s", word, sql_type_text(&x));
    return sql_fmt(p, " %s %s", word, x.sql);
}

static const char *list_text(struct sql_parser *p, const struct sql_rel *rel)
{
    struct lc_buf b = {0};
    for (size_t i = 0; i < rel->column_count; i++)
        lc_buf_fmt(&b, "%s%s AS %s", i ? ", " : "", rel->columns[i].x.sql,
                   sql_quote_name(p, rel->columns[i].name));
    lc_buf_str(&b, "");
    return sql_take(p, &b);
}

static struct sql_rel select_core(struct sql_parser *p)
{
    struct sql_rel rel = {0};
    const char *from = "", *where = "", *group = "", *having = "";
    sql_expect(p, "SELECT");
    bool distinct = sql_accept(p, "DISTINCT");
    sql_accept(p, "ALL");
    struct sql_scope *scope = sql_alloc(p, sizeof *scope);
    scope->parent = p->scope;
    p->scope = scope;
    size_t list_pos = p->pos, from_pos = p->failed ? 0 : find_from(p), after = 0;
    if (from_pos) {
        p->pos = from_pos + 1;
        from = from_clause(p);
        after = p->pos;
        p->pos = p->failed ? p->pos : list_pos;
    }
    select_list(p, &rel);
    if (from_pos && !p->failed) {
        if (p->pos != from_pos)
            sql_fail(p, "Syntax error: Unexpected \"%s\" in the SELECT list", sql_peek(p)->text);
        else
            p->pos = after;
    }
    if (sql_accept(p, "WHERE"))
        where = condition(p, "WHERE");
    scope->items = rel.columns; // aliases can be used from here on
    scope->item_count = rel.column_count;
    if (sql_accept(p, "GROUP"))
        group = group_by(p, &rel);
    if (sql_accept(p, "HAVING"))
        having = condition(p, "HAVING");
    rel.sql = sql_fmt(p, "SELECT %s%s%s%s%s%s", distinct ? "DISTINCT " : "", list_text(p, &rel),
                      from, where, group, having);
    rel.scope = scope;
    p->scope = scope->parent;
    return rel;
}

static struct sql_rel select_operand(struct sql_parser *p)
{
    if (!sql_accept_op(p, "("))
        return select_core(p);
    struct sql_rel rel = sql_query(p);
    sql_expect_op(p, ")");
    rel.sql = sql_fmt(p, "SELECT * FROM (%s)", rel.sql);
    return rel;
}

static const char *set_word(struct sql_parser *p)
{
    if (sql_accept(p, "UNION")) {
        if (sql_accept(p, "ALL"))
            return " UNION ALL ";
        sql_expect(p, "DISTINCT");
        return " UNION ";
    }
    if (sql_is(p, "EXCEPT") || sql_is(p, "INTERSECT")) {
        const char *word = sql_is(p, "EXCEPT") ? " EXCEPT " : " INTERSECT ";
        p->pos++;
        sql_expect(p, "DISTINCT");
        return word;
    }
    return NULL;
}

static struct sql_rel set_operations(struct sql_parser *p)
{
    struct sql_rel rel = select_operand(p);
    const char *word;
    while (!p->failed && (word = set_word(p))) {
        struct sql_rel next = select_operand(p);
        if (next.column_count != rel.column_count)
            sql_fail(p, "Queries in a set operation have mismatched column count: %zu and %zu",
                     rel.column_count, next.column_count);
        rel.sql = sql_fmt(p, "%s%s%s", rel.sql, word, next.sql);
        rel.scope = NULL;
    }
    return rel;
}

static const char *order_by(struct sql_parser *p, const struct sql_rel *rel)
{
    struct lc_buf b = {0};
    struct sql_scope *outer = p->scope;
    sql_expect(p, "BY");
    p->scope = rel->scope ? rel->scope : outer;
    for (size_t i = 0; !p->failed; i++) {
        lc_buf_fmt(&b, "%s%s", i ? ", " : " ORDER BY ", key_text(p, rel, true));
        if (sql_accept(p, "DESC"))
            lc_buf_str(&b, " DESC");
        else
            sql_accept(p, "ASC");
        if (sql_accept(p, "NULLS")) {
            lc_buf_str(&b, sql_accept(p, "FIRST") ? " NULLS FIRST" : " NULLS LAST");
            sql_accept(p, "LAST");
        }
        if (!sql_accept_op(p, ","))
            break;
    }
    p->scope = outer;
    return sql_take(p, &b);
}

static const char *limit(struct sql_parser *p)
{
    const struct tok *n = sql_peek(p), *skip = NULL;
    if (n->kind != TOK_INT)
        sql_fail(p, "Syntax error: LIMIT needs a whole number");
    p->pos += n->kind == TOK_INT;
    if (sql_accept(p, "OFFSET")) {
        skip = sql_peek(p);
        if (skip->kind != TOK_INT)
            sql_fail(p, "Syntax error: OFFSET needs a whole number");
        p->pos += skip->kind == TOK_INT;
    }
    return sql_fmt(p, " LIMIT %s%s%s", n->text, skip ? " OFFSET " : "", skip ? skip->text : "");
}

static void with_clause(struct sql_parser *p)
{
    do {
        struct sql_with w = {.name = sql_name(p)};
        sql_expect(p, "AS");
        sql_expect_op(p, "(");
        w.rel = sql_query(p);
        sql_expect_op(p, ")");
        struct sql_with *list = sql_alloc(p, (p->with_count + 1) * sizeof *list);
        if (p->with_count)
            memcpy(list, p->with, p->with_count * sizeof *list);
        list[p->with_count++] = w;
        p->with = list;
    } while (sql_accept_op(p, ",") && !p->failed);
}

struct sql_rel sql_query(struct sql_parser *p)
{
    size_t with_count = p->with_count;
    if (sql_accept(p, "WITH"))
        with_clause(p);
    struct sql_rel rel = set_operations(p);
    const char *order = sql_accept(p, "ORDER") ? order_by(p, &rel) : "";
    const char *bound = sql_accept(p, "LIMIT") ? limit(p) : "";
    rel.sql = sql_fmt(p, "%s%s%s", rel.sql, order, bound);
    p->with_count = with_count;
    return rel;
}

static void copy_schema(const struct lc_schema *from, struct lc_schema *to);

static void copy_field(struct lc_field *to, const char *name, enum lc_type type, enum lc_mode mode,
                       const struct lc_schema *sub)
{
    *to = (struct lc_field){.name = lc_strdup(name), .type = type, .mode = mode};
    if (sub)
        copy_schema(sub, &to->sub);
}

static void copy_schema(const struct lc_schema *from, struct lc_schema *to)
{
    to->count = from->count;
    to->fields = lc_alloc(from->count * sizeof *to->fields);
    for (size_t i = 0; i < from->count; i++)
        copy_field(&to->fields[i], from->fields[i].name, from->fields[i].type, from->fields[i].mode,
                   &from->fields[i].sub);
}

static void describe(const struct sql_rel *rel, struct lc_sql *out)
{
    out->text = lc_strdup(rel->sql);
    out->schema.count = rel->column_count;
    out->schema.fields = lc_alloc(rel->column_count * sizeof *out->schema.fields);
    for (size_t i = 0; i < rel->column_count; i++) {
        const struct sx *x = &rel->columns[i].x;
        copy_field(&out->schema.fields[i], rel->columns[i].name, x->type,
                   x->repeated ? LC_REPEATED : LC_NULLABLE, x->type == LC_RECORD ? x->sub : NULL);
    }
}

bool lc_sql_translate(const char *query, lc_sql_resolver resolve, void *cls, struct lc_sql *out,
                      char err[LC_ERROR_BYTES])
{
    struct sql_parser p = {.resolve = resolve, .cls = cls, .err = err};
    *out = (struct lc_sql){0};
    if (sql_lex(&p, query)) {
        if (!sql_is(&p, "SELECT") && !sql_is(&p, "WITH") && !sql_is_op(&p, "("))
            sql_fail(&p, "localcloud answers SELECT only, not \"%s\"", sql_peek(&p)->text);
        struct sql_rel rel = sql_query(&p);
        if (sql_peek(&p)->kind != TOK_END)
            sql_fail(&p, "Syntax error: Unexpected \"%s\"", sql_peek(&p)->text);
        if (!p.failed)
            describe(&rel, out);
    }
    for (size_t i = 0; i < p.schema_count; i++)
        lc_schema_fini(&p.schemas[i]);
    for (size_t i = 0; i < p.owned_count; i++)
        free(p.owned[i]);
    free(p.schemas);
    free(p.owned);
    free(p.toks);
    return !p.failed;
}

void lc_sql_fini(struct lc_sql *s)
{
    free(s->text);
    lc_schema_fini(&s->schema);
    *s = (struct lc_sql){0};
}
