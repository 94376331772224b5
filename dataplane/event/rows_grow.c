/*
 * COLD. The next version of a table's columns: the columns as a tree that can change, what a line
 * shows taken in, and the tree's text. Columns are only ever added at the end of their RECORD, so a
 * column's place, name and source are what they were in every later version.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "dataplane/event/rows_build_internal.h"
#include "dataplane/event/rows_internal.h"

#define TYPE_UNKNOWN 255 /* of a column that is just being added */
#define ARENA_BYTES  ((size_t)64 << 10)
#define NOT_ON_PATH  (-1)

/* Memory that is freed all at once. */
struct arena {
    struct arena *before;
    size_t used, room;
    char bytes[];
};

/* A column that can change. */
struct node {
    struct span source, name;
    uint8_t type; /* enum column_type, or TYPE_UNKNOWN */
    uint8_t mode;
    bool base, wide, added, fresh; /* fresh: not in the version that grows */
    uint32_t seen;                 /* number of the object that had it last */
    struct json_value json;        /* of a base column: its properties */
    const struct rows_column *from;
    struct node **child;
    uint32_t n, room;
};

struct builder {
    const struct rows *rows;
    struct arena *arena;
    struct json_paths time; /* one path, or none */
    const char *added;      /* members from here on are ours */
    uint32_t n_columns;
    uint32_t objects;
    bool changed, failed;
};

static void *take(struct builder *b, size_t len)
{
    size_t need = (size_t)align_up(len, 16);
    struct arena *a = b->arena;

    if (a == NULL || a->room - a->used < need) {
        size_t room = need > ARENA_BYTES ? need : ARENA_BYTES;

        a = schema_zalloc(sizeof(*a) + room);
        if (a == NULL) {
            b->failed = true;
            return NULL;
        }
        a->before = b->arena;
        a->room = room;
        b->arena = a;
    }
    a->used += need;
    return a->bytes + a->used - need;
}

static void arena_free(struct arena *a)
{
    while (a != NULL) {
        struct arena *before = a->before;

        free(a);
        a = before;
    }
}

static struct span copy_text(struct builder *b, struct span text)
{
    char *p = take(b, text.len + 1);

    if (p != NULL && text.len > 0)
        memcpy(p, text.ptr, text.len);
    return (struct span){p, p != NULL ? text.len : 0};
}

static struct node *add_child(struct builder *b, struct node *record)
{
    struct node *n = take(b, sizeof(*n));

    if (record->n == record->room) {
        uint32_t room = record->room == 0 ? 8 : record->room * 2;
        struct node **more = take(b, room * sizeof(more[0]));

        if (more == NULL)
            return NULL;
        if (record->n > 0)
            memcpy(more, record->child, record->n * sizeof(more[0]));
        record->child = more;
        record->room = room;
    }
    if (n != NULL)
        record->child[record->n++] = n;
    return n;
}

/* ---- From a version to nodes ---- */

static void load_children(struct builder *b, struct node *record, const struct schema_field *f,
                          struct json_value fields)
{
    struct json_walk w;
    struct json_value v, below;
    uint32_t at = 0;

    json_walk_init(&w, fields);
    for (uint32_t i = 0; i < f->n_fields && !b->failed && json_walk_element(&w, &v); i++) {
        const struct schema_field *have = &f->fields[i];
        struct node *n = add_child(b, record);

        if (n == NULL)
            return;
        n->name = (struct span){have->name, have->name_len};
        n->type = have->type;
        n->mode = have->mode;
        n->json = v;
        n->added = have->added != COLUMN_ADDED_NONE;
        n->base = n->added;
        if (n->added)
            continue;
        n->from = &record->from->child[at++];
        ASSERT(n->from->field == have);
        n->base = n->from->base;
        n->wide = n->from->wide;
        n->source = n->from->source;
        if (n->type == COLUMN_RECORD && schema_property(v, "fields", &below))
            load_children(b, n, have, below);
    }
}

/* The version's text has the columns of ours only where the configured schema named them; the schema
 * compiler adds the others behind all columns. */
static struct node *load(struct builder *b)
{
    const struct rows *r = b->rows;
    struct node *root = take(b, sizeof(*root));
    struct json_value fields;
    bool there;

    if (root == NULL)
        return NULL;
    root->type = COLUMN_RECORD;
    root->base = true;
    root->from = r->_root;
    there = schema_property(json_value_at(r->text, r->text_len), "fields", &fields);
    ASSERT(there); /* it was parsed */
    load_children(b, root, &r->schema->root, fields);
    b->n_columns = r->n_columns;
    return b->failed ? NULL : root;
}

/* ---- What a line shows ---- */

static bool is_locked(const struct builder *b, const struct node *n)
{
    return n->base || (b->rows->fixed_types && !n->fresh);
}

