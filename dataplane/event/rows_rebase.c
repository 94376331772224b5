/* COLD. A version beside another configuration: configured columns that come in front of learned ones. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/event/rows.h"
#include "dataplane/event/rows_build_internal.h"

/* The field of this name in an array, which may be absent. */
static bool find_field(struct json_value fields, struct span name, struct json_value *out)
{
    struct json_walk w;

    if (fields.type != JSON_ARRAY)
        return false;
    json_walk_init(&w, fields);
    while (json_walk_element(&w, out)) {
        if (column_name_equal(schema_property_text(*out, "name"), name))
            return true;
    }
    return false;
}

static void merge(struct schema_text *t, struct json_value base, struct json_value old);

/* A configured field; where both are RECORDs of one mode, with the learned columns in it. */
static void merge_field(struct schema_text *t, struct json_value field, struct json_value old)
{
    struct json_value fields, old_fields;

    rows_text_properties(t, field);
    if (schema_property(field, "fields", &fields)) {
        schema_text_adds(t, ",\"fields\":");
        if (old.type == JSON_OBJECT && schema_property(old, "fields", &old_fields) &&
            span_equal(schema_property_text(old, "mode"), schema_property_text(field, "mode")))
            merge(t, fields, old_fields);
        else
            rows_text_base(t, fields);
    }
    schema_text_adds(t, "}");
}

/* The depth is bounded by the schema's. */
static void merge(struct schema_text *t, struct json_value base, struct json_value old)
{
    struct json_value v, other;
    struct json_walk w;
    bool first = true;

    ASSERT(base.type == JSON_ARRAY && old.type == JSON_ARRAY);
    schema_text_adds(t, "[");
    json_walk_init(&w, base);
    while (json_walk_element(&w, &v)) {
        schema_text_adds(t, first ? "" : ",");
        first = false;
        if (!find_field(old, schema_property_text(v, "name"), &other))
            other = (struct json_value){.type = JSON_ABSENT};
        merge_field(t, v, other);
    }
    json_walk_init(&w, old);
    while (json_walk_element(&w, &v)) {
        if (find_field(base, schema_property_text(v, "name"), &other))
            continue;
        schema_text_adds(t, first ? "" : ",");
        first = false;
        schema_text_add(t, (struct span){v.ptr, v.len});
    }
    schema_text_adds(t, "]");
}

int rows_rebase(const struct rows *r, const struct rows_start *start, struct rows **out)
{
    struct rows_head head = {.time_path = start->time_path,
                             .columns_max = start->columns_max,
                             .fixed_types = r->fixed_types};
    struct json_value doc = json_value_at(r->text, r->text_len), old;
    struct schema_text text = {0};
    bool there = schema_property(doc, "fields", &old);
    char *p;
    int rc;

    ASSERT(there && start->columns_max >= 5);
    rows_text_head(&text, &head);
    if (start->base != NULL)
        merge(&text, json_value_at(start->base->fields_json, strlen(start->base->fields_json)),
              old);
    else
        schema_text_add(&text, (struct span){old.ptr, old.len});
    schema_text_adds(&text, "}\n");
    p = schema_text_finish(&text);
    if (p == NULL)
        return -ENOMEM;
    rc = span_equal((struct span){p, text.len}, (struct span){r->text, r->text_len})
             ? -EALREADY
             : rows_parse((struct span){p, text.len}, out, NULL, 0);
    free(p);
    return rc;
}
