/*
 * COLD. Our schema against an existing table's: what fits, what a patch can add, what cannot be.
 * See schema.h.
 *
 * The patch is the table's own array, byte for byte, with the missing columns put before the
 * closing bracket of the arrays that lack them: BigQuery takes only the complete list of fields.
 */
#include <errno.h>
#include <stdlib.h>

#include "dataplane/event/schema_internal.h"

struct comparer {
    struct schema_text text;
    const char *copied; /* the table's array is in text up to here */
    bool added;
    char *error;
    size_t error_len;
};

/* One column of the table, and ours of the same name. */
struct have_field {
    struct span name;
    struct json_value value;
    const struct schema_field *want; /* NULL: the table's own */
    struct json_value want_json;
};

/* A RECORD of both sides at work. */
struct level {
    struct have_field *have;
    uint32_t n_have;
    struct json_value *missing; /* our columns that the table lacks, in our order */
    uint32_t n_missing;
};

static int no_memory(struct comparer *c)
{
    return schema_error(c->error, c->error_len, -ENOMEM, "out of memory");
}

static void list_have(struct json_value array, struct level *l)
{
    struct json_walk w;
    struct json_value v;

    if (l->n_have == 0)
        return;
    json_walk_init(&w, array);
    for (uint32_t i = 0; i < l->n_have && json_walk_element(&w, &v); i++) {
        l->have[i].value = v;
        l->have[i].name =
            v.type == JSON_OBJECT ? schema_property_text(v, "name") : (struct span){"", 0};
    }
}

/* Looks at `from` first: tables mostly have our order. */
static struct have_field *find_have(const struct level *l, uint32_t from, struct span name)
{
    for (uint32_t i = 0; i < l->n_have; i++) {
        struct have_field *f = &l->have[(from + i) % l->n_have];

        if (column_name_equal(f->name, name))
            return f;
    }
    return NULL;
}

/* Gives every column of ours its place on the table's side, or among the missing. */
static void match_fields(const struct schema_field *want, struct json_value want_json,
                         struct level *l)
{
    struct json_walk w;
    struct json_value v = {0};

    json_walk_init(&w, want_json);
    for (uint32_t i = 0; i < want->n_fields; i++) {
        const struct schema_field *f = &want->fields[i];
        struct have_field *have = find_have(l, i, (struct span){f->name, f->name_len});
        bool there = json_walk_element(&w, &v);

        ASSERT(there); /* fields_json has the order of the tree */
        if (have == NULL) {
            l->missing[l->n_missing++] = v;
            continue;
        }
        have->want = f;
        have->want_json = v;
    }
}

static void emit_column(struct schema_text *t, struct json_value field);

static void emit_columns(struct schema_text *t, struct json_value array)
{
    struct json_walk w;
    struct json_value v;
    bool first = true;

    schema_text_adds(t, "[");
    json_walk_init(&w, array);
    while (json_walk_element(&w, &v)) {
        if (!first)
            schema_text_adds(t, ",");
        first = false;
        emit_column(t, v);
    }
    schema_text_adds(t, "]");
}

/*
 * Writes a column that is to be added. A patch can add neither REQUIRED columns nor default values,
 * so all of it is NULLABLE or REPEATED and without defaults: that takes our rows too.
 */
static void emit_column(struct schema_text *t, struct json_value field)
{
    struct json_walk w;
    struct json_member m;
    bool first = true;

    schema_text_adds(t, "{");
    json_walk_init(&w, field);
    while (json_walk_member(&w, &m)) {
        if (span_equal(m.key, span_of("defaultValueExpression")))
            continue;
        schema_text_adds(t, first ? "\"" : ",\"");
        schema_text_add(t, m.key);
        schema_text_adds(t, "\":");
        first = false;
        if (span_equal(m.key, span_of("mode")) &&
            span_equal(json_string_body(m.value), span_of("REQUIRED")))
            schema_text_adds(t, "\"NULLABLE\"");
        else if (span_equal(m.key, span_of("fields")))
            emit_columns(t, m.value);
        else
            schema_text_add(t, (struct span){m.value.ptr, m.value.len});
    }
    schema_text_adds(t, "}");
}

static int differs(struct comparer *c, const struct schema_field *want, const char *what,
                   struct span have, const char *ours)
{
    return schema_error(c->error, c->error_len, -EEXIST, "%s: the table's %s is %.*s, ours is %s",
                        want->path, what, (int)(have.len < 100 ? have.len : 100), have.ptr, ours);
}

static int compare_mode(struct comparer *c, const struct schema_field *want, struct json_value have)
{
    struct span text = schema_property_text(have, "mode");
    int mode;

    if (text.len == 0)
        text = span_of("NULLABLE");
    mode = column_mode_from_name(text);
    if (mode == want->mode || (mode == COLUMN_NULLABLE && want->mode == COLUMN_REQUIRED))
        return 0;
    if (mode == COLUMN_REQUIRED && want->mode == COLUMN_NULLABLE &&
        want->added == COLUMN_ADDED_ALWAYS)
        return 0; /* every row of ours has a value */
    return differs(c, want, "mode", text, column_mode_name(want->mode));
}

/* Whether the table's limits take every value that ours allow. */
static int compare_limits(struct comparer *c, const struct schema_field *want,
                          struct json_value have)
{
    int64_t n, scale = 0;

