/* COLD. types.list: reads its entries, loads the schemas, and checks what they say of each other.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/config_internal.h"
#include "control/nearest.h"
#include "control/values.h"

#define FILE_BYTES  4096
#define ERROR_BYTES 512

static const char key_list[] = "types.list";

/* One entry while it is read. */
struct entry {
    struct type_config *type;
    const char *schema_file;
    bool unknown_named; /* it has a key unknown_fields */
    uint32_t index;
    struct place at;
};

/* Names a key of an entry: "types.list[2].schema". */
#define ENTRY_KEY_BYTES 96
static const char *entry_key(const struct entry *e, const char *key, char *out)
{
    ASSERT(e != NULL);
    snprintf(out, ENTRY_KEY_BYTES, "%s[%" PRIu32 "]%s%.40s", key_list, e->index,
             key[0] != '\0' ? "." : "", key);
    return out;
}

static void entry_problem(struct loader *l, const struct entry *e, const char *key, struct place at,
                          const char *found, const char *allowed)
{
    char name[ENTRY_KEY_BYTES];

    ASSERT(allowed != NULL);
    problem_at(l, at, entry_key(e, key, name), "found \"%.200s\"; allowed: %s", found, allowed);
}

static void unknown_entry_key(struct loader *l, const struct entry *e, const char *key,
                              struct place at)
{
    uint32_t n;
    const struct type_knob *knobs = knobs_of_type(&n);
    const char *best = NULL;
    unsigned least = NEAREST_WORD_MAX;
    char name[ENTRY_KEY_BYTES];

    ASSERT(n > 0);
    for (uint32_t i = 0; i < n; i++) {
        unsigned d = nearest_distance(key, knobs[i].name);

        if (d < least && nearest_is_close(key, d)) {
            least = d;
            best = knobs[i].name;
        }
    }
    problem_at(l, at, entry_key(e, key, name), "unknown key%s%s%s",
               best != NULL ? "; did you mean \"" : "", best != NULL ? best : "",
               best != NULL ? "\"?" : "");
}

static void read_clustering(struct loader *l, struct entry *e, const yaml_node_t *node)
{
    ASSERT(node != NULL);
    if (node->type != YAML_SEQUENCE_NODE ||
        node->data.sequence.items.top - node->data.sequence.items.start > TYPE_CLUSTERING_MAX) {
        entry_problem(l, e, "clustering", config_place(node),
                      node->type == YAML_SEQUENCE_NODE ? "a longer list" : "no list",
                      "a list of up to 4 columns");
        return;
    }
    for (const int *i = node->data.sequence.items.start; i < node->data.sequence.items.top; i++) {
        const char *text = config_scalar(yaml_document_get_node(l->doc, *i));

        if (text == NULL || text[0] == '\0') {
            entry_problem(l, e, "clustering", config_place(node), "no text",
                          "a list of up to 4 columns");
            return;
        }
        e->type->clustering[e->type->n_clustering++] = config_keep(l->c, text, strlen(text));
    }
}

static bool table_name_valid(const char *name)
{
    size_t len = strlen(name);

    ASSERT(name != NULL);
    return len > 0 && len <= 300 &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == len;
}

#define DEDUPE_WINDOW_US ((uint64_t)3600 * 1000000) /* of a type that names none */
#define DEDUPE_IDS       1000000u
#define DEDUPE_IDS_MIN   1000u
#define DEDUPE_IDS_MAX   1000000000u
#define DEDUPE_US_MIN    ((uint64_t)1000000)
#define DEDUPE_US_MAX    ((uint64_t)7 * 86400 * 1000000)

/* One key of dedupe. */
static void assign_dedupe(struct loader *l, struct entry *e, const char *key, const char *text,
                          struct place at)
{
    uint64_t v = 0;

    ASSERT(text != NULL);
    if (strcmp(key, "field") == 0) {
        if (text[0] == '\0')
            entry_problem(l, e, "dedupe.field", at, text, "the path of the id");
        e->type->dedupe_field = config_keep(l->c, text, strlen(text));
    } else if (strcmp(key, "window") == 0) {
        if (value_duration(text, &v) != 0 || v < DEDUPE_US_MIN || v > DEDUPE_US_MAX)
            entry_problem(l, e, "dedupe.window", at, text, "a duration from 1s to 7d, such as 1h");
        e->type->dedupe_window_us = (int64_t)v;
    } else if (strcmp(key, "ids_max") == 0) {
        if (value_count(text, &v) != 0 || v < DEDUPE_IDS_MIN || v > DEDUPE_IDS_MAX)
            entry_problem(l, e, "dedupe.ids_max", at, text,
                          "a number from 1000 to 1000000000, such as 1000000");
        e->type->dedupe_ids_max = (uint32_t)v;
    } else {
        entry_problem(l, e, "dedupe", at, key, "field, window and ids_max");
    }
}

