/*
 * COLD. From schema text to the tree that check.c walks and to the canonical "fields" array:
 * compact, members in one order, legacy type names, mode always there, the columns of ours at the
 * end. See schema.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "dataplane/base/crc32c.h"
#include "dataplane/event/assemble.h"
#include "dataplane/event/program.h"
#include "dataplane/event/schema_internal.h"

#define NAME_BYTES_MAX 300 /* BigQuery */

struct compiler {
    struct schema *schema;
    struct schema_text text;
    uint32_t n_fields;
    bool with_overflow;
    bool may_be_empty;
    char *error;
    size_t error_len;
};

/* Columns of ours. */
static const struct added_column {
    const char *name;
    enum column_type type;
    enum column_added added;
    const char *description;
} added_columns[] = {
    {COLUMN_EVENT_DATE, COLUMN_DATE, COLUMN_ADDED_ALWAYS,
     "UTC day of the event's time, set by Penstock"},
    {COLUMN_PROCESSED, COLUMN_TIMESTAMP, COLUMN_ADDED_ALWAYS, "When Penstock took the event"},
    {COLUMN_ID, COLUMN_STRING, COLUMN_ADDED_ALWAYS,
     "Unique id of the event: Penstock's journal and position"},
    {COLUMN_OVERFLOW, COLUMN_JSON, COLUMN_ADDED_OVERFLOW,
     "Fields of the event that the schema does not name"},
};

/* Properties that are kept as they came, behind those that are understood. */
static const struct {
    const char *key;
    uint8_t type; /* enum json_type; JSON_ABSENT: any */
} kept_properties[] = {
    {"description", JSON_STRING},  {"defaultValueExpression", JSON_STRING},
    {"roundingMode", JSON_STRING}, {"collation", JSON_STRING},
    {"policyTags", JSON_OBJECT},   {"timestampPrecision", JSON_ABSENT},
};

static int no_memory(struct compiler *c)
{
    return schema_error(c->error, c->error_len, -ENOMEM, "out of memory");
}

static int bad_field(struct compiler *c, const struct schema_field *f, const char *what)
{
    return schema_error(c->error, c->error_len, -EINVAL, "%s: %s", f->path, what);
}

static bool has_prefix(struct span name, const char *prefix)
{
    size_t n = strlen(prefix);

    return name.len >= n && strncasecmp(name.ptr, prefix, n) == 0;
}

bool schema_name_is_reserved(struct span name)
{
    static const char *const reserved[] = {"_TABLE_",        "_FILE_",   "_PARTITION",
                                           "_ROW_TIMESTAMP", "__ROOT__", "_COLIDENTIFIER"};

    for (size_t i = 0; i < ARRAY_LEN(reserved); i++) {
        if (has_prefix(name, reserved[i]))
            return true;
    }
    return false;
}

bool schema_name_is_added(struct span name)
{
    for (size_t i = 0; i < ARRAY_LEN(added_columns); i++) {
        if (column_name_equal(name, span_of(added_columns[i].name)))
            return true;
    }
    return false;
}

/* What is wrong with a column name, or NULL. */
static const char *name_fault(struct span name)
{
    if (name.len > NAME_BYTES_MAX)
        return "a name has at most 300 characters";
    for (size_t i = 0; i < name.len; i++) {
        char ch = name.ptr[i];
        bool letter = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || ch == '_';

        if (!letter && !(i > 0 && ch >= '0' && ch <= '9'))
            return "a name has letters, digits and '_' and does not start with a digit";
    }
    return schema_name_is_reserved(name) ? "BigQuery reserves names with this prefix" : NULL;
}

/* Sets name and path. */
static int set_name(struct compiler *c, const char *parent, struct span name,
                    struct schema_field *f)
{
    size_t parent_len = parent != NULL ? strlen(parent) + 1 : 0;

    ASSERT(name.len > 0 && name.len <= NAME_BYTES_MAX);
    f->name = schema_zalloc(name.len + 1);
    f->path = schema_zalloc(parent_len + name.len + 1);
    if (f->name == NULL || f->path == NULL)
        return no_memory(c);
    memcpy(f->name, name.ptr, name.len);
    f->name_len = (uint16_t)name.len;
    if (parent_len > 0) {
        memcpy(f->path, parent, parent_len - 1);
        f->path[parent_len - 1] = '.';
    }
    memcpy(f->path + parent_len, name.ptr, name.len);
    return 0;
}

