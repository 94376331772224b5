// Role: see bq_schema.h.
#include "tools/localcloud/bq_schema.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/localcloud/http.h"
#include "tools/localcloud/util.h"

enum {
    DEPTH_MAX = 15,
    FIELDS_MAX = 10000,
    TOP_FIELDS_MAX = 1990, // SQLite takes 2,000 columns in a table
    NAME_BYTES_MAX = 300,
    CLUSTERING_MAX = 4,
    LABEL_BYTES_MAX = 63,
};

struct type_alias {
    const char *name;
    enum lc_type type;
};

static const struct type_alias aliases[] = {
    {"STRING", LC_STRING},         {"BYTES", LC_BYTES},       {"INTEGER", LC_INTEGER},
    {"INT64", LC_INTEGER},         {"FLOAT", LC_FLOAT},       {"FLOAT64", LC_FLOAT},
    {"BOOLEAN", LC_BOOLEAN},       {"BOOL", LC_BOOLEAN},      {"DATE", LC_DATE},
    {"TIMESTAMP", LC_TIMESTAMP},   {"TIME", LC_TIME},         {"DATETIME", LC_DATETIME},
    {"NUMERIC", LC_NUMERIC},       {"DECIMAL", LC_NUMERIC},   {"JSON", LC_JSON},
    {"GEOGRAPHY", LC_GEOGRAPHY},   {"INTERVAL", LC_INTERVAL}, {"RANGE", LC_RANGE},
    {"RECORD", LC_RECORD},         {"STRUCT", LC_RECORD},     {"BIGNUMERIC", LC_BIGNUMERIC},
    {"BIGDECIMAL", LC_BIGNUMERIC},
};

const char *lc_type_name(enum lc_type type)
{
    static const char *const names[LC_TYPE_COUNT] = {
        "STRING", "BYTES",  "INTEGER",  "FLOAT",     "BOOLEAN", "TIMESTAMP",
        "DATE",   "TIME",   "DATETIME", "GEOGRAPHY", "NUMERIC", "BIGNUMERIC",
        "JSON",   "RECORD", "INTERVAL", "RANGE"};
    assert(type < LC_TYPE_COUNT);
    return names[type];
}

const char *lc_mode_name(enum lc_mode mode)
{
    static const char *const names[] = {"NULLABLE", "REQUIRED", "REPEATED"};
    return names[mode];
}

static bool read_type(const char *text, enum lc_type *out)
{
    for (size_t i = 0; text && i < LC_ARRAY_LEN(aliases); i++)
        if (strcasecmp(text, aliases[i].name) == 0) {
            *out = aliases[i].type;
            return true;
        }
    return false;
}

static bool read_mode(const char *text, enum lc_mode *out)
{
    for (int m = LC_NULLABLE; m <= LC_REPEATED; m++)
        if (strcasecmp(text, lc_mode_name((enum lc_mode)m)) == 0) {
            *out = (enum lc_mode)m;
            return true;
        }
    return false;
}

// Only a RANGE has a rangeElementType, and it must.
static bool read_range(json_t *j, struct lc_field *f)
{
    const json_t *element = json_object_get(j, "rangeElementType");
    if (f->type != LC_RANGE)
        return !element || json_is_null(element);
    return read_type(lc_json_str(element, "type"), &f->range) &&
           (f->range == LC_DATE || f->range == LC_DATETIME || f->range == LC_TIMESTAMP);
}

static const char *field_name_error(const char *name)
{
    static const char *const reserved[] = {"_TABLE_",        "_FILE_",   "_PARTITION",
                                           "_ROW_TIMESTAMP", "__ROOT__", "_COLIDENTIFIER"};
    size_t n = strlen(name);
    if (n == 0 || n > NAME_BYTES_MAX)
        return "must have 1 to 300 characters";
    if (!isalpha((unsigned char)name[0]) && name[0] != '_')
        return "must start with a letter or underscore";
    for (const char *s = name; *s; s++)
        if (!isalnum((unsigned char)*s) && *s != '_')
            return "must contain only letters, numbers, and underscores";
    for (size_t i = 0; i < LC_ARRAY_LEN(reserved); i++)
        if (strncasecmp(name, reserved[i], strlen(reserved[i])) == 0)
            return "starts with a reserved prefix";
    return NULL;
}

static bool read_fields(json_t *list, struct lc_schema *out, int depth, size_t *total, char *err);

