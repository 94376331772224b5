// GoogleSQL queries over the row tables: translated to SQLite's SQL while they are parsed. What is
// not understood is refused with a message, never guessed. Thread: any.
#ifndef LOCALCLOUD_SQL_H
#define LOCALCLOUD_SQL_H

#include <sqlite3.h>

#include "tools/localcloud/bq_schema.h"
#include "tools/localcloud/util.h"

/** Answer of a resolver. */
struct lc_sql_table {
    struct lc_schema schema; // owned by the translator from then on
    char *from; // SQLite text that yields one column per field; owned by the translator
};

/**
 * Finds a table. project or dataset may be empty: the resolver's default.
 * @return false with a reason in err.
 */
typedef bool (*lc_sql_resolver)(void *cls, const char *project, const char *dataset,
                                const char *table, struct lc_sql_table *out,
                                char err[LC_ERROR_BYTES]);

/** A translated query. Zero-initialise; lc_sql_fini. */
struct lc_sql {
    char *text;              // for SQLite
    struct lc_schema schema; // of the result
};

/** Translates one SELECT. @return false with a reason in err. */
bool lc_sql_translate(const char *query, lc_sql_resolver resolve, void *cls, struct lc_sql *out,
                      char err[LC_ERROR_BYTES]);

/** Frees what s holds. */
void lc_sql_fini(struct lc_sql *s);

/** Adds the functions that translated texts call, and LIKE as GoogleSQL has it, to a connection. */
void lc_sql_register(sqlite3 *db);

#endif