static bool key_repeats(struct loader *l, const yaml_node_t *node, const yaml_node_pair_t *upto)
{
    const char *key = config_scalar(yaml_document_get_node(l->doc, upto->key));

    ASSERT(node->type == YAML_MAPPING_NODE);
    for (const yaml_node_pair_t *p = node->data.mapping.pairs.start; key != NULL && p < upto; p++) {
        const char *earlier = config_scalar(yaml_document_get_node(l->doc, p->key));

        if (earlier != NULL && strcmp(earlier, key) == 0)
            return true;
    }
    return false;
}

static void read_dedupe(struct loader *l, struct entry *e, const yaml_node_t *node)
{
    ASSERT(node != NULL);
    if (node->type != YAML_MAPPING_NODE) {
        const char *text = config_scalar(node);

        entry_problem(l, e, "dedupe", config_place(node),
                      text != NULL ? text : config_node_kind(node),
                      "a map of field, window and ids_max");
        return;
    }
    e->type->dedupe_window_us = (int64_t)DEDUPE_WINDOW_US;
    e->type->dedupe_ids_max = DEDUPE_IDS;
    for (const yaml_node_pair_t *p = node->data.mapping.pairs.start;
         p < node->data.mapping.pairs.top; p++) {
        const yaml_node_t *at = yaml_document_get_node(l->doc, p->key);
        const char *key = config_scalar(at);
        const char *text = config_scalar(yaml_document_get_node(l->doc, p->value));

        if (key == NULL || text == NULL || key_repeats(l, node, p))
            entry_problem(l, e, "dedupe", config_place(at), key != NULL ? key : "no text",
                          "each of field, window and ids_max once, with a text");
        else
            assign_dedupe(l, e, key, text, config_place(at));
    }
    if (e->type->dedupe_field == NULL)
        entry_problem(l, e, "dedupe.field", config_place(node), "",
                      "the path of the id, such as order_id");
}

/* The choices of unknown_fields, in the order of enum unknown_fields. */
static void assign_unknown(struct loader *l, struct entry *e, const char *key, const char *text,
                           struct place at)
{
    static const char *const choices[] = {"overflow", "add_column", "dead_letter"};

    static_assert(UNKNOWN_ADD_COLUMN == 1 && UNKNOWN_DEAD_LETTER == 2, "order of choices");
    ASSERT(e->type->unknown == UNKNOWN_OVERFLOW);
    e->unknown_named = true;
    for (uint32_t i = 0; i < ARRAY_LEN(choices); i++) {
        if (strcmp(text, choices[i]) == 0) {
            e->type->unknown = (enum unknown_fields)i;
            return;
        }
    }
    entry_problem(l, e, key, at, text, "overflow|add_column|dead_letter");
}

static void assign_entry_text(struct loader *l, struct entry *e, const char *key, const char *text,
                              struct place at)
{
    const char *kept = config_keep(l->c, text, strlen(text));

    ASSERT(e->type != NULL);
    if (strcmp(key, "name") == 0) {
        if (kept[0] == '\0' || strlen(kept) > TYPE_NAME_BYTES_MAX)
            entry_problem(l, e, key, at, text, "text of 1 to 128 bytes");
        e->type->name = kept;
    } else if (strcmp(key, "table") == 0) {
        if (!table_name_valid(kept))
            entry_problem(l, e, key, at, text, "1 to 300 letters, digits and '_'");
        e->type->table = kept;
    } else if (strcmp(key, "time_field") == 0) {
        e->type->time_field = kept[0] != '\0' ? kept : NULL;
    } else if (strcmp(key, "schema") == 0) {
        e->type->infer = strcmp(kept, "infer") == 0;
        e->schema_file = e->type->infer ? NULL : kept;
    } else if (strcmp(key, "sampling") == 0) {
        uint64_t ppm = 0;

        if (value_fraction(text, &ppm) != 0)
            entry_problem(l, e, key, at, text,
                          "a number from 0 to 1 with at most 6 decimal places");
        e->type->sampling_ppm = (int32_t)ppm;
    } else if (strcmp(key, "description") == 0) {
        e->type->description = kept;
    } else if (strcmp(key, "method") == 0) {
        if (strcmp(text, "load") != 0 && strcmp(text, "insert_all") != 0)
            entry_problem(l, e, key, at, text, "load|insert_all");
        e->type->method = strcmp(text, "insert_all") == 0 ? TYPE_INSERT_ALL : TYPE_LOAD;
    } else {
        ASSERT(strcmp(key, "unknown_fields") == 0);
        assign_unknown(l, e, key, text, at);
    }
}