static int read_name(struct compiler *c, struct json_value v, const char *parent,
                     struct schema_field *f)
{
    struct span name = schema_property_text(v, "name");
    const char *fault;

    if (name.len == 0)
        return schema_error(c->error, c->error_len, -EINVAL, "%s: a field without a name",
                            parent != NULL ? parent : "schema");
    fault = name_fault(name);
    if (fault != NULL)
        return schema_error(c->error, c->error_len, -EINVAL, "%s%s%.*s: %s",
                            parent != NULL ? parent : "", parent != NULL ? "." : "",
                            (int)(name.len < 100 ? name.len : 100), name.ptr, fault);
    return set_name(c, parent, name, f);
}

static int read_type_and_mode(struct compiler *c, struct json_value v, struct schema_field *f)
{
    struct span type = schema_property_text(v, "type");
    struct json_value mode;
    int n;

    if (type.len == 0)
        return bad_field(c, f, "no type");
    n = column_type_from_name(type);
    if (n < 0)
        return schema_error(c->error, c->error_len, -EINVAL, "%s: unknown type %.*s", f->path,
                            (int)(type.len < 100 ? type.len : 100), type.ptr);
    f->type = (uint8_t)n;
    f->mode = COLUMN_NULLABLE;
    if (!schema_property(v, "mode", &mode))
        return 0;
    n = column_mode_from_name(schema_property_text(v, "mode"));
    if (n < 0)
        return bad_field(c, f, "mode is NULLABLE, REQUIRED or REPEATED");
    f->mode = (uint8_t)n;
    return 0;
}

int schema_range_element(struct json_value field)
{
    struct json_value element;
    int type = -1;

    if (schema_property(field, "rangeElementType", &element) && element.type == JSON_OBJECT)
        type = column_type_from_name(schema_property_text(element, "type"));
    return schema_may_range(type) ? type : -1;
}

static int read_precision(struct compiler *c, struct json_value v, struct schema_field *f)
{
    int64_t precision, scale = 0;
    int64_t scale_max = f->type == COLUMN_NUMERIC ? 9 : 38;
    int64_t whole_max = f->type == COLUMN_NUMERIC ? 29 : 38;
    int has_precision = schema_property_int(v, "precision", &precision);
    int has_scale = schema_property_int(v, "scale", &scale);

    if (has_precision == -ENOENT && has_scale == -ENOENT)
        return 0;
    if (f->type != COLUMN_NUMERIC && f->type != COLUMN_BIGNUMERIC)
        return bad_field(c, f, "only NUMERIC and BIGNUMERIC have precision and scale");
    if (has_precision != 0)
        return bad_field(c, f, "scale needs a precision, a whole number");
    if (has_scale == -EINVAL || scale < 0 || scale > scale_max)
        return bad_field(c, f, "scale is 0 to 9 for NUMERIC, 0 to 38 for BIGNUMERIC");
    if (precision < 1 || precision < scale || precision > scale + whole_max)
        return bad_field(
            c, f, "precision is at least 1 and scale, at most scale + 29 (BIGNUMERIC: + 38)");
    f->precision = (uint8_t)precision;
    f->scale = (uint8_t)scale;
    return 0;
}

static int read_limits(struct compiler *c, struct json_value v, struct schema_field *f)
{
    int64_t n;
    int rc = schema_property_int(v, "maxLength", &n);

    if (rc != -ENOENT) {
        if (f->type != COLUMN_STRING && f->type != COLUMN_BYTES)
            return bad_field(c, f, "only STRING and BYTES have a maxLength");
        if (rc != 0 || n < 1)
            return bad_field(c, f, "maxLength is a whole number above 0");
        f->max_length = (uint64_t)n;
    }
    return read_precision(c, v, f);
}

static int read_range(struct compiler *c, struct json_value v, struct schema_field *f)
{
    struct json_value element;
    int type = schema_range_element(v);

    if (f->type != COLUMN_RANGE)
        return schema_property(v, "rangeElementType", &element)
                   ? bad_field(c, f, "only a RANGE has a rangeElementType")
                   : 0;
    if (type < 0)
        return bad_field(
            c, f, "a RANGE needs a rangeElementType: {\"type\": \"DATE\"}, DATETIME or TIMESTAMP");
    f->range = (uint8_t)type;
    return 0;
}

