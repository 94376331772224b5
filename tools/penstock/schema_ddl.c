/*
 * `penstock schema ddl`: CREATE TABLE in GoogleSQL for a schema, with the columns that Penstock adds.
 * What GoogleSQL cannot say in a column (policy tags) is named on stderr.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tools/penstock/schema.h"

#define CLUSTERING_MAX 4

static const char *const reserved_words[] = {
    "ALL",
    "AND",
    "ANY",
    "ARRAY",
    "AS",
    "ASC",
    "ASSERT_ROWS_MODIFIED",
    "AT",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "COLLATE",
    "CONTAINS",
    "CREATE",
    "CROSS",
    "CUBE",
    "CURRENT",
    "DEFAULT",
    "DEFINE",
    "DESC",
    "DISTINCT",
    "ELSE",
    "END",
    "ENUM",
    "ESCAPE",
    "EXCEPT",
    "EXCLUDE",
    "EXISTS",
    "EXTRACT",
    "FALSE",
    "FETCH",
    "FOLLOWING",
    "FOR",
    "FROM",
    "FULL",
    "GROUP",
    "GROUPING",
    "GROUPS",
    "HASH",
    "HAVING",
    "IF",
    "IGNORE",
    "IN",
    "INNER",
    "INTERSECT",
    "INTERVAL",
    "INTO",
    "IS",
    "JOIN",
    "LATERAL",
    "LEFT",
    "LIKE",
    "LIMIT",
    "LOOKUP",
    "MERGE",
    "NATURAL",
    "NEW",
    "NO",
    "NOT",
    "NULL",
    "NULLS",
    "OF",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "PRECEDING",
    "PROTO",
    "QUALIFY",
    "RANGE",
    "RECURSIVE",
    "RESPECT",
    "RIGHT",
    "ROLLUP",
    "ROWS",
    "SELECT",
    "SET",
    "SOME",
    "STRUCT",
    "TABLESAMPLE",
    "THEN",
    "TO",
    "TREAT",
    "TRUE",
    "UNBOUNDED",
    "UNION",
    "UNNEST",
    "USING",
    "WHEN",
    "WHERE",
    "WINDOW",
    "WITH",
    "WITHIN",
};

static int refuse(const char *what, const char *value, const char *allowed)
{
    fprintf(stderr, "penstock schema: %s \"%s\": %s\n", what, value, allowed);
    return 2;
}

/* Names hold letters, digits and '_' only; a reserved word needs quotes. */
static void print_name(const char *name)
{
    bool quoted = false;

    for (size_t i = 0; i < ARRAY_LEN(reserved_words); i++)
        quoted = quoted || strcasecmp(name, reserved_words[i]) == 0;
    printf(quoted ? "`%s`" : "%s", name);
}

/* A JSON string as a GoogleSQL string. */
static void print_string(struct json_value v)
{
    char *text = malloc(v.len);
    size_t n = text != NULL ? json_unescape(json_string_body(v), text) : 0;

    printf("\"");
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c == '\n')
            printf("\\n");
        else if (c < 0x20 || c == 0x7F)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    printf("\"");
    free(text);
}

static const char *sql_type(const struct schema_field *f)
{
    switch ((enum column_type)f->type) {
    case COLUMN_INTEGER:
        return "INT64";
    case COLUMN_FLOAT:
        return "FLOAT64";
    case COLUMN_BOOLEAN:
        return "BOOL";
    default:
        return column_type_name(f->type);
    }
}

static void print_columns(const struct schema_field *record, struct json_value fields, int indent,
                          const char *separator);

static void print_type(const struct schema_field *f, struct json_value json, int indent)
{
    struct json_value fields;
    bool repeated = f->mode == COLUMN_REPEATED;

    if (repeated)
        printf("ARRAY<");
    if (f->type == COLUMN_RECORD) {
        bool there = json_find(json, span_of("fields"), &fields);

        ASSERT(there); /* it was compiled */
        printf("STRUCT<\n");
        print_columns(f, fields, indent + 2, ",\n");
        printf("\n%*s>", indent, "");
    } else {
        printf("%s", sql_type(f));
        if (f->type == COLUMN_RANGE)
            printf("<%s>", column_type_name(f->range));
        if (f->max_length > 0)
            printf("(%llu)", (unsigned long long)f->max_length);
        if (f->precision > 0 && f->scale > 0)
            printf("(%u, %u)", f->precision, f->scale);
        else if (f->precision > 0)
            printf("(%u)", f->precision);
    }
    if (repeated)
        printf(">");
}

static void print_options(const struct schema_field *f, struct json_value json)
{
    struct json_value description, rounding;
    bool described = json_find(json, span_of("description"), &description) &&
                     description.type == JSON_STRING && description.len > 2;
    bool rounded =
        json_find(json, span_of("roundingMode"), &rounding) && rounding.type == JSON_STRING;

    if (json_find(json, span_of("policyTags"), &(struct json_value){0}))
        fprintf(stderr, "penstock schema: %s: policyTags have no place in CREATE TABLE\n", f->path);
    if (!described && !rounded)
        return;
    printf(" OPTIONS(");
    if (described) {
        printf("description=");
        print_string(description);
    }
    if (rounded) {
        printf("%srounding_mode=", described ? ", " : "");
        print_string(rounding);
    }
    printf(")");
}