static bool entry_key_known(const char *key)
{
    uint32_t n;
    const struct type_knob *knobs = knobs_of_type(&n);

    ASSERT(key != NULL);
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(knobs[i].name, key) == 0)
            return true;
    }
    return false;
}

static void read_entry_pair(struct loader *l, struct entry *e, const yaml_node_t *key_node,
                            yaml_node_t *value)
{
    const char *key = config_scalar(key_node), *text = config_scalar(value);

    ASSERT(value != NULL);
    if (key == NULL)
        entry_problem(l, e, "", config_place(key_node), config_node_kind(key_node),
                      "a map of keys");
    else if (!entry_key_known(key))
        unknown_entry_key(l, e, key, config_place(key_node));
    else if (strcmp(key, "clustering") == 0)
        read_clustering(l, e, value);
    else if (strcmp(key, "dedupe") == 0)
        read_dedupe(l, e, value);
    else if (text == NULL)
        entry_problem(l, e, key, config_place(value), config_node_kind(value), "text");
    else
        assign_entry_text(l, e, key, text, config_place(value));
}

/* The path of a schema file, relative to the configuration's folder. */
static const char *schema_path(struct loader *l, const char *name)
{
    const char *slash = strrchr(l->source->file, '/');
    char path[FILE_BYTES];

    ASSERT(name != NULL);
    if (name[0] == '/' || slash == NULL)
        return name;
    snprintf(path, sizeof(path), "%.*s/%s", (int)(slash - l->source->file), l->source->file, name);
    return config_keep(l->c, path, strlen(path));
}

/* Place for the schemas of so many types. Without memory each type keeps its own. */
static void schemas_start(struct loader *l, uint32_t n_types)
{
    uint32_t slots = 16;

    ASSERT(l->schema == NULL);
    while (slots < 2 * n_types)
        slots *= 2;
    l->schema = calloc(slots, sizeof(struct schema *));
    l->schema_mask = slots - 1;
}

/* The same schema as another type has, if there is one, instead of this. */
static struct schema *schema_once(struct loader *l, struct schema *own)
{
    uint32_t at = own->hash & l->schema_mask;

    if (l->schema == NULL)
        return own;
    for (; l->schema[at] != NULL; at = (at + 1) & l->schema_mask) {
        if (schema_same(l->schema[at], own)) {
            schema_destroy(own);
            return schema_share(l->schema[at]);
        }
    }
    l->schema[at] = own;
    return own;
}

static void load_schema(struct loader *l, struct entry *e)
{
    struct schema *schema = NULL;
    char error[ERROR_BYTES] = "";
    char key[ENTRY_KEY_BYTES];

    ASSERT(e->schema_file != NULL);
    if (l->source->no_schemas)
        return;
    if (schema_load(schema_path(l, e->schema_file), &schema, error, sizeof(error)) != 0)
        problem_at(l, e->at, entry_key(e, "schema", key), "%s", error);
    e->type->schema = schema != NULL ? schema_once(l, schema) : NULL;
}

/* unknown_fields speaks of a schema file; where there is none, it would be silently without effect. */
static void check_unknown(struct loader *l, const struct entry *e)
{
    ASSERT(e->type != NULL);
    if (e->unknown_named && e->type->infer)
        entry_problem(l, e, "unknown_fields", e->at, "schema: infer beside it",
                      "unknown_fields with a schema file; inferred columns grow by themselves");
    else if (e->type->unknown == UNKNOWN_ADD_COLUMN && e->schema_file == NULL)
        entry_problem(l, e, "unknown_fields", e->at, "add_column",
                      "add_column with a schema file; without one: schema: infer");
}

