/*
 * COLD but for rows_find() and rows_source(). The life of versions: from text to the columns by
 * source name. A version's text is a schema in BigQuery's format with three more properties of a
 * field, so that the schema compiler reads it too:
 *
 *     {"format":1,"fixed_types":false,"columns_max":2000,"time_path":"created_at","fields":[
 *      {"name":"order_id","source":"order-id","type":"INTEGER","mode":"NULLABLE"},...]}\n
 *
 * source: what events call the field; base: configured, its name is its source; wide: an INTEGER
 * that no longer can become a FLOAT.
 */
#include "dataplane/event/rows.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "dataplane/base/crc32c.h"
#include "dataplane/event/rows_build_internal.h"
#include "dataplane/event/rows_internal.h"
#include "dataplane/event/text_internal.h"

#define FORMAT 1

int rows_source_compare(struct span a, struct span b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n > 0 ? memcmp(a.ptr, b.ptr, n) : 0;

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

const struct rows_column *rows_find(const struct rows_column *record, struct span source,
                                    uint32_t *next)
{
    uint32_t low = 0, high = record->n;

    if (likely(*next < record->n && span_equal(record->child[*next].source, source)))
        return &record->child[(*next)++];
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        uint32_t at = record->by_source[middle];
        int order = rows_source_compare(source, record->child[at].source);

        if (order == 0) {
            *next = at + 1;
            return &record->child[at];
        }
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

bool rows_source(const struct json_member *m, char *buf, struct span *out)
{
    *out = m->key;
    if (likely(!m->key_escaped))
        return m->key.len <= ROWS_SOURCE_BYTES_MAX;
    if (m->key.len > ROWS_RAW_NAME_MAX)
        return false;
    *out = (struct span){buf, json_unescape(m->key, buf)};
    return out->len <= ROWS_SOURCE_BYTES_MAX;
}

void rows_destroy(struct rows *r)
{
    if (r == NULL)
        return;
    schema_destroy(r->schema);
    free(r->text);
    free(r->time_path);
    free(r->_root);
    free(r->_children);
    free(r->_names);
    free(r->_sorted);
    free(r);
}

/* What reading one version's text needs. */
struct reader {
    struct rows *rows;
    uint32_t children_used;
    size_t names_used;
    char *error;
    size_t error_len;
};

static int refuse(struct reader *in, const char *where, const char *what)
{
    return schema_error(in->error, in->error_len, -EINVAL, "%s%s%s", where != NULL ? where : "",
                        where != NULL ? ": " : "", what);
}

static int compare_children(const void *a, const void *b, void *children)
{
    const struct rows_column *child = children;

    return rows_source_compare(child[*(const uint16_t *)a].source,
                               child[*(const uint16_t *)b].source);
}

/* Takes the column's own properties. */
static int read_column(struct reader *in, struct json_value v, struct rows_column *c)
{
    const struct schema_field *f = c->field;
    struct json_value source, flag;
    char *name = in->rows->_names + in->names_used;

    c->base = json_find(v, span_of("base"), &flag) && flag.type == JSON_TRUE;
    c->wide = json_find(v, span_of("wide"), &flag) && flag.type == JSON_TRUE;
    if (c->base) {
        c->source = (struct span){f->name, f->name_len};
        return 0;
    }
    if (!json_find(v, span_of("source"), &source) || source.type != JSON_STRING)
        return refuse(in, f->path, "a column without its source");
    c->source = (struct span){name, json_unescape(json_string_body(source), name)};
    in->names_used += c->source.len;
    if (c->source.len > ROWS_SOURCE_BYTES_MAX)
        return refuse(in, f->path, "a source name past the limit");
    if (f->mode == COLUMN_REQUIRED ||
        (f->type != COLUMN_STRING && f->type != COLUMN_INTEGER && f->type != COLUMN_FLOAT &&
         f->type != COLUMN_BOOLEAN && f->type != COLUMN_TIMESTAMP && f->type != COLUMN_JSON &&
         f->type != COLUMN_RECORD))
        return refuse(in, f->path, "a type or mode that no data shows");
    return 0;
}

static int index_record(struct reader *in, struct rows_column *record)
{
    qsort_r(record->by_source, record->n, sizeof(record->by_source[0]), compare_children,
            record->child);
    for (uint32_t i = 1; i < record->n; i++) {
        if (span_equal(record->child[record->by_source[i - 1]].source,
                       record->child[record->by_source[i]].source))
            return refuse(in, record->field->path, "two columns with the same source");
    }
    return 0;
}

/* The depth is bounded by the schema's. */
static int read_record(struct reader *in, struct json_value fields, struct rows_column *record)
{
    const struct schema_field *f = record->field;
    uint32_t first = in->children_used, at = 0;
    struct json_walk w;
    struct json_value v, below;
    int rc = 0;

    record->child = in->rows->_children + first;
    record->by_source = in->rows->_sorted + first;
    in->children_used += f->n_fields;
    ASSERT(in->children_used <= in->rows->n_columns);
    json_walk_init(&w, fields);
    while (rc == 0 && json_walk_element(&w, &v)) {
        struct rows_column *c = &record->child[record->n];

        c->field = &f->fields[at++];
        if (c->field->added != COLUMN_ADDED_NONE)
            continue;
        record->by_source[record->n] = (uint16_t)record->n;
        record->n++;
        rc = read_column(in, v, c);
        if (rc == 0 && c->field->type == COLUMN_RECORD && json_find(v, span_of("fields"), &below))
            rc = read_record(in, below, c);
    }
    ASSERT(at <= f->n_fields); /* the compiler read the same array */
    return rc == 0 ? index_record(in, record) : rc;
}

static uint32_t count_columns(const struct schema_field *record)
{
    uint32_t n = record->n_fields;

    for (uint32_t i = 0; i < record->n_fields; i++)
        n += count_columns(&record->fields[i]);
    return n;
}

static int read_head(struct reader *in, struct json_value doc, struct json_value *fields)
{
    struct rows *r = in->rows;
    struct json_paths paths = {0};
    struct json_value v;
    int64_t n;

    if (schema_property_int(doc, "format", &n) != 0 || n != FORMAT)
        return refuse(in, NULL, "not columns of this format");
    if (schema_property_int(doc, "columns_max", &n) != 0 || n < 1 || n > SCHEMA_FIELDS_MAX)
        return refuse(in, NULL, "columns_max is missing or out of range");
    r->columns_max = (uint32_t)n;
    if (!schema_property(doc, "fixed_types", &v) || (v.type != JSON_TRUE && v.type != JSON_FALSE))
        return refuse(in, NULL, "fixed_types is missing");
    r->fixed_types = v.type == JSON_TRUE;
    if (!schema_property(doc, "fields", fields) || fields->type != JSON_ARRAY)
        return refuse(in, NULL, "no fields");
    if (!schema_property(doc, "time_path", &v))
        return 0;
    if (v.type != JSON_STRING)
        return refuse(in, NULL, "time_path is not a string");
    r->time_path = schema_zalloc(v.len);
    if (r->time_path == NULL)
        return -ENOMEM;
    r->time_path[json_unescape(json_string_body(v), r->time_path)] = '\0';
    return json_paths_add(&paths, r->time_path) == 0
               ? 0
               : refuse(in, NULL, "time_path is not up to four names with dots between");
}

/* Memory for the columns; names are never longer than they are in the text. */
static int allocate_columns(struct rows *r)
{
    r->n_columns = count_columns(&r->schema->root);
    r->_root = schema_zalloc(sizeof(*r->_root));
    r->_children = schema_zalloc((r->n_columns + 1) * sizeof(r->_children[0]));
    r->_sorted = schema_zalloc((r->n_columns + 1) * sizeof(r->_sorted[0]));
    r->_names = schema_zalloc(r->text_len + 1);
    return r->_root != NULL && r->_children != NULL && r->_sorted != NULL && r->_names != NULL
               ? 0
               : -ENOMEM;
}

static int read_text(struct reader *in)
{
    struct rows *r = in->rows;
    struct json_value doc, fields;
    size_t len = r->text_len, offset = 0;
    int rc;

    if (len == 0 || r->text[len - 1] != '\n')
        return refuse(in, NULL, "the text of columns does not end in a line end");
    if (json_validate(r->text, len, &offset) != JSON_ERROR_NONE)
        return refuse(in, NULL, "the text of columns is not JSON");
    doc = json_value_at(r->text, len);
    if (doc.type != JSON_OBJECT)
        return refuse(in, NULL, "the text of columns is not an object");
    rc = read_head(in, doc, &fields);
    if (rc == 0)
        rc = schema_compile_any((struct span){r->text, len}, &r->schema, in->error, in->error_len);
    if (rc == 0)
        rc = allocate_columns(r);
    if (rc != 0)
        return rc;
    r->_root->field = &r->schema->root;
    r->_root->base = true;
    r->hash = crc32c(0, r->text, len);
    r->hash += r->hash == 0 ? 1 : 0;
    return read_record(in, fields, r->_root);
}

int rows_parse(struct span text, struct rows **out, char *error, size_t error_len)
{
    struct reader in = {.error = error, .error_len = error_len};
    int rc = -ENOMEM;

    ASSERT(out != NULL);
    if (text.len >= UINT32_MAX)
        return schema_error(error, error_len, -EINVAL, "the text of columns is below 4 GiB");
    in.rows = schema_zalloc(sizeof(*in.rows));
    if (in.rows == NULL)
        return schema_error(error, error_len, -ENOMEM, "out of memory");
    in.rows->text = schema_zalloc(text.len + JSON_PADDING_BYTES);
    if (in.rows->text != NULL) {
        if (text.len > 0)
            memcpy(in.rows->text, text.ptr, text.len);
        in.rows->text_len = text.len;
        rc = read_text(&in);
    }
    if (rc != 0) {
        rows_destroy(in.rows);
        return rc != -ENOMEM ? rc : schema_error(error, error_len, rc, "out of memory");
    }
    *out = in.rows;
    return 0;
}

int rows_start(const struct rows_start *start, struct rows **out)
{
    struct rows_head head = {.time_path = start->time_path, .columns_max = start->columns_max};
    struct schema_text text = {0};
    char *p;
    int rc;

    ASSERT(start->columns_max >= 5 && start->columns_max <= SCHEMA_FIELDS_MAX);
    rows_text_head(&text, &head);
    if (start->base != NULL) {
        struct span json = span_of(start->base->fields_json);

        rows_text_base(&text, json_value_at(json.ptr, json.len));
    } else {
        schema_text_adds(&text, "[]");
    }
    schema_text_adds(&text, "}\n");
    p = schema_text_finish(&text);
    if (p == NULL)
        return -ENOMEM;
    rc = rows_parse((struct span){p, text.len}, out, NULL, 0);
    free(p);
    return rc;
}