static void print_column(const struct schema_field *f, struct json_value json, int indent)
{
    struct json_value v;

    printf("%*s", indent, "");
    print_name(f->name);
    printf(" ");
    print_type(f, json, indent);
    if (json_find(json, span_of("collation"), &v) && v.type == JSON_STRING) {
        printf(" COLLATE ");
        print_string(v);
    }
    if (json_find(json, span_of("defaultValueExpression"), &v) && v.type == JSON_STRING) {
        char *text = malloc(v.len);

        if (text != NULL)
            printf(" DEFAULT %.*s", (int)json_unescape(json_string_body(v), text), text);
        free(text);
    }
    if (f->mode == COLUMN_REQUIRED)
        printf(" NOT NULL");
    print_options(f, json);
}

static void print_columns(const struct schema_field *record, struct json_value fields, int indent,
                          const char *separator)
{
    struct json_walk w;
    struct json_value v;

    json_walk_init(&w, fields);
    for (uint32_t i = 0; i < record->n_fields && json_walk_element(&w, &v); i++) {
        printf("%s", i > 0 ? separator : "");
        print_column(&record->fields[i], v, indent);
    }
}

/* [project.]dataset.table, from the command line or from the file's name. @return 0 or 2. */
static int table_name(const struct schema_options *o, char *out, size_t room)
{
    const char *name =
        strrchr(o->files[0], '/') != NULL ? strrchr(o->files[0], '/') + 1 : o->files[0];
    int n;

    if (o->table != NULL) {
        size_t dots = 0, length = strlen(o->table);

        for (size_t i = 0; i < length; i++) {
            bool edge = i == 0 || i + 1 == length || o->table[i - 1] == '.';

            dots += o->table[i] == '.' ? 1 : 0;
            if (strchr("`\\\"'", o->table[i]) != NULL || (unsigned char)o->table[i] <= ' ' ||
                (edge && o->table[i] == '.'))
                dots = 9;
        }
        if (dots < 1 || dots > 2 || length >= room)
            return refuse("--table", o->table, "[PROJECT.]DATASET.TABLE");
        snprintf(out, room, "%s", o->table);
        return 0;
    }
    n = snprintf(out, room, "dataset.%.*s", (int)strcspn(name, "."), name);
    for (char *p = out + strlen("dataset."); *p != '\0'; p++) {
        if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_", *p) == NULL)
            *p = '_';
    }
    if (n <= (int)strlen("dataset.") || strcmp(name, "-") == 0)
        snprintf(out, room, "dataset.events");
    return 0;
}

/* The column by which the table is partitioned; *f is NULL for none. @return 0 or 2. */
static int find_partition(const struct schema *s, const struct schema_options *o,
                          const struct schema_field **f)
{
    const char *name = o->partition != NULL ? o->partition : COLUMN_EVENT_DATE;

    *f = NULL;
    if (strcasecmp(name, "none") == 0)
        return 0;
    *f = schema_find(s, span_of(name));
    if (*f != NULL && (*f)->mode != COLUMN_REPEATED &&
        ((*f)->type == COLUMN_DATE || (*f)->type == COLUMN_TIMESTAMP ||
         (*f)->type == COLUMN_DATETIME))
        return 0;
    return refuse("--partition", name, "a top-level DATE, TIMESTAMP or DATETIME column, or none");
}

static bool can_cluster(const struct schema_field *f)
{
    return f != NULL && f->mode != COLUMN_REPEATED && f->type != COLUMN_RECORD &&
           f->type != COLUMN_JSON && f->type != COLUMN_FLOAT && f->type != COLUMN_BYTES &&
           f->type != COLUMN_TIME && f->type != COLUMN_INTERVAL && f->type != COLUMN_RANGE;
}

/* @return 0 or 2. */
static int find_clustering(const struct schema *s, const struct schema_options *o,
                           const struct schema_field *list[CLUSTERING_MAX], uint32_t *n)
{
    const char *p = o->cluster;

    *n = 0;
    while (p != NULL) {
        size_t len = strcspn(p, ",");
        const struct schema_field *f = schema_find(s, (struct span){p, len});

        if (*n == CLUSTERING_MAX || !can_cluster(f))
            return refuse("--cluster", o->cluster,
                          "up to four top-level columns of a type that can be sorted (not FLOAT, "
                          "JSON, RECORD, BYTES, TIME), none REPEATED");
        list[(*n)++] = f;
        p = p[len] == ',' ? p + len + 1 : NULL;
    }
    return 0;
}

int schema_ddl(const struct schema *s, const struct schema_options *options)
{
    const struct schema_field *cluster[CLUSTERING_MAX], *partition;
    struct span json = span_of(s->fields_json);
    char table[1024];
    uint32_t n;

    if (table_name(options, table, sizeof(table)) != 0 ||
        find_partition(s, options, &partition) != 0 ||
        find_clustering(s, options, cluster, &n) != 0)
        return 2;
    printf("CREATE TABLE `%s`\n(\n", table);
    print_columns(&s->root, json_value_at(json.ptr, json.len), 2, ",\n");
    printf("\n)");
    if (partition != NULL) {
        printf("\nPARTITION BY ");
        if (partition->type != COLUMN_DATE)
            printf("%s_TRUNC(", column_type_name(partition->type));
        print_name(partition->name);
        printf(partition->type != COLUMN_DATE ? ", DAY)" : "");
    }
    for (uint32_t i = 0; i < n; i++) {
        printf(i == 0 ? "\nCLUSTER BY " : ", ");
        print_name(cluster[i]->name);
    }
    printf(";\n");
    return fflush(stdout) == 0 ? 0 : 1;
}