static bool read_field(json_t *j, struct lc_field *f, int depth, size_t *total, char *err)
{
    const char *name = lc_json_str(j, "name");
    const char *type = lc_json_str(j, "type");
    const char *mode = lc_json_str(j, "mode");
    const char *wrong = name ? field_name_error(name) : "is missing";
    if (wrong) {
        snprintf(err, LC_ERROR_BYTES, "Invalid field name \"%.300s\". The name %s.",
                 name ? name : "", wrong);
        return false;
    }
    if (!read_type(type, &f->type)) {
        snprintf(err, LC_ERROR_BYTES, "Field %.300s has the invalid or unsupported type %.80s.",
                 name, type ? type : "(none)");
        return false;
    }
    if (mode && *mode && !read_mode(mode, &f->mode)) {
        snprintf(err, LC_ERROR_BYTES, "Field %.300s has the invalid mode %.80s.", name, mode);
        return false;
    }
    if (lc_json_i64(j, "maxLength", &f->length_max) < 0 || f->length_max < 0) {
        snprintf(err, LC_ERROR_BYTES, "Field %.300s has an invalid maxLength.", name);
        return false;
    }
    if (!read_range(j, f)) {
        snprintf(err, LC_ERROR_BYTES, "Field %.300s: %s.", name,
                 f->type == LC_RANGE
                     ? "a RANGE needs a rangeElementType of DATE, DATETIME or TIMESTAMP"
                     : "only a RANGE has a rangeElementType");
        return false;
    }
    f->name = lc_strdup(name);
    json_object_set_new(j, "type", json_string(lc_type_name(f->type)));
    json_object_set_new(j, "mode", json_string(lc_mode_name(f->mode)));
    json_t *sub = json_object_get(j, "fields");
    if (f->type == LC_RECORD)
        return read_fields(sub, &f->sub, depth + 1, total, err);
    if (json_array_size(sub)) {
        snprintf(err, LC_ERROR_BYTES, "Field %.300s is not a RECORD but has fields.", name);
        return false;
    }
    json_object_del(j, "fields");
    return true;
}

static int compare_names(const void *a, const void *b)
{
    return strcasecmp(*(const char *const *)a, *(const char *const *)b);
}

static bool check_unique(const struct lc_schema *s, char *err)
{
    const char **names = lc_alloc(s->count * sizeof *names);
    bool ok = true;
    for (size_t i = 0; i < s->count; i++)
        names[i] = s->fields[i].name;
    qsort(names, s->count, sizeof *names, compare_names);
    for (size_t i = 1; i < s->count && ok; i++)
        if (strcasecmp(names[i - 1], names[i]) == 0) {
            snprintf(err, LC_ERROR_BYTES, "Field %.300s already exists in schema", names[i]);
            ok = false;
        }
    free(names);
    return ok;
}

static bool read_fields(json_t *list, struct lc_schema *out, int depth, size_t *total, char *err)
{
    size_t count = json_array_size(list);
    if (count == 0) {
        snprintf(err, LC_ERROR_BYTES,
                 depth > 1 ? "A RECORD field has no fields." : "Schema has no fields.");
        return false;
    }
    *total += count;
    if (depth > DEPTH_MAX || *total > FIELDS_MAX || (depth == 1 && count > TOP_FIELDS_MAX)) {
        snprintf(err, LC_ERROR_BYTES,
                 "The schema is too large: at most %d levels, %d fields, %d at the top.", DEPTH_MAX,
                 FIELDS_MAX, TOP_FIELDS_MAX);
        return false;
    }
    out->fields = lc_alloc(count * sizeof *out->fields);
    out->count = count;
    for (size_t i = 0; i < count; i++)
        if (!read_field(json_array_get(list, i), &out->fields[i], depth, total, err))
            return false;
    return check_unique(out, err);
}

bool lc_schema_read(json_t *schema, struct lc_schema *out, char err[LC_ERROR_BYTES])
{
    size_t total = 0;
    *out = (struct lc_schema){0};
    if (read_fields(json_object_get(schema, "fields"), out, 1, &total, err))
        return true;
    lc_schema_fini(out);
    return false;
}

void lc_schema_fini(struct lc_schema *s)
{
    for (size_t i = 0; i < s->count; i++) {
        free(s->fields[i].name);
        lc_schema_fini(&s->fields[i].sub);
    }
    free(s->fields);
    *s = (struct lc_schema){0};
}

const struct lc_field *lc_schema_find(const struct lc_schema *s, const char *name)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcasecmp(s->fields[i].name, name) == 0)
            return &s->fields[i];
    return NULL;
}

static bool check_same_field(const struct lc_field *old, const struct lc_field *next, char *err)
{
    if (!next) {
        snprintf(err, LC_ERROR_BYTES,
                 "Provided Schema does not match Table. Field %s is missing in new schema",
                 old->name);
        return false;
    }
    if (next->type != old->type) {
        snprintf(err, LC_ERROR_BYTES,
                 "Provided Schema does not match Table. Field %s has changed type from %s to %s",
                 old->name, lc_type_name(old->type), lc_type_name(next->type));
        return false;
    }
    if (next->mode != old->mode && !(old->mode == LC_REQUIRED && next->mode == LC_NULLABLE)) {
        snprintf(err, LC_ERROR_BYTES,
                 "Provided Schema does not match Table. Field %s has changed mode from %s to %s",
                 old->name, lc_mode_name(old->mode), lc_mode_name(next->mode));
        return false;
    }
    if (old->type == LC_RANGE && old->range != next->range) {
        snprintf(err, LC_ERROR_BYTES,
                 "Provided Schema does not match Table. Field %s has changed its range's elements",
                 old->name);
        return false;
    }
    return old->type != LC_RECORD || lc_schema_check_change(&old->sub, &next->sub, err);
}

