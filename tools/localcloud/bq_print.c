// Role: rows of --sql on standard output: an aligned table, or one JSON object a line.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/localcloud/bq_internal.h"
#include "tools/localcloud/bq_time.h"

enum { TABLE_ROWS_MAX = 100000 };

static json_t *plain(const struct lc_field *f, const json_t *v, bool element);

static json_t *plain_record(const struct lc_schema *s, const json_t *row)
{
    json_t *out = json_object(), *cells = json_object_get(row, "f");
    for (size_t i = 0; i < s->count; i++)
        json_object_set_new(
            out, s->fields[i].name,
            plain(&s->fields[i], json_object_get(json_array_get(cells, i), "v"), false));
    return out;
}

// A rendered cell as natural JSON: numbers as numbers, TIMESTAMP as RFC 3339.
static json_t *plain(const struct lc_field *f, const json_t *v, bool element)
{
    char text[40];
    int64_t i;
    const char *s = json_string_value(v);
    if (f->mode == LC_REPEATED && !element) {
        json_t *list = json_array();
        for (size_t k = 0; k < json_array_size(v); k++)
            json_array_append_new(list, plain(f, json_object_get(json_array_get(v, k), "v"), true));
        return list;
    }
    if (!v || json_is_null(v))
        return json_null();
    if (f->type == LC_RECORD)
        return plain_record(&f->sub, v);
    if (f->type == LC_INTEGER && lc_parse_i64(s, &i))
        return json_integer(i);
    if (f->type == LC_BOOLEAN)
        return json_boolean(strcmp(s, "true") == 0);
    if (f->type == LC_FLOAT && strpbrk(s, "0123456789"))
        return json_real(strtod(s, NULL));
    if (f->type == LC_TIMESTAMP && lc_parse_i64(s, &i))
        return json_sprintf("%sZ", lc_datetime_text(i, 'T', text));
    json_t *parsed = f->type == LC_JSON ? json_loads(s, JSON_DECODE_ANY, NULL) : NULL;
    return parsed ? parsed : json_incref((json_t *)v);
}

static size_t width(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += (*s & 0xc0) != 0x80;
    return n;
}

// Text of a cell. Owner: caller.
static char *cell_text(const json_t *v)
{
    char number[40];
    if (json_is_string(v))
        return lc_strdup(json_string_value(v));
    if (json_is_null(v))
        return lc_strdup("NULL");
    if (json_is_real(v))
        return lc_strdup(lc_double_text(json_real_value(v), number));
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
    return text ? text : lc_strdup("?");
}

static void print_line(const char *const *cells, const size_t *widths, const bool *right,
                       size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t pad = widths[i] > width(cells[i]) ? widths[i] - width(cells[i]) : 0;
        if (right[i])
            printf("%*s%s", (int)pad, "", cells[i]);
        else
            printf("%s%*s", cells[i], i + 1 < count ? (int)pad : 0, "");
        fputs(i + 1 < count ? "  " : "\n", stdout);
    }
}

static void print_table(const struct lc_schema *s, const json_t *rows)
{
    size_t count = s->count, row_count = json_array_size(rows);
    char **text = lc_alloc((row_count + 2) * count * sizeof *text);
    size_t *widths = lc_alloc(count * sizeof *widths);
    bool *right = lc_alloc(count * sizeof *right);
    for (size_t i = 0; i < count; i++) {
        right[i] = s->fields[i].mode != LC_REPEATED &&
                   (s->fields[i].type == LC_INTEGER || s->fields[i].type == LC_FLOAT);
        text[i] = lc_strdup(s->fields[i].name);
        for (size_t k = 0; k < row_count; k++)
            text[(k + 2) * count + i] =
                cell_text(json_object_get(json_array_get(rows, k), s->fields[i].name));
        for (size_t k = 0; k < row_count + 2; k++)
            if (k != 1 && width(text[k * count + i]) > widths[i])
                widths[i] = width(text[k * count + i]);
        text[count + i] = lc_alloc(widths[i] + 1);
        memset(text[count + i], '-', widths[i]);
    }
    for (size_t k = 0; k < row_count + 2; k++)
        print_line((const char *const *)text + k * count, widths, right, count);
    for (size_t i = 0; i < (row_count + 2) * count; i++)
        free(text[i]);
    free(text);
    free(widths);
    free(right);
}

int lc_print_rows(sqlite3 *db, sqlite3_stmt *st, const struct lc_schema *s, bool as_json)
{
    json_t *rows = json_array();
    int rc;
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
        json_t *rendered = lc_rows_render(st, s);
        json_t *row = plain_record(s, rendered);
        json_decref(rendered);
        if (as_json) {
            json_dumpf(row, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
            fputc('\n', stdout);
        } else if (json_array_size(rows) < TABLE_ROWS_MAX) {
            json_array_append(rows, row);
        } else {
            fputs("localcloud: more rows than a table shows: use --json or LIMIT\n", stderr);
            json_decref(row);
            rc = SQLITE_DONE;
            break;
        }
        json_decref(row);
    }
    if (rc == SQLITE_DONE && !as_json)
        print_table(s, rows);
    if (rc != SQLITE_DONE)
        fprintf(stderr, "localcloud: %s\n", sqlite3_errmsg(db));
    json_decref(rows);
    return rc == SQLITE_DONE ? 0 : 1;
}