static void read_entry(struct loader *l, struct entry *e, const yaml_node_t *node)
{
    ASSERT(e->type->name == NULL);
    if (node->type != YAML_MAPPING_NODE) {
        entry_problem(l, e, "", config_place(node), config_node_kind(node), "a map with a name");
        return;
    }
    for (const yaml_node_pair_t *p = node->data.mapping.pairs.start;
         p < node->data.mapping.pairs.top; p++) {
        yaml_node_t *key = yaml_document_get_node(l->doc, p->key);

        if (l->n_problems > CONFIG_PROBLEMS_MAX)
            return;
        if (key_repeats(l, node, p))
            entry_problem(l, e, config_scalar(key), config_place(key), "the key twice",
                          "each key once");
        else
            read_entry_pair(l, e, key, yaml_document_get_node(l->doc, p->value));
    }
    if (e->type->name == NULL)
        entry_problem(l, e, "name", e->at, "", "text of 1 to 128 bytes; every entry needs a name");
    check_unknown(l, e);
    if (e->schema_file != NULL)
        load_schema(l, e);
}

void config_read_types(struct loader *l, const yaml_node_t *node)
{
    size_t n = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    struct type_config *types;

    ASSERT(node->type == YAML_SEQUENCE_NODE);
    types = config_alloc(l->c, (n + 1) * sizeof(*types));
    l->type_line = config_alloc(l->c, (n + 1) * sizeof(*l->type_line));
    if (n > CONFIG_TYPES_MAX || types == NULL || l->type_line == NULL) {
        problem_value(l, config_place(node), knob_get(key_list), "a longer list");
        return;
    }
    l->c->types.type = types;
    schemas_start(l, (uint32_t)n);
    for (size_t i = 0; i < n && l->n_problems <= CONFIG_PROBLEMS_MAX; i++) {
        const yaml_node_t *item =
            yaml_document_get_node(l->doc, node->data.sequence.items.start[i]);
        struct entry e = {.type = &types[i], .index = (uint32_t)i, .at = config_place(item)};

        e.type->sampling_ppm = TYPE_SAMPLING_DEFAULT;
        l->type_line[i] = e.at.line;
        l->c->types.n_types = (uint32_t)i + 1;
        read_entry(l, &e, item);
    }
    free(l->schema);
    l->schema = NULL;
}

static void check_clustering(struct loader *l, const struct entry *e)
{
    for (uint32_t i = 0; i < e->type->n_clustering; i++) {
        const char *column = e->type->clustering[i];
        const struct schema_field *f = schema_find(e->type->schema, span_of(column));

        ASSERT(column != NULL);
        if (f == NULL)
            entry_problem(l, e, "clustering", e->at, column, "a top-level column of the schema");
        else if (!schema_may_cluster(f))
            entry_problem(l, e, "clustering", e->at, column,
                          "a column that is not REPEATED, RECORD, JSON, BYTES, FLOAT or TIME");
    }
}

/* The first key of a time field's path must be a column; deeper ones are the event's own business.
 */
static void check_time_field(struct loader *l, const struct entry *e)
{
    const char *path = e->type->time_field;
    const struct schema_field *f;
    size_t head;

    ASSERT(e->type->schema != NULL);
    if (path == NULL)
        return;
    head = strcspn(path, ".");
    f = schema_find(e->type->schema, (struct span){.ptr = path, .len = head});
    if (f == NULL)
        entry_problem(l, e, "time_field", e->at, path, "a field of the schema");
    else if (path[head] == '\0' && f->type != COLUMN_TIMESTAMP && f->type != COLUMN_DATETIME &&
             f->type != COLUMN_DATE && f->type != COLUMN_STRING && f->type != COLUMN_INTEGER &&
             f->type != COLUMN_FLOAT && f->type != COLUMN_NUMERIC)
        entry_problem(l, e, "time_field", e->at, path,
                      "a TIMESTAMP, DATETIME, DATE, STRING or number column");
}

/* The id must be found in the line as it is stored: what a schema does not name is moved away. */
static void check_dedupe(struct loader *l, const struct entry *e)
{
    static const char *const added[] = {COLUMN_EVENT_DATE, COLUMN_PROCESSED, COLUMN_ID,
                                        COLUMN_OVERFLOW};
    const char *path = e->type->dedupe_field;
    size_t head;

    ASSERT(e->type->name != NULL || l->n_problems > 0);
    if (path == NULL)
        return;
    head = strcspn(path, ".");
    for (size_t i = 0; i < ARRAY_LEN(added); i++) {
        if (strlen(added[i]) == head && strncmp(added[i], path, head) == 0)
            entry_problem(l, e, "dedupe.field", e->at, path, "a field of the events themselves");
    }
    if (e->type->schema != NULL && !type_has_rows(&l->c->types, e->type) &&
        schema_find(e->type->schema, (struct span){.ptr = path, .len = head}) == NULL)
        entry_problem(l, e, "dedupe.field", e->at, path, "a field of the schema");
}