/* Writes {"name":...,"type":...,"mode":... and the limits. */
static void emit_head(struct compiler *c, const struct schema_field *f)
{
    char buf[96];

    schema_text_adds(&c->text, "{\"name\":\"");
    schema_text_adds(&c->text, f->name);
    (void)snprintf(buf, sizeof(buf), "\",\"type\":\"%s\",\"mode\":\"%s\"",
                   column_type_name(f->type), column_mode_name(f->mode));
    schema_text_adds(&c->text, buf);
    if (f->type == COLUMN_RANGE) {
        (void)snprintf(buf, sizeof(buf), ",\"rangeElementType\":{\"type\":\"%s\"}",
                       column_type_name(f->range));
        schema_text_adds(&c->text, buf);
    }
    if (f->max_length > 0) {
        (void)snprintf(buf, sizeof(buf), ",\"maxLength\":\"%llu\"",
                       (unsigned long long)f->max_length);
        schema_text_adds(&c->text, buf);
    }
    if (f->precision > 0) {
        (void)snprintf(buf, sizeof(buf), ",\"precision\":\"%u\",\"scale\":\"%u\"", f->precision,
                       f->scale);
        schema_text_adds(&c->text, buf);
    }
}

static int emit_kept(struct compiler *c, const struct schema_field *f, struct json_value source)
{
    struct json_value v;

    for (size_t i = 0; i < ARRAY_LEN(kept_properties); i++) {
        if (!schema_property(source, kept_properties[i].key, &v))
            continue;
        if (kept_properties[i].type != JSON_ABSENT && v.type != kept_properties[i].type)
            return schema_error(c->error, c->error_len, -EINVAL, "%s: %s has the wrong JSON type",
                                f->path, kept_properties[i].key);
        schema_text_adds(&c->text, ",\"");
        schema_text_adds(&c->text, kept_properties[i].key);
        schema_text_adds(&c->text, "\":");
        schema_text_compact(&c->text, v);
    }
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcasecmp(*(const char *const *)a, *(const char *const *)b);
}

/* Refuses names that differ only in case. */
static int check_unique(struct compiler *c, const struct schema_field *record)
{
    const char **names = schema_zalloc((record->n_fields + 1) * sizeof(names[0]));
    int rc = 0;

    if (names == NULL)
        return no_memory(c);
    for (uint32_t i = 0; i < record->n_fields; i++)
        names[i] = record->fields[i].name;
    qsort(names, record->n_fields, sizeof(names[0]), compare_names);
    for (uint32_t i = 1; i < record->n_fields && rc == 0; i++) {
        if (strcasecmp(names[i - 1], names[i]) == 0)
            rc = schema_error(c->error, c->error_len, -EINVAL,
                              "%s%s%.100s: two columns of this name",
                              record->path != NULL ? record->path : "",
                              record->path != NULL ? "." : "", names[i]);
    }
    free(names);
    return rc;
}

static int parse_fields(struct compiler *c, struct json_value array, struct schema_field *record,
                        uint32_t depth);

/* Of a RECORD, its "fields"; nothing for other types. */
static int parse_children(struct compiler *c, struct json_value v, struct schema_field *f,
                          uint32_t depth)
{
    struct json_value fields;
    bool there = schema_property(v, "fields", &fields);
    int rc;

    if (there && fields.type != JSON_ARRAY)
        return bad_field(c, f, "fields is not an array");
    if (f->type != COLUMN_RECORD)
        return there && json_count(fields) > 0 ? bad_field(c, f, "only a RECORD has fields") : 0;
    if (!there || json_count(fields) == 0)
        return bad_field(c, f, "a RECORD needs fields");
    if (depth >= SCHEMA_DEPTH_MAX)
        return bad_field(c, f, "nested deeper than 15 levels");
    schema_text_adds(&c->text, ",\"fields\":[");
    rc = parse_fields(c, fields, f, depth + 1);
    schema_text_adds(&c->text, "]");
    return rc;
}

