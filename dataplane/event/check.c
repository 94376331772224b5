/*
 * HOT. Walks an event beside its schema, once: each member finds its column, each column its
 * value's form. Members mostly come in the order of the columns, so the next column is tried first.
 * See check.h.
 *
 * Memory is bounded: the schema bounds the depth, and the bitmaps of the RECORDs that are open at
 * once belong to different RECORDs of the schema, whose columns together are at most
 * SCHEMA_FIELDS_MAX.
 */
#include "dataplane/event/check.h"

#include "dataplane/event/check_internal.h"
#include "dataplane/event/text_internal.h"

#define SEEN_WORDS     (SCHEMA_FIELDS_MAX / 64 + SCHEMA_DEPTH_MAX + 1)
#define NAME_RAW_MAX   1800 /* a column name of 300 characters, each written as \uXXXX */
#define INDEX_TEXT_MAX 12   /* "[4294967295]" */
#define NO_INDEX       UINT32_MAX

/* A RECORD that is open: for the names of cuts. */
struct frame {
    const struct schema_field *field;
    uint32_t index; /* of a REPEATED one, else NO_INDEX */
};

struct checker {
    const char *base;
    struct check_result *out;
    bool keep_unknown; /* no cuts but of our own columns' names */
    uint32_t n_frames;
    uint32_t seen_used;
    struct frame frame[SCHEMA_DEPTH_MAX];
    uint64_t seen[SEEN_WORDS];
};

static void result_reset(struct check_result *out)
{
    out->reason = REASON_NONE;
    out->error_offset = 0;
    out->detail[0] = '\0';
    out->n_cuts = 0;
    out->scratch_used = 0;
}

static size_t detail_add(struct check_result *out, size_t len, const char *text)
{
    while (*text != '\0' && len < CHECK_DETAIL_BYTES - 1)
        out->detail[len++] = *text++;
    out->detail[len] = '\0';
    return len;
}

/* Says where and why. @return false, for the caller to return. */
static COLD_PATH bool fail(struct checker *c, enum reason r, const char *at, const char *path,
                           const char *text)
{
    size_t len = 0;

    ASSERT(r > REASON_NONE && r < REASON_DEAD_END);
    c->out->reason = r;
    c->out->error_offset = (uint32_t)(at - c->base);
    c->out->n_cuts = 0;
    if (path != NULL) {
        len = detail_add(c->out, 0, path);
        len = detail_add(c->out, len, ": ");
    }
    detail_add(c->out, len, text);
    return false;
}

static const char *found_text(uint8_t type)
{
    static const char *const texts[] = {
        [JSON_ABSENT] = "found nothing",  [JSON_NULL] = "found null",
        [JSON_FALSE] = "found false",     [JSON_TRUE] = "found true",
        [JSON_NUMBER] = "found a number", [JSON_STRING] = "found a string",
        [JSON_ARRAY] = "found an array",  [JSON_OBJECT] = "found an object",
    };

    return texts[type];
}

/* "expected FLOAT, found a string" */
static COLD_PATH bool fail_type(struct checker *c, const struct schema_field *f, bool repeated,
                                struct json_value v)
{
    size_t len;

    fail(c, REASON_WRONG_TYPE, v.ptr, f->path, repeated ? "expected an array of " : "expected ");
    len = strlen(c->out->detail);
    len = detail_add(c->out, len, column_type_name(f->type));
    len = detail_add(c->out, len, ", ");
    detail_add(c->out, len, found_text(v.type));
    return false;
}

static COLD_PATH bool fail_value(struct checker *c, const struct schema_field *f,
                                 struct json_value v, const char *why)
{
    size_t len;

    fail(c, REASON_BAD_VALUE, v.ptr, f->path, column_type_name(f->type));
    len = strlen(c->out->detail);
    len = detail_add(c->out, len, ", ");
    detail_add(c->out, len, why);
    return false;
}

static size_t put_index(char *out, uint32_t index)
{
    char digits[10];
    size_t n = 0, len = 0;

    do {
        digits[n++] = (char)('0' + index % 10);
        index /= 10;
    } while (index > 0);
    out[len++] = '[';
    while (n > 0)
        out[len++] = digits[--n];
    out[len++] = ']';
    return len;
}

/* Writes the path of a nested member into scratch. @return false when there is no room. */
static COLD_PATH bool nested_name(struct checker *c, struct span key, struct span *name)
{
    char *start = c->out->scratch + c->out->scratch_used;
    size_t room = CHECK_SCRATCH_BYTES - c->out->scratch_used;
    size_t len = 0;

    for (uint32_t i = 0; i < c->n_frames; i++) {
        const struct frame *f = &c->frame[i];

        if (room - len < f->field->name_len + INDEX_TEXT_MAX + 1u)
            return false;
        memcpy(start + len, f->field->name, f->field->name_len);
        len += f->field->name_len;
        if (f->index != NO_INDEX)
            len += put_index(start + len, f->index);
        start[len++] = '.';
    }
    if (room - len < key.len)
        return false;
    memcpy(start + len, key.ptr, key.len);
    len += key.len;
    c->out->scratch_used += (uint32_t)len;
    *name = (struct span){start, len};
    return true;
}