    if (schema_property_int(have, "maxLength", &n) == 0 && n > 0 &&
        want->added == COLUMN_ADDED_NONE &&
        (want->max_length == 0 || want->max_length > (uint64_t)n))
        return schema_error(c->error, c->error_len, -EEXIST,
                            "%s: the table's maxLength is %lld, ours is %llu (0: none)", want->path,
                            (long long)n, (unsigned long long)want->max_length);
    if (schema_property_int(have, "precision", &n) != 0 || n <= 0)
        return 0;
    if (schema_property_int(have, "scale", &scale) != 0)
        scale = 0;
    if (want->precision == 0 || want->scale > scale || want->precision - want->scale > n - scale)
        return schema_error(
            c->error, c->error_len, -EEXIST,
            "%s: the table has (precision, scale) (%lld, %lld), ours is (%u, %u) (0: none)",
            want->path, (long long)n, (long long)scale, want->precision, want->scale);
    return 0;
}

static int compare_fields(struct comparer *c, const struct schema_field *want,
                          struct json_value want_json, struct json_value have);

static int compare_column(struct comparer *c, const struct schema_field *want,
                          struct json_value want_json, struct json_value have)
{
    struct span type = schema_property_text(have, "type");
    struct json_value want_fields, have_fields;
    bool there;
    int rc;

    if (column_type_from_name(type) != want->type)
        return differs(c, want, "type", type, column_type_name(want->type));
    if (want->type == COLUMN_RANGE && schema_range_element(have) != want->range)
        return schema_error(c->error, c->error_len, -EEXIST,
                            "%s: the table has a RANGE of other elements, ours are %s", want->path,
                            column_type_name(want->range));
    rc = compare_mode(c, want, have);
    if (rc == 0)
        rc = compare_limits(c, want, have);
    if (rc != 0 || want->type != COLUMN_RECORD)
        return rc;
    if (!schema_property(have, "fields", &have_fields) || have_fields.type != JSON_ARRAY)
        return schema_error(c->error, c->error_len, -EEXIST, "%s: the table's RECORD has no fields",
                            want->path);
    there = schema_property(want_json, "fields", &want_fields);
    ASSERT(there); /* ours was compiled */
    return compare_fields(c, want, want_fields, have_fields);
}

/* Refuses a REQUIRED column of the table that no row of ours would fill. */
static int check_unwanted(struct comparer *c, const struct schema_field *record,
                          const struct have_field *have)
{
    if (have->value.type != JSON_OBJECT ||
        column_mode_from_name(schema_property_text(have->value, "mode")) != COLUMN_REQUIRED)
        return 0;
    return schema_error(c->error, c->error_len, -EEXIST,
                        "%s%s%.*s: REQUIRED in the table, missing from our schema",
                        record->path != NULL ? record->path : "", record->path != NULL ? "." : "",
                        (int)(have->name.len < 100 ? have->name.len : 100), have->name.ptr);
}

/* Copies the table's array up to its closing bracket, then adds the missing columns. */
static void emit_missing(struct comparer *c, const struct level *l, struct json_value array)
{
    const char *close = array.ptr + array.len - 1;

    ASSERT(c->copied <= close && *close == ']');
    schema_text_add(&c->text, (struct span){c->copied, (size_t)(close - c->copied)});
    c->copied = close;
    for (uint32_t i = 0; i < l->n_missing; i++) {
        if (i > 0 || l->n_have > 0)
            schema_text_adds(&c->text, ",");
        emit_column(&c->text, l->missing[i]);
    }
    c->added = true;
}

static int compare_level(struct comparer *c, const struct schema_field *want, const struct level *l)
{
    int rc = 0;

    for (uint32_t i = 0; i < l->n_have && rc == 0;
         i++) { /* in the table's order: text grows along it */
        const struct have_field *f = &l->have[i];

        rc = f->want == NULL ? check_unwanted(c, want, f)
                             : compare_column(c, f->want, f->want_json, f->value);
    }
    return rc;
}

/* The recursion is bounded by our own depth. */
static int compare_fields(struct comparer *c, const struct schema_field *want,
                          struct json_value want_json, struct json_value have)
{
    struct level l = {.n_have = json_count(have)};
    int rc = -ENOMEM;

    ASSERT(want_json.type == JSON_ARRAY && have.type == JSON_ARRAY);
    l.have = schema_zalloc((l.n_have + 1) * sizeof(l.have[0]));
    l.missing = schema_zalloc((want->n_fields + 1) * sizeof(l.missing[0]));
    if (l.have == NULL || l.missing == NULL) {
        rc = no_memory(c);
        goto done;
    }
    list_have(have, &l);
    match_fields(want, want_json, &l);
    rc = compare_level(c, want, &l);
    if (rc == 0 && l.n_missing > 0)
        emit_missing(c, &l, have);
done:
    free(l.missing);
    free(l.have);
    return rc;
}

int schema_compare(const struct schema *want, struct json_value have_fields, char **patch,
                   char *error, size_t error_len)
{
    static const char no_fields[2 + JSON_PADDING_BYTES] = "[]";
    struct comparer c = {.error = error, .error_len = error_len};
    struct span json = span_of(want->fields_json);
    int rc;

    ASSERT(patch != NULL);
    *patch = NULL;
    if (have_fields.type == JSON_ABSENT ||
        have_fields.type == JSON_NULL) /* a table may have no columns */
        have_fields = json_value_at(no_fields, 2);
    if (have_fields.type != JSON_ARRAY)
        return schema_error(error, error_len, -EEXIST, "the table's fields are not an array");
    c.copied = have_fields.ptr;
    rc = compare_fields(&c, &want->root, json_value_at(json.ptr, json.len), have_fields);
    if (rc != 0 || !c.added) {
        free(c.text.ptr);
        return rc;
    }
    schema_text_add(
        &c.text, (struct span){c.copied, (size_t)(have_fields.ptr + have_fields.len - c.copied)});
    *patch = schema_text_finish(&c.text);
    return *patch != NULL ? 0 : no_memory(&c);
}