static uint32_t count_below(const struct node *n)
{
    uint32_t sum = n->n;

    for (uint32_t i = 0; i < n->n; i++)
        sum += count_below(n->child[i]);
    return sum;
}

/* Shapes that have nothing in common: JSON takes both. */
static void conflict(struct builder *b, struct node *n)
{
    if (n->type == COLUMN_JSON || is_locked(b, n))
        return;
    b->n_columns -= count_below(n);
    n->n = 0;
    n->type = COLUMN_JSON;
    n->mode = COLUMN_NULLABLE;
    b->changed = true;
}

static void retype(struct builder *b, struct node *n, uint8_t type)
{
    if (n->type == type || is_locked(b, n))
        return;
    n->type = type;
    b->changed = true;
}

static void take_number(struct builder *b, struct node *n, struct span text)
{
    enum rows_number kind = rows_number(text);
    bool in_double =
        kind == ROWS_NUMBER_FLOAT || (kind == ROWS_NUMBER_INTEGER && rows_integer_in_double(text));

    if (kind == ROWS_NUMBER_TEXT) {
        conflict(b, n);
    } else if (n->type == TYPE_UNKNOWN || n->type == COLUMN_INTEGER) {
        if (kind == ROWS_NUMBER_FLOAT && n->wide)
            conflict(b, n);
        else
            retype(b, n, kind == ROWS_NUMBER_FLOAT ? COLUMN_FLOAT : COLUMN_INTEGER);
        if (!in_double && n->type == COLUMN_INTEGER && !n->wide && !is_locked(b, n)) {
            n->wide = true;
            b->changed = true;
        }
    } else if (n->type != COLUMN_FLOAT || !in_double) {
        conflict(b, n);
    }
}

static void take_scalar(struct builder *b, struct node *n, struct json_value v, bool is_time)
{
    uint8_t type = COLUMN_BOOLEAN;

    if (v.type == JSON_NUMBER) {
        take_number(b, n, (struct span){v.ptr, v.len});
        return;
    }
    if (v.type == JSON_STRING)
        type = is_time && rows_is_time(v) ? COLUMN_TIMESTAMP : COLUMN_STRING;
    if (n->type == TYPE_UNKNOWN || (n->type == COLUMN_TIMESTAMP && type == COLUMN_STRING))
        retype(b, n, type);
    else if (n->type != type && !(n->type == COLUMN_STRING && type == COLUMN_TIMESTAMP))
        conflict(b, n);
}

static void take_object(struct builder *b, struct node *record, struct json_value object,
                        uint32_t depth, int time_at);

/* A value that is neither null nor an array, of a column at this depth or of one of its elements. */
static void take_one(struct builder *b, struct node *n, struct json_value v, uint32_t depth,
                     int time_at)
{
    if (v.type != JSON_OBJECT) {
        take_scalar(b, n, v, time_at >= 0 && time_at == b->time.path[0].n_keys);
        return;
    }
    if (n->type == TYPE_UNKNOWN && depth < SCHEMA_DEPTH_MAX)
        retype(b, n, COLUMN_RECORD);
    if (n->type == COLUMN_RECORD)
        take_object(b, n, v, depth + 1, time_at);
    else if (rows_shows(v, depth) > 0)
        conflict(b, n);
}

static void take_array(struct builder *b, struct node *n, struct json_value array, uint32_t depth)
{
    enum rows_elements kind = rows_elements(array);
    bool objects = kind == ROWS_ELEMENTS_OBJECT;
    struct json_walk w;
    struct json_value v;

    if (rows_shows(array, depth) == 0 && n->type != COLUMN_RECORD)
        return;
    if (n->type == TYPE_UNKNOWN)
        n->mode = COLUMN_REPEATED;
    if (kind == ROWS_ELEMENTS_NONE)
        return;
    if (n->mode != COLUMN_REPEATED || kind == ROWS_ELEMENTS_MIXED ||
        (n->type != TYPE_UNKNOWN && objects != (n->type == COLUMN_RECORD))) {
        if (rows_shows(array, depth) > 0)
            conflict(b, n);
        return;
    }
    json_walk_init(&w, array);
    while (json_walk_element(&w, &v))
        take_one(b, n, v, depth, NOT_ON_PATH);
}

static void take_value(struct builder *b, struct node *n, struct json_value v, uint32_t depth,
                       int time_at)
{
    if (v.type == JSON_NULL || n->type == COLUMN_JSON)
        return;
    if (v.type == JSON_ARRAY)
        take_array(b, n, v, depth);
    else if (n->mode != COLUMN_REPEATED)
        take_one(b, n, v, depth, time_at);
    else if (rows_shows(v, depth) > 0)
        conflict(b, n);
}