static bool name_taken(const struct check_result *out, struct span name)
{
    for (uint32_t i = 0; i < out->n_cuts; i++) {
        if (out->cut[i].overflow && text_equal(out->cut[i].name, name))
            return true;
    }
    return false;
}

/* Lists a member that must leave. */
static bool add_cut(struct checker *c, const struct json_member *m, bool overflow)
{
    struct check_result *out = c->out;
    const char *at = m->key.ptr - 1;
    struct span name = m->key;
    struct event_cut *cut;

    ASSERT_HOT(*at == '"' && at >= c->base);
    if (out->n_cuts == CHECK_CUTS_MAX)
        return fail(c, REASON_TOO_MANY_UNKNOWN, at, NULL,
                    "more than 64 fields that the schema does not name");
    if (overflow) {
        if (c->n_frames > 0 && !nested_name(c, m->key, &name))
            return fail(c, REASON_TOO_MANY_UNKNOWN, at, NULL,
                        "names of unknown nested fields past 4 KiB");
        if (name_taken(out, name))
            return fail(c, REASON_DUPLICATE_KEY, at, NULL, "an unknown field appears twice");
        if (!check_json_numbers(m->value))
            return fail(c, REASON_BAD_VALUE, m->value.ptr, COLUMN_OVERFLOW,
                        "a number past the largest double");
    }
    cut = &out->cut[out->n_cuts++];
    cut->offset = (uint32_t)(at - c->base);
    cut->len = (uint32_t)(m->value.ptr + m->value.len - at);
    cut->value_offset = (uint32_t)(m->value.ptr - c->base);
    cut->overflow = overflow;
    cut->name = name;
    return true;
}

static COLD_PATH const struct schema_field *find_escaped(const struct schema_field *record,
                                                         struct span raw)
{
    char name[NAME_RAW_MAX];

    if (raw.len > sizeof(name))
        return NULL;
    return schema_field_find(record, (struct span){name, json_unescape(raw, name)});
}

/* The column of a key. *next is the one behind the last that was found. */
static const struct schema_field *find_column(const struct schema_field *record,
                                              const struct json_member *m, uint32_t *next)
{
    const struct schema_field *f;

    if (likely(!m->key_escaped)) {
        f = &record->fields[*next];
        if (likely(*next < record->n_fields && f->name_len == m->key.len &&
                   memcmp(f->name, m->key.ptr, m->key.len) == 0)) {
            ++*next;
            return f;
        }
        f = schema_field_find(record, m->key);
    } else {
        f = find_escaped(record, m->key);
    }
    if (f != NULL)
        *next = (uint32_t)(f - record->fields) + 1;
    return f;
}

static bool check_object(struct checker *c, const struct schema_field *record,
                         struct json_value object);

/* A value that is not null, of a column or of one element of it. */
static bool check_value(struct checker *c, const struct schema_field *f, struct json_value v,
                        uint32_t index)
{
    const char *why = "";
    enum reason r;
    bool fits;

    if (f->type != COLUMN_RECORD) {
        r = check_scalar(f, v, &why);
        if (likely(r == REASON_NONE))
            return true;
        return r == REASON_WRONG_TYPE ? fail_type(c, f, false, v) : fail_value(c, f, v, why);
    }
    if (v.type != JSON_OBJECT)
        return fail_type(c, f, false, v);
    ASSERT_HOT(c->n_frames < SCHEMA_DEPTH_MAX);
    c->frame[c->n_frames++] = (struct frame){f, index};
    fits = check_object(c, f, v);
    c->n_frames--;
    return fits;
}

static bool check_repeated(struct checker *c, const struct schema_field *f, struct json_value array)
{
    struct json_walk w;
    struct json_value v;

    if (array.type != JSON_ARRAY)
        return fail_type(c, f, true, array);
    json_walk_init(&w, array);
    for (uint32_t i = 0; json_walk_element(&w, &v); i++) {
        if (v.type == JSON_NULL)
            return fail(c, REASON_NULL_ELEMENT, v.ptr, f->path, "a null among the elements");
        if (!check_value(c, f, v, i))
            return false;
    }
    return true;
}

static COLD_PATH bool fail_missing(struct checker *c, const struct schema_field *record,
                                   const uint64_t *seen, struct json_value object)
{
    for (uint32_t i = 0; i < record->n_fields; i++) {
        const struct schema_field *f = &record->fields[i];

        if (f->mode == COLUMN_REQUIRED && f->added == COLUMN_ADDED_NONE &&
            (seen[i / 64] >> (i % 64) & 1) == 0)
            return fail(c, REASON_MISSING_FIELD, object.ptr, f->path, "REQUIRED, but not there");
    }
    ASSERT(false); /* the caller counted fewer than n_required */
    return false;
}