/* A column named as one of ours must be able to take what we write. */
static int check_added(struct compiler *c, struct schema_field *f)
{
    const struct added_column *a = NULL;

    for (size_t i = 0; i < ARRAY_LEN(added_columns); i++) {
        if (strcasecmp(f->name, added_columns[i].name) == 0)
            a = &added_columns[i];
    }
    if (a == NULL)
        return 0;
    if (strcmp(f->name, a->name) != 0)
        return schema_error(c->error, c->error_len, -EINVAL, "%s: Penstock's column is spelled %s",
                            f->path, a->name);
    if (f->type != a->type)
        return schema_error(c->error, c->error_len, -EINVAL,
                            "%s: Penstock writes this column as %s, not %s", f->path,
                            column_type_name(a->type), column_type_name(f->type));
    if (f->mode == COLUMN_REPEATED ||
        (f->mode == COLUMN_REQUIRED && a->added == COLUMN_ADDED_OVERFLOW))
        return bad_field(c, f, "Penstock needs this column to be NULLABLE");
    if (f->max_length > 0 && f->max_length < EVENT_ID_BYTES)
        return bad_field(c, f, "Penstock writes 49 characters: maxLength is too small");
    f->added = (uint8_t)a->added;
    return 0;
}

static int parse_field(struct compiler *c, struct json_value v, const struct schema_field *record,
                       struct schema_field *f, uint32_t depth)
{
    int rc;

    if (v.type != JSON_OBJECT)
        return schema_error(c->error, c->error_len, -EINVAL, "%s: a field that is not an object",
                            record->path != NULL ? record->path : "schema");
    if (++c->n_fields > SCHEMA_FIELDS_MAX)
        return schema_error(c->error, c->error_len, -EINVAL, "more than %d columns",
                            SCHEMA_FIELDS_MAX);
    rc = read_name(c, v, record->path, f);
    if (rc == 0)
        rc = read_type_and_mode(c, v, f);
    if (rc == 0)
        rc = read_limits(c, v, f);
    if (rc == 0)
        rc = read_range(c, v, f);
    if (rc == 0 && depth == 1)
        rc = check_added(c, f);
    if (rc != 0)
        return rc;
    emit_head(c, f);
    rc = emit_kept(c, f, v);
    if (rc == 0)
        rc = parse_children(c, v, f, depth);
    schema_text_adds(&c->text, "}");
    return rc;
}

/* Adds one of our columns unless the text had it. */
static int add_column(struct compiler *c, struct schema_field *root, const struct added_column *a)
{
    struct schema_field *f = &root->fields[root->n_fields];
    int rc;

    for (uint32_t i = 0; i < root->n_fields; i++) {
        if (strcmp(root->fields[i].name, a->name) == 0)
            return 0;
    }
    if (++c->n_fields > SCHEMA_FIELDS_MAX)
        return schema_error(c->error, c->error_len, -EINVAL, "more than %d columns",
                            SCHEMA_FIELDS_MAX);
    root->n_fields++;
    rc = set_name(c, NULL, span_of(a->name), f);
    if (rc != 0)
        return rc;
    f->type = (uint8_t)a->type;
    f->mode = COLUMN_NULLABLE;
    f->added = (uint8_t)a->added;
    if (root->n_fields > 1)
        schema_text_adds(&c->text, ",");
    emit_head(c, f);
    schema_text_adds(&c->text, ",\"description\":\"");
    schema_text_adds(&c->text, a->description);
    schema_text_adds(&c->text, "\"}");
    return 0;
}

static int add_columns(struct compiler *c, struct schema_field *root)
{
    int rc = 0;

    for (size_t i = 0; i < ARRAY_LEN(added_columns) && rc == 0; i++) {
        if (c->with_overflow || added_columns[i].added != COLUMN_ADDED_OVERFLOW)
            rc = add_column(c, root, &added_columns[i]);
    }
    return rc;
}

static int parse_fields(struct compiler *c, struct json_value array, struct schema_field *record,
                        uint32_t depth)
{
    uint32_t n = json_count(array);
    struct json_walk w;
    struct json_value v;
    int rc = 0;

    ASSERT(depth >= 1 && depth <= SCHEMA_DEPTH_MAX);
    if (n > SCHEMA_FIELDS_MAX)
        return schema_error(c->error, c->error_len, -EINVAL, "more than %d columns",
                            SCHEMA_FIELDS_MAX);
    record->fields = schema_zalloc((n + ARRAY_LEN(added_columns)) * sizeof(record->fields[0]));
    if (record->fields == NULL)
        return no_memory(c);
    json_walk_init(&w, array);
    while (rc == 0 && json_walk_element(&w, &v)) {
        if (record->n_fields > 0)
            schema_text_adds(&c->text, ",");
        rc = parse_field(c, v, record, &record->fields[record->n_fields++], depth);
    }
    if (rc == 0)
        rc = check_unique(c, record);
    if (rc == 0 && depth == 1)
        rc = add_columns(c, record);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < record->n_fields; i++) {
        const struct schema_field *f = &record->fields[i];

        record->n_required += f->mode == COLUMN_REQUIRED && f->added == COLUMN_ADDED_NONE ? 1 : 0;
    }
    return schema_index_fields(record) == 0 ? 0 : no_memory(c);
}