bool lc_schema_check_change(const struct lc_schema *old, const struct lc_schema *next,
                            char err[LC_ERROR_BYTES])
{
    for (size_t i = 0; i < old->count; i++)
        if (!check_same_field(&old->fields[i], lc_schema_find(next, old->fields[i].name), err))
            return false;
    for (size_t i = 0; i < next->count; i++) {
        const struct lc_field *f = &next->fields[i];
        if (f->mode == LC_REQUIRED && !lc_schema_find(old, f->name)) {
            snprintf(err, LC_ERROR_BYTES,
                     "Provided Schema does not match Table. Cannot add required fields to an "
                     "existing schema. (field: %s)",
                     f->name);
            return false;
        }
    }
    return true;
}

static bool check_partitioning(const json_t *p, const struct lc_schema *s, char *err)
{
    const char *type = lc_json_str(p, "type");
    const char *name = lc_json_str(p, "field");
    if (!p || json_is_null(p))
        return true;
    int64_t expiration = 0;
    bool known = type && (!strcmp(type, "DAY") || !strcmp(type, "HOUR") || !strcmp(type, "MONTH") ||
                          !strcmp(type, "YEAR"));
    if (!known || lc_json_i64(p, "expirationMs", &expiration) < 0) {
        snprintf(err, LC_ERROR_BYTES,
                 "timePartitioning needs a type of DAY, HOUR, MONTH or YEAR and a numeric "
                 "expirationMs.");
        return false;
    }
    if (!name)
        return true;
    const struct lc_field *f = lc_schema_find(s, name);
    bool time = f && f->mode != LC_REPEATED &&
                (f->type == LC_DATE || f->type == LC_TIMESTAMP || f->type == LC_DATETIME);
    if (!f)
        snprintf(err, LC_ERROR_BYTES,
                 "The field specified for partitioning cannot be found in the schema: %.300s",
                 name);
    else if (!time)
        snprintf(err, LC_ERROR_BYTES,
                 "The field specified for partitioning must be a top-level DATE, TIMESTAMP or "
                 "DATETIME: %s",
                 name);
    else if (f->type == LC_DATE && !strcmp(type, "HOUR"))
        snprintf(err, LC_ERROR_BYTES, "A DATE column cannot be partitioned by HOUR: %s", name);
    else
        return true;
    return false;
}

static bool check_clustering(const json_t *clustering, const struct lc_schema *s, char *err)
{
    const json_t *list = json_object_get(clustering, "fields");
    size_t count = json_array_size(list);
    if (!clustering || json_is_null(clustering))
        return true;
    if (count == 0 || count > CLUSTERING_MAX) {
        snprintf(err, LC_ERROR_BYTES, "clustering needs 1 to %d fields.", CLUSTERING_MAX);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const char *name = json_string_value(json_array_get(list, i));
        const struct lc_field *f = name ? lc_schema_find(s, name) : NULL;
        bool scalar = f && f->mode != LC_REPEATED && f->type != LC_RECORD && f->type != LC_JSON &&
                      f->type != LC_FLOAT && f->type != LC_INTERVAL && f->type != LC_RANGE;
        if (!scalar) {
            snprintf(err, LC_ERROR_BYTES, "The field specified for clustering %s: %.300s",
                     f ? "is not a top-level, non-repeated, clusterable type"
                       : "cannot be found in the schema",
                     name ? name : "(none)");
            return false;
        }
    }
    return true;
}

static bool label_text(const char *s, bool may_be_empty)
{
    size_t n = strlen(s);
    for (const char *c = s; *c; c++) // letters beyond ASCII are allowed, upper case is not
        if (!islower((unsigned char)*c) && !isdigit((unsigned char)*c) && *c != '_' && *c != '-' &&
            !(*c & 0x80))
            return false;
    return n <= LABEL_BYTES_MAX && (n || may_be_empty);
}

bool lc_labels_check(const json_t *labels, char err[LC_ERROR_BYTES])
{
    const char *key;
    json_t *value;
    if (!labels || json_is_null(labels))
        return true;
    bool ok = json_is_object(labels) && json_object_size(labels) <= 64;
    json_object_foreach((json_t *)labels, key, value)
    {
        bool key_ok =
            label_text(key, false) && !isdigit((unsigned char)*key) && *key != '-' && *key != '_';
        const char *text = json_string_value(value);
        ok = ok && key_ok && (json_is_null(value) || (text && label_text(text, true)));
    }
    if (!ok)
        snprintf(err, LC_ERROR_BYTES,
                 "Invalid labels: at most 64; keys and values have up to 63 lower-case letters, "
                 "digits, _ and -; "
                 "keys start with a letter.");
    return ok;
}

bool lc_schema_check_table(const json_t *table, const struct lc_schema *s, char err[LC_ERROR_BYTES])
{
    return check_partitioning(json_object_get(table, "timePartitioning"), s, err) &&
           check_clustering(json_object_get(table, "clustering"), s, err) &&
           lc_labels_check(json_object_get(table, "labels"), err);
}
