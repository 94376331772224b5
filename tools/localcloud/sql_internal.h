// Shared by the sql_*.c files only: tokens, typed expressions, scopes.
// After the first error the parser stands at the end token and every step returns something
// harmless, so no step needs to check for errors of the steps below it.
#ifndef LOCALCLOUD_SQL_INTERNAL_H
#define LOCALCLOUD_SQL_INTERNAL_H

#include "tools/localcloud/sql.h"

enum tok_kind { TOK_END, TOK_NAME, TOK_QUOTED, TOK_INT, TOK_FLOAT, TOK_STRING, TOK_OP };

struct tok {
    enum tok_kind kind;
    const char *text; // NAME, QUOTED: the name; STRING: its value; OP: the operator
    int line;
    int column;
};

/** A translated expression and its type. */
struct sx {
    const char *sql;
    enum lc_type type;
    bool repeated;
    bool literal;                // a string literal, which adapts to DATE, TIMESTAMP, ...
    bool null;                   // the literal NULL
    const struct lc_schema *sub; // RECORD
    const char *text;            // of a string literal
};

struct sql_column {
    const char *name;
    struct sx x;
};

struct sql_source {
    const char *alias;
    struct sql_column *columns;
    size_t column_count;
    bool is_value; // UNNEST: the alias itself is a value, in element
    struct sx element;
};

struct sql_scope {
    struct sql_scope *parent;
    struct sql_source *sources;
    size_t source_count;
    struct sql_column *items; // select list, for aliases and ordinals
    size_t item_count;
};

/** A relation: SQLite text of a whole SELECT, and its columns (x.sql unused). */
struct sql_rel {
    const char *sql;
    struct sql_column *columns;
    size_t column_count;
    struct sql_scope *scope;
};

struct sql_with {
    const char *name;
    struct sql_rel rel;
};

struct sql_parser {
    struct tok *toks;
    size_t count;
    size_t pos;
    struct sql_scope *scope;
    struct sql_with *with;
    size_t with_count;
    lc_sql_resolver resolve;
    void *cls;
    bool failed;
    char *err;
    int depth;
    size_t name_count; // of names made up so far
    void **owned;      // all memory of one translation
    size_t owned_count;
    struct lc_schema *schemas; // of the tables used
    size_t schema_count;
};

/** sql_lex.c: cuts the query into tokens. @return false after setting the error. */
bool sql_lex(struct sql_parser *p, const char *query);

/** sql_lex.c: memory that lives as long as the parser. */
void *sql_alloc(struct sql_parser *p, size_t size);
const char *sql_fmt(struct sql_parser *p, const char *fmt, ...) LC_PRINTF(2, 3);
/** Hands the text in b to the parser. */
const char *sql_take(struct sql_parser *p, struct lc_buf *b);

/** First error wins; the parser moves to the end. Position of the current token is added. */
void sql_fail(struct sql_parser *p, const char *fmt, ...) LC_PRINTF(2, 3);

/** Cursor steps. Keywords match TOK_NAME only, in any case. */
const struct tok *sql_peek(const struct sql_parser *p);
bool sql_is(const struct sql_parser *p, const char *keyword);
bool sql_is_op(const struct sql_parser *p, const char *op);
bool sql_accept(struct sql_parser *p, const char *keyword);
bool sql_accept_op(struct sql_parser *p, const char *op);
void sql_expect(struct sql_parser *p, const char *keyword);
void sql_expect_op(struct sql_parser *p, const char *op);
/** A name (quoted or not; a reserved word is refused). */
const char *sql_name(struct sql_parser *p);
/** @return true when the name is a reserved word of GoogleSQL. */
bool sql_reserved(const char *name);

/** Quotes text for SQLite: 'text' and "text". */
const char *sql_quote_text(struct sql_parser *p, const char *s);
const char *sql_quote_name(struct sql_parser *p, const char *s);

/** sql_expr.c */
struct sx sql_expr(struct sql_parser *p);
struct sx sql_make(const char *sql, enum lc_type type);
/** x as the given type when it is a string literal or NULL; otherwise unchanged. */
struct sx sql_adapt(struct sql_parser *p, struct sx x, enum lc_type type);
/** Makes both sides of a comparison comparable, or fails. */
void sql_match(struct sql_parser *p, struct sx *a, struct sx *b, const char *what);
const char *sql_type_text(const struct sx *x);
bool sql_is_number(const struct sx *x);
/** Column of one source by name. @return NULL when it has none. */
const struct sql_column *sql_source_column(const struct sql_source *s, const char *name);
/** Member of a RECORD or JSON value. */
struct sx sql_member(struct sql_parser *p, struct sx x, const char *name);

/** sql_call.c: the current token is the "(" after name. */
struct sx sql_call(struct sql_parser *p, const char *name);
/** x cast to a named type, as CAST and SAFE_CAST do. */
struct sx sql_cast(struct sql_parser *p, struct sx x, const char *type, bool safe);
/** An INTERVAL literal after that word: count and part of "n PART". */
const char *sql_interval(struct sql_parser *p, const char **part);
/** A date part such as DAY; fails on anything else. */
const char *sql_part(struct sql_parser *p);

/** sql_select.c: [WITH] query with ORDER BY and LIMIT. */
struct sql_rel sql_query(struct sql_parser *p);

#endif