/* The array of fields in a valid document. */
static int find_fields(struct compiler *c, struct json_value doc, struct json_value *fields)
{
    *fields = doc;
    if (doc.type == JSON_OBJECT && !schema_property(doc, "fields", fields))
        return schema_error(c->error, c->error_len, -EINVAL, "the schema object has no \"fields\"");
    if (fields->type != JSON_ARRAY)
        return schema_error(c->error, c->error_len, -EINVAL, "a schema is an array of fields");
    if (json_count(*fields) == 0 && !c->may_be_empty)
        return schema_error(c->error, c->error_len, -EINVAL, "a schema needs at least one field");
    return 0;
}

/* text is followed by padding. */
static int compile_padded(struct compiler *c, struct span text)
{
    struct json_value fields;
    size_t offset = 0;
    enum json_error e = json_validate(text.ptr, text.len, &offset);
    int rc;

    if (e != JSON_ERROR_NONE)
        return schema_error(c->error, c->error_len, -EINVAL, "not JSON at byte %zu: %s", offset,
                            json_error_text(e));
    rc = find_fields(c, json_value_at(text.ptr, text.len), &fields);
    if (rc != 0)
        return rc;
    c->schema->root.type = COLUMN_RECORD;
    schema_text_adds(&c->text, "[");
    rc = parse_fields(c, fields, &c->schema->root, 1);
    schema_text_adds(&c->text, "]");
    if (rc != 0)
        return rc;
    c->schema->hash = c->text.failed ? 0 : crc32c(0, c->text.ptr, c->text.len);
    c->schema->fields_json = schema_text_finish(&c->text);
    if (c->schema->fields_json == NULL)
        return no_memory(c);
    return program_create(&c->schema->root, &c->schema->program) == 0 ? 0 : no_memory(c);
}

/* form: the compiler's flags and where its errors go. */
static int compile(struct span text, const struct compiler *form, struct schema **out)
{
    struct compiler c = *form;
    char *padded = schema_zalloc(text.len + JSON_PADDING_BYTES);
    int rc = -ENOMEM;

    c.schema = schema_zalloc(sizeof(*c.schema));
    if (padded == NULL || c.schema == NULL) {
        rc = no_memory(&c);
        goto done;
    }
    if (text.len > 0)
        memcpy(padded, text.ptr, text.len);
    rc = compile_padded(&c, (struct span){padded, text.len});
done:
    free(padded);
    if (rc != 0) {
        if (c.schema == NULL || c.schema->fields_json == NULL)
            free(c.text.ptr);
        schema_destroy(c.schema);
        return rc;
    }
    *out = c.schema;
    return 0;
}

int schema_compile(struct span text, struct schema **out, char *error, size_t error_len)
{
    struct compiler form = {.with_overflow = true, .error = error, .error_len = error_len};

    ASSERT(out != NULL);
    if (text.len >= UINT32_MAX)
        return schema_error(error, error_len, -EINVAL, "a schema is below 4 GiB");
    return compile(text, &form, out);
}

int schema_compile_any(struct span text, struct schema **out, char *error, size_t error_len)
{
    struct compiler form = {
        .with_overflow = true, .may_be_empty = true, .error = error, .error_len = error_len};

    ASSERT(out != NULL && text.len < UINT32_MAX);
    return compile(text, &form, out);
}

int schema_for_json(struct schema **out)
{
    static const char text[] =
        "[{\"name\":\"" COLUMN_EVENT "\",\"type\":\"JSON\",\"mode\":\"NULLABLE\","
        "\"description\":\"The event as it came\"}]";
    struct compiler form = {.with_overflow = false};

    ASSERT(out != NULL);
    return compile(span_of(text), &form, out);
}