static void check_path(struct loader *l, struct place at, const char *key, const char *path)
{
    struct json_paths paths = {0};

    ASSERT(key != NULL);
    if (path != NULL && json_paths_add(&paths, path) < 0)
        problem_at(l, at, key, "found \"%.200s\"; allowed: 1 to %d names separated by dots", path,
                   JSON_PATH_KEYS_MAX);
}

static int compare_types(const void *a, const void *b, void *ctx)
{
    const struct type_config *types = ctx;
    const char *x = types[*(const uint32_t *)a].name, *y = types[*(const uint32_t *)b].name;

    ASSERT(types != NULL);
    return strcmp(x != NULL ? x : "", y != NULL ? y : "");
}

/* No two entries may have one name: found by sorting, so that ten thousand types are no matter. The
 * order serves type_find(). */
static void check_unique(struct loader *l)
{
    struct type_set *set = &l->c->types;
    uint32_t *order = config_alloc(l->c, (set->n_types + 1) * sizeof(*order));

    if (order == NULL)
        return;
    for (uint32_t i = 0; i < set->n_types; i++)
        order[i] = i;
    qsort_r(order, set->n_types, sizeof(*order), compare_types, (void *)(uintptr_t)set->type);
    for (uint32_t i = 1; i < set->n_types; i++) {
        uint32_t a = order[i - 1], b = order[i], later = a > b ? a : b;

        ASSERT(a != b);
        if (set->type[a].name != NULL && compare_types(&a, &b, (void *)(uintptr_t)set->type) == 0)
            problem_at(l, (struct place){.line = l->type_line[later], .from = "file"}, key_list,
                       "\"%.128s\" twice; allowed: each name once", set->type[a].name);
    }
    if (l->n_problems == 0) /* then all have names */
        set->by_name = order;
}

/* Longest distinct paths that workers pick out of each event. */
static void check_path_count(struct loader *l)
{
    struct json_paths paths = {0};

    if (json_paths_add(&paths, l->c->type_field) < 0)
        return;
    ASSERT(paths.n == 1);
    for (uint32_t i = 0; i < l->c->types.n_types; i++) {
        const char *path = l->c->types.type[i].time_field;

        if (path != NULL && json_paths_add(&paths, path) == -ENOSPC) {
            problem_at(l, (struct place){.line = l->type_line[i], .from = "file"}, key_list,
                       "more than %d different time fields; allowed: fewer", JSON_PATHS_MAX - 2);
            return;
        }
    }
}

void config_check_types(struct loader *l)
{
    struct config *c = l->c;
    struct schema *json = NULL;

    for (uint32_t i = 0; i < c->types.n_types; i++) {
        struct entry e = {.type = (struct type_config *)(uintptr_t)&c->types.type[i],
                          .index = i,
                          .at = {.line = l->type_line[i], .from = "file"}};
        char key[ENTRY_KEY_BYTES];

        check_path(l, e.at, entry_key(&e, "time_field", key), e.type->time_field);
        check_path(l, e.at, entry_key(&e, "dedupe.field", key), e.type->dedupe_field);
        check_dedupe(l, &e);
        if (!c->bigquery_enabled)
            e.type->method = TYPE_LOAD; /* so that nothing waits for a sink that is off */
        if (e.type->schema != NULL) {
            check_clustering(l, &e);
            check_time_field(l, &e);
        }
    }
    check_path(l, config_where(l, "types.field"), "types.field", c->type_field);
    if (c->time_field[0] != '\0')
        check_path(l, config_where(l, "types.time_field"), "types.time_field", c->time_field);
    check_unique(l);
    check_path_count(l);
    ASSERT(c->types.json_schema == NULL);
    if (schema_for_json(&json) != 0)
        problem_at(l, (struct place){0}, key_list, "out of memory");
    c->types.json_schema = json;
    c->types.type_field = c->type_field;
    c->types.time_field = c->time_field[0] != '\0' ? c->time_field : NULL;
    static_assert(UNLISTED_INFER == 1 && UNLISTED_DEAD_LETTER == 2, "order of choices");
    c->types.unlisted = (enum unlisted_types)c->types_unlisted;
    c->types.insert_all = c->bigquery_enabled && c->bigquery_method == METHOD_INSERT_ALL;
    c->types.lateness_us = (int64_t)c->types_lateness;
}