static struct node *find_child(const struct node *record, struct span source, uint32_t *next)
{
    uint32_t at = *next;

    if (at < record->n && !record->child[at]->added &&
        span_equal(record->child[at]->source, source)) {
        ++*next;
        return record->child[at];
    }
    if (record->from != NULL) {
        uint32_t hint = UINT32_MAX;
        const struct rows_column *c = rows_find(record->from, source, &hint);

        /* Added columns stand among the children, but not among the version's. */
        for (uint32_t i = c != NULL ? (uint32_t)(c - record->from->child) : record->n;
             i < record->n; i++) {
            if (record->child[i]->from == c) {
                *next = i + 1;
                return record->child[i];
            }
        }
    }
    for (uint32_t i = record->n; i > 0 && record->child[i - 1]->fresh; i--) {
        if (span_equal(record->child[i - 1]->source, source)) {
            *next = i;
            return record->child[i - 1];
        }
    }
    return NULL;
}

struct siblings {
    const struct node *record;
    bool top;
};

static bool is_taken(const void *context, struct span name)
{
    const struct siblings *s = context;

    if (s->top && schema_name_is_added(name))
        return true;
    for (uint32_t i = 0; i < s->record->n; i++) {
        if (column_name_equal(s->record->child[i]->name, name))
            return true;
    }
    return false;
}

/* Adds a column for a field that has none, when its value shows one and there is room. */
static struct node *add_column(struct builder *b, struct node *record, struct span source,
                               struct json_value v, uint32_t depth, int time_at)
{
    struct siblings siblings = {.record = record, .top = depth == 1};
    uint32_t need = rows_shows(v, depth);
    char name[ROWS_NAME_BYTES_MAX + 1];
    size_t len;
    struct node *n;

    if (need == 0 || b->n_columns + need > b->rows->columns_max)
        return NULL;
    len = rows_name_make(source, is_taken, &siblings, name);
    n = add_child(b, record);
    if (n == NULL)
        return NULL;
    n->type = TYPE_UNKNOWN;
    n->fresh = true;
    n->name = copy_text(b, (struct span){name, len});
    n->source = copy_text(b, source);
    b->n_columns++;
    take_value(b, n, v, depth, time_at);
    ASSERT(b->failed || (n->type != TYPE_UNKNOWN && (n->type != COLUMN_RECORD || n->n > 0)));
    b->changed = true;
    return n;
}

/* How far along the time's path a member of this name is. */
static int time_next(const struct builder *b, int time_at, struct span source)
{
    const struct json_path *p = &b->time.path[0];

    if (b->time.n == 0 || time_at < 0 || time_at >= p->n_keys ||
        !span_equal(source, (struct span){p->key[time_at], p->key_len[time_at]}))
        return NOT_ON_PATH;
    return time_at + 1;
}

static void take_object(struct builder *b, struct node *record, struct json_value object,
                        uint32_t depth, int time_at)
{
    char buf[ROWS_RAW_NAME_MAX];
    uint32_t number = ++b->objects, next = 0;
    struct json_walk w;
    struct json_member m;
    struct span source;

    ASSERT(depth <= SCHEMA_DEPTH_MAX);
    json_walk_init(&w, object);
    while (!b->failed && json_walk_member(&w, &m) && m.key.ptr < b->added) {
        struct node *n;

        if (!rows_source(&m, buf, &source))
            continue;
        n = find_child(record, source, &next);
        if (n != NULL && n->seen == number)
            continue; /* a repeated key shows nothing: its value goes to COLUMN_OVERFLOW */
        if (n != NULL)
            take_value(b, n, m.value, depth, time_next(b, time_at, source));
        else
            n = add_column(b, record, source, m.value, depth, time_next(b, time_at, source));
        if (n != NULL)
            n->seen = number;
    }
}

/* ---- From nodes to text ---- */

static void text_escaped(struct schema_text *t, struct span text)
{
    char buf[6 * 256];

    for (size_t i = 0; i < text.len; i += 256) {
        size_t n = text.len - i < 256 ? text.len - i : 256;

        schema_text_add(t, (struct span){buf, json_escape((struct span){text.ptr + i, n}, buf)});
    }
}

static void text_string(struct schema_text *t, struct span text)
{
    schema_text_adds(t, "\"");
    text_escaped(t, text);
    schema_text_adds(t, "\"");
}

void rows_text_head(struct schema_text *t, const struct rows_head *head)
{
    char buf[96];

    (void)snprintf(buf, sizeof(buf), "{\"format\":1,\"fixed_types\":%s,\"columns_max\":%u",
                   head->fixed_types ? "true" : "false", head->columns_max);
    schema_text_adds(t, buf);
    if (head->time_path != NULL) {
        schema_text_adds(t, ",\"time_path\":");
        text_string(t, span_of(head->time_path));
    }
    schema_text_adds(t, ",\"fields\":");
}

