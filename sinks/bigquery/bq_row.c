/*
 * COLD. Rows in the form that insertAll takes (gcp-contract: JSON columns as strings of JSON text,
 * NUMERIC as strings, integers past 2^53 as strings). What needs no change keeps its bytes. Lines
 * have been validated and checked against a schema; one that does not fit this schema any more is
 * copied as it is, and BigQuery judges it.
 */
#include "sinks/bigquery/bq_insert.h"

#define KEY_BYTES_MAX 1024 /* raw; BigQuery's names have at most 300 characters */
#define EXACT_DIGITS  15   /* an integer of so many is exact in a double */
#define RECORDS_OPEN  (SCHEMA_DEPTH_MAX + 1)

/* A row being written. */
struct rewrite {
    struct text *out;
    const char *from; /* everything in front of it is written */
};

static void record_rewrite(struct rewrite *w, const struct schema_field *record,
                           struct json_value object, unsigned depth);

/* Writes what was kept up to a value, and skips the value. */
static void keep_until(struct rewrite *w, struct json_value v)
{
    ASSERT_HOT(v.ptr >= w->from);
    text_add(w->out, (struct span){w->from, (size_t)(v.ptr - w->from)});
    w->from = v.ptr + v.len;
}

static bool is_long_number(const struct schema_field *f, struct json_value v)
{
    if (v.type != JSON_NUMBER)
        return false;
    if (f->type == COLUMN_NUMERIC || f->type == COLUMN_BIGNUMERIC)
        return true;
    return f->type == COLUMN_INTEGER && v.len > EXACT_DIGITS;
}

static void value_rewrite(struct rewrite *w, const struct schema_field *f, struct json_value v,
                          unsigned depth)
{
    ASSERT_HOT(f != NULL);
    if (v.type == JSON_NULL)
        return;
    if (f->type == COLUMN_RECORD) {
        if (v.type == JSON_OBJECT && depth < RECORDS_OPEN)
            record_rewrite(w, f, v, depth + 1);
        return;
    }
    if (f->type != COLUMN_JSON && !is_long_number(f, v))
        return;
    keep_until(w, v);
    text_adds(w->out, "\"");
    text_add_escaped(w->out, (struct span){v.ptr, v.len});
    text_adds(w->out, "\"");
}

static const struct schema_field *field_of(const struct schema_field *record,
                                           const struct json_member *m)
{
    char key[KEY_BYTES_MAX];

    ASSERT_HOT(record != NULL);
    if (!m->key_escaped)
        return schema_field_find(record, m->key);
    if (m->key.len > sizeof(key))
        return NULL;
    return schema_field_find(record, (struct span){key, json_unescape(m->key, key)});
}

static void record_rewrite(struct rewrite *w, const struct schema_field *record,
                           struct json_value object, unsigned depth)
{
    struct json_walk members, elements;
    struct json_member m;
    struct json_value v;

    ASSERT_HOT(object.type == JSON_OBJECT);
    json_walk_init(&members, object);
    while (json_walk_member(&members, &m)) {
        const struct schema_field *f = field_of(record, &m);

        if (f == NULL)
            continue;
        if (f->mode != COLUMN_REPEATED) {
            value_rewrite(w, f, m.value, depth);
        } else if (m.value.type == JSON_ARRAY) {
            json_walk_init(&elements, m.value);
            while (json_walk_element(&elements, &v))
                value_rewrite(w, f, v, depth);
        }
    }
}

static const char frame_head[] =
    "{\"kind\":\"bigquery#tableDataInsertAllRequest\",\"skipInvalidRows\":true,"
    "\"ignoreUnknownValues\":false,\"rows\":[";
static const char frame_tail[] = "]}";

void bq_insert_begin(struct text *body)
{
    ASSERT(body->len == 0);
    text_adds(body, frame_head);
}

void bq_insert_end(struct text *body)
{
    ASSERT(body->len > sizeof(frame_head) || text_failed(body));
    text_adds(body, frame_tail);
}

size_t bq_insert_frame_bytes(void)
{
    return sizeof(frame_head) + sizeof(frame_tail) - 2;
}

void bq_insert_add(struct text *body, bool first, struct span id, const struct schema *schema,
                   struct json_value row)
{
    struct rewrite w = {.out = body, .from = row.ptr};

    ASSERT(schema != NULL && id.len > 0 && id.len <= 128 && row.type == JSON_OBJECT);
    text_adds(body, first ? "{\"insertId\":\"" : ",{\"insertId\":\"");
    text_add(body, id);
    text_adds(body, "\",\"json\":");
    record_rewrite(&w, &schema->root, row, 1);
    text_add(body, (struct span){w.from, (size_t)(row.ptr + row.len - w.from)});
    text_adds(body, "}");
}
