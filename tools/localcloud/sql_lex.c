// Role: tokens, the parser's memory and its error.
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/localcloud/sql_internal.h"

static void own(struct sql_parser *p, void *memory)
{
    if ((p->owned_count & (p->owned_count - 1)) == 0)
        p->owned =
            lc_realloc(p->owned, (p->owned_count ? p->owned_count * 2 : 1) * sizeof *p->owned);
    p->owned[p->owned_count++] = memory;
}

void *sql_alloc(struct sql_parser *p, size_t size)
{
    void *memory = lc_alloc(size);
    own(p, memory);
    return memory;
}

const char *sql_take(struct sql_parser *p, struct lc_buf *b)
{
    char *s = lc_buf_take(b);
    own(p, s);
    return s;
}

const char *sql_fmt(struct sql_parser *p, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    if (!fmt)
        abort();
    int n = vsnprintf(NULL, 0, fmt, ap);
    char *s = sql_alloc(p, (size_t)n + 1);
    vsnprintf(s, (size_t)n + 1, fmt, again);
    va_end(again);
    va_end(ap);
    return s;
}

void sql_fail(struct sql_parser *p, const char *fmt, ...)
{
    char message[400];
    va_list ap;
    if (p->failed)
        return;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    const struct tok *t = p->count ? &p->toks[p->pos] : NULL;
    snprintf(p->err, LC_ERROR_BYTES, "%s at [%d:%d]", message, t ? t->line : 1, t ? t->column : 1);
    p->failed = true;
    p->pos = p->count ? p->count - 1 : 0;
}

struct lexer {
    struct sql_parser *p;
    const char *s;
    const char *line_start;
    int line;
    size_t cap;
};

static void add(struct lexer *x, enum tok_kind kind, const char *text, const char *at)
{
    struct sql_parser *p = x->p;
    if (p->count == x->cap) {
        x->cap = x->cap ? x->cap * 2 : 64;
        p->toks = lc_realloc(p->toks, x->cap * sizeof *p->toks);
    }
    p->toks[p->count++] = (struct tok){kind, text, x->line, (int)(at - x->line_start) + 1};
}

static const char *copy(struct lexer *x, const char *s, size_t n)
{
    char *text = lc_strndup(s, n);
    own(x->p, text);
    return text;
}

// Blanks and comments. @return false at an unclosed comment.
static bool skip_blank(struct lexer *x)
{
    for (;; x->s++) {
        if (*x->s == '\n') {
            x->line++;
            x->line_start = x->s + 1;
        } else if (*x->s == '#' || (x->s[0] == '-' && x->s[1] == '-')) {
            x->s += strcspn(x->s, "\n") - 1;
        } else if (x->s[0] == '/' && x->s[1] == '*') {
            const char *end = strstr(x->s + 2, "*/");
            if (!end)
                return false;
            x->s = end + 1;
        } else if (!isspace((unsigned char)*x->s)) {
            return true;
        }
    }
}

static bool lex_string(struct lexer *x, bool raw)
{
    const char *from = x->s;
    char quote = *x->s++;
    struct lc_buf b = {0};
    for (; *x->s && *x->s != quote && *x->s != '\n'; x->s++) {
        char c = *x->s;
        if (c == '\\' && !raw && x->s[1]) {
            c = *++x->s;
            c = (char)(c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c);
        }
        lc_buf_add(&b, &c, 1);
    }
    bool closed = *x->s == quote;
    x->s += closed;
    add(x, TOK_STRING, sql_take(x->p, &b), from);
    return closed;
}

static bool lex_quoted_name(struct lexer *x)
{
    const char *from = ++x->s;
    size_t n = strcspn(from, "`\n");
    x->s += n;
    if (*x->s != '`' || !n)
        return false;
    add(x, TOK_QUOTED, copy(x, from, n), from);
    x->s++;
    return true;
}

static void lex_number(struct lexer *x)
{
    const char *from = x->s;
    bool real = false;
    while (isdigit((unsigned char)*x->s) || *x->s == '.') {
        real |= *x->s == '.';
        x->s++;
    }
    if ((*x->s == 'e' || *x->s == 'E') &&
        (isdigit((unsigned char)x->s[1]) ||
         ((x->s[1] == '-' || x->s[1] == '+') && isdigit((unsigned char)x->s[2])))) {
        real = true;
        x->s += 2;
        while (isdigit((unsigned char)*x->s))
            x->s++;
    }
    add(x, real ? TOK_FLOAT : TOK_INT, copy(x, from, (size_t)(x->s - from)), from);
}

static bool lex_op(struct lexer *x)
{
    static const char *const pairs[] = {"<=", ">=", "<>", "!=", "||"};
    for (size_t i = 0; i < LC_ARRAY_LEN(pairs); i++)
        if (lc_starts_with(x->s, pairs[i])) {
            add(x, TOK_OP, pairs[i], x->s);
            x->s += 2;
            return true;
        }
    if (!strchr("()[],.*+-/<>=;", *x->s))
        return false;
    add(x, TOK_OP, copy(x, x->s, 1), x->s);
    x->s++;
    return true;
}