void rows_text_properties(struct schema_text *t, struct json_value field)
{
    struct json_walk w;
    struct json_member m;
    bool first = true;

    schema_text_adds(t, "{");
    json_walk_init(&w, field);
    while (json_walk_member(&w, &m)) {
        if (span_equal(m.key, span_of("fields")) || span_equal(m.key, span_of("base")))
            continue;
        schema_text_adds(t, first ? "\"" : ",\"");
        first = false;
        schema_text_add(t, m.key);
        schema_text_adds(t, "\":");
        schema_text_add(t, (struct span){m.value.ptr, m.value.len});
    }
    schema_text_adds(t, ",\"base\":true");
}

void rows_text_base(struct schema_text *t, struct json_value fields)
{
    struct json_walk w;
    struct json_value v, below;
    bool first = true;

    ASSERT(fields.type == JSON_ARRAY);
    schema_text_adds(t, "[");
    json_walk_init(&w, fields);
    while (json_walk_element(&w, &v)) {
        schema_text_adds(t, first ? "" : ",");
        first = false;
        rows_text_properties(t, v);
        if (schema_property(v, "fields", &below)) {
            schema_text_adds(t, ",\"fields\":");
            rows_text_base(t, below);
        }
        schema_text_adds(t, "}");
    }
    schema_text_adds(t, "]");
}

static void text_column(struct schema_text *t, const struct node *n)
{
    schema_text_adds(t, "{\"name\":");
    text_string(t, n->name);
    schema_text_adds(t, ",\"source\":");
    text_string(t, n->source);
    schema_text_adds(t, ",\"type\":\"");
    schema_text_adds(t, column_type_name(n->type));
    schema_text_adds(t, "\",\"mode\":\"");
    schema_text_adds(t, column_mode_name(n->mode));
    schema_text_adds(t, "\"");
    if (n->wide)
        schema_text_adds(t, ",\"wide\":true");
    if (!span_equal(n->name, n->source)) { /* at most 1,024 characters: BigQuery */
        schema_text_adds(t, ",\"description\":\"Source field: ");
        text_escaped(t, n->source);
        schema_text_adds(t, "\"");
    }
}

static void text_nodes(struct schema_text *t, const struct node *record)
{
    bool first = true;

    schema_text_adds(t, "[");
    for (uint32_t i = 0; i < record->n; i++) {
        const struct node *n = record->child[i];

        schema_text_adds(t, first ? "" : ",");
        first = false;
        if (n->base)
            rows_text_properties(t, n->json);
        else
            text_column(t, n);
        if (n->type == COLUMN_RECORD) {
            schema_text_adds(t, ",\"fields\":");
            text_nodes(t, n);
        }
        schema_text_adds(t, "}");
    }
    schema_text_adds(t, "]");
}

static int make_version(const struct builder *b, const struct node *root, bool fixed_types,
                        struct rows **out)
{
    struct rows_head head = {.time_path = b->rows->time_path,
                             .columns_max = b->rows->columns_max,
                             .fixed_types = fixed_types};
    struct schema_text text = {0};
    char error[256] = "";
    char *p;
    int rc;

    rows_text_head(&text, &head);
    text_nodes(&text, root);
    schema_text_adds(&text, "}\n");
    p = schema_text_finish(&text);
    if (p == NULL)
        return -ENOMEM;
    rc = rows_parse((struct span){p, text.len}, out, error, sizeof(error));
    ASSERT(rc == 0 || rc == -ENOMEM); /* what we write we can read */
    free(p);
    return rc;
}

int rows_fix(const struct rows *r, struct rows **out)
{
    struct builder b = {.rows = r};
    struct node *root = load(&b);
    int rc = root != NULL ? make_version(&b, root, true, out) : -ENOMEM;

    arena_free(b.arena);
    return rc;
}

int rows_grow(const struct rows *r, struct span line, uint16_t added, struct rows **out)
{
    struct builder b = {.rows = r};
    struct rows_line parts = rows_line_of(line, added);
    struct node *root;
    int rc = -ENOMEM;

    ASSERT(out != NULL);
    b.added = parts.added;
    if (r->time_path != NULL) {
        int first = json_paths_add(&b.time, r->time_path);

        ASSERT(first == 0); /* rows_parse() saw to it */
    }
    root = load(&b);
    if (root == NULL)
        goto done;
    take_object(&b, root, parts.object, 1, 0);
    if (!b.failed)
        rc = b.changed ? make_version(&b, root, r->fixed_types, out) : -EALREADY;
done:
    arena_free(b.arena);
    return rc;
}