/* One member of a known column. */
static bool check_member(struct checker *c, const struct schema_field *f, struct json_value v)
{
    if (v.type == JSON_NULL) {
        if (f->mode == COLUMN_REQUIRED)
            return fail(c, REASON_MISSING_FIELD, v.ptr, f->path, "REQUIRED, but null");
        return true;
    }
    if (f->mode == COLUMN_REPEATED)
        return check_repeated(c, f, v);
    return check_value(c, f, v, NO_INDEX);
}

static bool check_members(struct checker *c, const struct schema_field *record,
                          struct json_value object, uint64_t *seen)
{
    struct json_walk w;
    struct json_member m;
    uint32_t next = 0, required = 0;

    json_walk_init(&w, object);
    while (json_walk_member(&w, &m)) {
        const struct schema_field *f = find_column(record, &m, &next);
        uint32_t i;

        if (unlikely(f == NULL || f->added != COLUMN_ADDED_NONE)) {
            bool unknown = f == NULL || f->added == COLUMN_ADDED_OVERFLOW;

            if (!(unknown && c->keep_unknown) && !add_cut(c, &m, unknown))
                return false;
            continue;
        }
        i = (uint32_t)(f - record->fields);
        if (unlikely(seen[i / 64] >> (i % 64) & 1))
            return fail(c, REASON_DUPLICATE_KEY, m.key.ptr - 1, f->path,
                        "appears twice in one object");
        seen[i / 64] |= UINT64_C(1) << (i % 64);
        required += f->mode == COLUMN_REQUIRED ? 1 : 0;
        if (unlikely(!check_member(c, f, m.value)))
            return false;
    }
    return likely(required == record->n_required) || fail_missing(c, record, seen, object);
}

static bool check_object(struct checker *c, const struct schema_field *record,
                         struct json_value object)
{
    uint64_t *seen = c->seen + c->seen_used;
    uint32_t words = (record->n_fields + 63) / 64;
    bool fits;

    ASSERT_HOT(object.type == JSON_OBJECT && c->seen_used + words <= SEEN_WORDS);
    c->seen_used += words;
    for (uint32_t i = 0; i < words; i++)
        seen[i] = 0;
    fits = check_members(c, record, object, seen);
    c->seen_used -= words;
    return fits;
}

static void checker_init(struct checker *c, struct json_value doc, struct check_result *out)
{
    c->base = doc.ptr;
    c->out = out;
    c->keep_unknown = false;
    c->n_frames = 0;
    c->seen_used = 0;
    result_reset(out);
}

static void check_schema(const struct schema *s, struct json_value doc, bool keep_unknown,
                         struct check_result *out)
{
    struct checker c; /* the bitmaps are cleared as RECORDs open */

    ASSERT_HOT(s != NULL && out != NULL);
    checker_init(&c, doc, out);
    c.keep_unknown = keep_unknown;
    if (unlikely(doc.type != JSON_OBJECT)) {
        fail(&c, REASON_NOT_OBJECT, doc.ptr, NULL, found_text(doc.type));
        return;
    }
    (void)check_object(&c, &s->root, doc); /* out holds the outcome */
}

void check_event(const struct schema *s, struct json_value doc, struct check_result *out)
{
    check_schema(s, doc, false, out);
}

void check_known(const struct schema *s, struct json_value doc, struct check_result *out)
{
    check_schema(s, doc, true, out);
}

static bool is_added(const struct json_member *m)
{
    static const struct span names[] = {
        {COLUMN_EVENT_DATE, sizeof(COLUMN_EVENT_DATE) - 1},
        {COLUMN_PROCESSED, sizeof(COLUMN_PROCESSED) - 1},
        {COLUMN_ID, sizeof(COLUMN_ID) - 1},
    };

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (json_key_equal(m->key, m->key_escaped, names[i]))
            return true;
    }
    return false;
}

static void cut_added(struct json_value doc, bool json_column, struct check_result *out)
{
    struct checker c;
    struct json_walk w;
    struct json_member m;

    ASSERT_HOT(out != NULL);
    checker_init(&c, doc, out);
    if (unlikely(doc.type != JSON_OBJECT)) {
        fail(&c, REASON_NOT_OBJECT, doc.ptr, NULL, found_text(doc.type));
        return;
    }
    if (json_column && !check_json_numbers(doc)) {
        fail(&c, REASON_BAD_VALUE, doc.ptr, COLUMN_EVENT, "a number past the largest double");
        return;
    }
    json_walk_init(&w, doc);
    while (json_walk_member(&w, &m)) {
        if (unlikely(is_added(&m)) && !add_cut(&c, &m, false))
            return;
    }
}

void check_added_only(struct json_value doc, struct check_result *out)
{
    cut_added(doc, true, out);
}

void check_names_only(struct json_value doc, struct check_result *out)
{
    cut_added(doc, false, out);
}