static bool lex_one(struct lexer *x)
{
    char c = *x->s;
    if (c == '\'' || c == '"')
        return lex_string(x, false);
    if ((c == 'r' || c == 'R') && (x->s[1] == '\'' || x->s[1] == '"')) {
        x->s++;
        return lex_string(x, true);
    }
    if (c == '`')
        return lex_quoted_name(x);
    if (isdigit((unsigned char)c) || (c == '.' && isdigit((unsigned char)x->s[1]))) {
        lex_number(x);
        return true;
    }
    if (isalpha((unsigned char)c) || c == '_') {
        const char *from = x->s;
        while (isalnum((unsigned char)*x->s) || *x->s == '_')
            x->s++;
        add(x, TOK_NAME, copy(x, from, (size_t)(x->s - from)), from);
        return true;
    }
    return lex_op(x);
}

bool sql_lex(struct sql_parser *p, const char *query)
{
    struct lexer x = {.p = p, .s = query, .line_start = query, .line = 1};
    bool ok = skip_blank(&x);
    while (ok && *x.s)
        ok = lex_one(&x) && skip_blank(&x);
    if (p->count && p->toks[p->count - 1].kind == TOK_OP &&
        strcmp(p->toks[p->count - 1].text, ";") == 0)
        p->count--;
    add(&x, TOK_END, "end of query", x.s);
    if (!ok) {
        p->pos = p->count - 1;
        sql_fail(p, *x.s == '@' || *x.s == '?'
                        ? "localcloud does not support query parameters"
                        : "Syntax error: Illegal input character or unclosed text");
    }
    return ok;
}

const struct tok *sql_peek(const struct sql_parser *p)
{
    return &p->toks[p->pos];
}

bool sql_is(const struct sql_parser *p, const char *keyword)
{
    return sql_peek(p)->kind == TOK_NAME && strcasecmp(sql_peek(p)->text, keyword) == 0;
}

bool sql_is_op(const struct sql_parser *p, const char *op)
{
    return sql_peek(p)->kind == TOK_OP && strcmp(sql_peek(p)->text, op) == 0;
}

bool sql_accept(struct sql_parser *p, const char *keyword)
{
    bool is = sql_is(p, keyword);
    p->pos += is;
    return is;
}

bool sql_accept_op(struct sql_parser *p, const char *op)
{
    bool is = sql_is_op(p, op);
    p->pos += is;
    return is;
}

void sql_expect(struct sql_parser *p, const char *keyword)
{
    if (!sql_accept(p, keyword))
        sql_fail(p, "Syntax error: Expected keyword %s but got \"%s\"", keyword, sql_peek(p)->text);
}

void sql_expect_op(struct sql_parser *p, const char *op)
{
    if (!sql_accept_op(p, op))
        sql_fail(p, "Syntax error: Expected \"%s\" but got \"%s\"", op, sql_peek(p)->text);
}

bool sql_reserved(const char *name)
{
    static const char *const words[] = {
        "ALL",       "AND",     "ANY",       "ARRAY",    "AS",       "ASC",    "BETWEEN", "BY",
        "CASE",      "CAST",    "CROSS",     "DESC",     "DISTINCT", "ELSE",   "END",     "EXCEPT",
        "EXISTS",    "EXTRACT", "FALSE",     "FROM",     "FULL",     "GROUP",  "HAVING",  "IF",
        "IN",        "INNER",   "INTERSECT", "INTERVAL", "IS",       "JOIN",   "LEFT",    "LIKE",
        "LIMIT",     "NOT",     "NULL",      "ON",       "OR",       "ORDER",  "OUTER",   "OVER",
        "PARTITION", "QUALIFY", "RIGHT",     "SELECT",   "SET",      "STRUCT", "THEN",    "TRUE",
        "UNION",     "UNNEST",  "USING",     "WHEN",     "WHERE",    "WINDOW", "WITH"};
    for (size_t i = 0; i < LC_ARRAY_LEN(words); i++)
        if (strcasecmp(words[i], name) == 0)
            return true;
    return false;
}

const char *sql_name(struct sql_parser *p)
{
    const struct tok *t = sql_peek(p);
    if (t->kind == TOK_QUOTED || (t->kind == TOK_NAME && !sql_reserved(t->text))) {
        p->pos++;
        return t->text;
    }
    sql_fail(p, "Syntax error: Unexpected \"%s\", a name is expected", t->text);
    return "?";
}

static const char *quote(struct sql_parser *p, const char *s, char mark)
{
    struct lc_buf b = {0};
    lc_buf_add(&b, &mark, 1);
    for (; *s; s++) {
        if (*s == mark)
            lc_buf_add(&b, &mark, 1);
        lc_buf_add(&b, s, 1);
    }
    lc_buf_add(&b, &mark, 1);
    return sql_take(p, &b);
}

const char *sql_quote_text(struct sql_parser *p, const char *s)
{
    return quote(p, s, '\'');
}

const char *sql_quote_name(struct sql_parser *p, const char *s)
{
    return quote(p, s, '"');
}
