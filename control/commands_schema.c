/* COLD. `penstock schema show TYPE`: the columns of a type's table, as the daemon has them. */
#include <errno.h>
#include <inttypes.h>

#include "control/commands.h"
#include "control/tuning.h"
#include "dataplane/json/walk.h"
#include "sinks/delivery/rows_store.h"

#define ERROR_BYTES  1024
#define NAME_COLUMNS 44 /* characters of a name in the list */

/* Where a type's events go, and what its columns are. */
struct shown {
    const char *type;
    char table[TABLE_NAME_BYTES_MAX];
    const char *columns; /* "inferred", "schema" or "json" */
    uint32_t version;    /* of inferred ones, else 0 */
    struct json_value fields;
};

static struct span text_of(struct json_value field, const char *key)
{
    struct json_value v;

    ASSERT(field.type == JSON_OBJECT);
    return json_find(field, span_of(key), &v) && v.type == JSON_STRING
               ? json_string_body(v)
               : (struct span){.ptr = "", .len = 0};
}

/* One line for each column, those of RECORDs behind them. depth is bounded by the schema's. */
static void list_fields(struct json_value fields, uint32_t depth, struct textbuf *body)
{
    struct json_value field, below;
    struct json_walk w;

    ASSERT(fields.type == JSON_ARRAY && depth <= SCHEMA_DEPTH_MAX);
    json_walk_init(&w, fields);
    while (json_walk_element(&w, &field)) {
        struct span name = text_of(field, "name"), mode = text_of(field, "mode");
        struct span type = text_of(field, "type"), source = text_of(field, "source");
        size_t start = body->len;

        textbuf_add(body, "  %*s", (int)(2 * depth), "");
        textbuf_printable(body, name);
        while (body->len < start + NAME_COLUMNS && !body->failed)
            textbuf_bytes(body, " ", 1);
        textbuf_add(body, " %-10.*s %-9.*s", (int)type.len, type.ptr,
                    mode.len > 0 ? (int)mode.len : 8, mode.len > 0 ? mode.ptr : "NULLABLE");
        if (source.len > 0 && !span_equal(source, name)) {
            textbuf_add(body, " from \"");
            textbuf_printable(body, source);
            textbuf_add(body, "\"");
        }
        textbuf_add(body, "\n");
        if (json_find(field, span_of("fields"), &below) && below.type == JSON_ARRAY)
            list_fields(below, depth + 1, body);
    }
}

static int show(const struct shown *s, bool json, struct textbuf *body)
{
    ASSERT(s->fields.type == JSON_ARRAY);
    if (json) {
        textbuf_add(body, "{\"type\":");
        textbuf_json(body, span_of(s->type));
        textbuf_add(body, ",\"table\":");
        textbuf_json(body, span_of(s->table));
        textbuf_add(body, ",\"columns\":\"%s\",\"version\":%" PRIu32 ",\"fields\":", s->columns,
                    s->version);
        textbuf_bytes(body, s->fields.ptr, s->fields.len);
        textbuf_add(body, "}\n");
        return PROTOCOL_OK;
    }
    textbuf_add(body, "type ");
    textbuf_printable(body, span_of(s->type));
    textbuf_add(body, ", table %s, columns: %s", s->table, s->columns);
    if (s->version > 0)
        textbuf_add(body, ", version %" PRIu32, s->version);
    textbuf_add(body, "\n");
    list_fields(s->fields, 0, body);
    if (s->version > 0)
        textbuf_add(body, "and, if not listed: " COLUMN_EVENT_DATE ", " COLUMN_PROCESSED
                          ", " COLUMN_ID ", " COLUMN_OVERFLOW "\n");
    return PROTOCOL_OK;
}

static int show_inferred(struct daemon *d, struct shown *s, bool json, struct textbuf *body)
{
    char error[ERROR_BYTES] = "";
    struct rows_file f;
    int rc = rows_store_newest(d->place.columns_dir, s->table, &f, error, sizeof(error));
    bool there;

    ASSERT(rc <= 0);
    if (rc == -ENOENT) {
        textbuf_add(body,
                    "no columns yet: they are known when the first events of the type have been "
                    "gathered, at the latest after group.age_max\n");
        return PROTOCOL_ERROR;
    }
    if (rc != 0) {
        textbuf_add(body, "%s\n", error[0] != '\0' ? error : strerror(-rc));
        return PROTOCOL_ERROR;
    }
    there = json_find(json_value_at(f.rows->text, f.rows->text_len), span_of("fields"), &s->fields);
    ASSERT(there); /* it was parsed */
    s->version = f.number;
    s->columns = "inferred";
    rc = show(s, json, body);
    rows_destroy(f.rows);
    return rc;
}

int commands_schema(struct daemon *d, const struct cli_request *r, struct textbuf *body)
{
    const struct type_set *set = &d->config->types;
    char type[TYPE_NAME_BYTES_MAX + 1];
    struct shown s = {.type = type};
    const struct type_config *c;
    const struct schema *schema;

    ASSERT(r->n_args == 2);
    if (strcmp(r->arg[0], "show") != 0) {
        textbuf_add(body, "usage: schema show TYPE\n");
        return PROTOCOL_USAGE;
    }
    if (!tuning_decode_type(r->arg[1], strlen(r->arg[1]), type)) {
        textbuf_add(body, "\"%s\" is no event type: percent-encoded, 1 to 128 bytes\n", r->arg[1]);
        return PROTOCOL_USAGE;
    }
    c = type_find(set, span_of(type));
    type_table(set, span_of(type), s.table, sizeof(s.table));
    if (c == NULL && set->unlisted == UNLISTED_DEAD_LETTER) {
        textbuf_add(body, "\"%s\" is not in types.list: its events become dead letters\n", type);
        return PROTOCOL_ERROR;
    }
    if (type_has_rows(set, c))
        return show_inferred(d, &s, r->json, body);
    schema = c != NULL && c->schema != NULL ? c->schema : set->json_schema;
    s.columns = schema == set->json_schema ? "json" : "schema";
    s.fields = json_value_at(schema->fields_json, strlen(schema->fields_json));
    return show(&s, r->json, body);
}
