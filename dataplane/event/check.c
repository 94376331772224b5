/*
 * HOT in run_unknown() and the entries, COLD otherwise. What a check finds: reasons in words, and the
 * members that must leave; events without a schema. The walk itself is in program_run.c. See check.h.
 */
#include "dataplane/event/check.h"

#include "dataplane/event/check_internal.h"
#include "dataplane/event/program_run_internal.h"
#include "dataplane/event/text_internal.h"

#define INDEX_TEXT_MAX 12 /* "[4294967295]" */

void check_result_reset(struct check_result *out)
{
    check_result_clear(out);
    out->error_offset = 0;
    out->detail[0] = '\0';
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
static COLD_PATH bool fail(struct check_result *out, enum reason reason, size_t offset,
                           const char *path, const char *text)
{
    size_t len = 0;

    ASSERT(reason > REASON_NONE && reason < REASON_DEAD_END);
    out->reason = reason;
    out->error_offset = (uint32_t)offset;
    out->n_cuts = 0;
    if (path != NULL) {
        len = detail_add(out, 0, path);
        len = detail_add(out, len, ": ");
    }
    detail_add(out, len, text);
    return false;
}

bool run_fail(struct run *r, enum reason reason, const char *at, const char *path, const char *text)
{
    ASSERT(at >= r->base);
    return fail(r->result, reason, (size_t)(at - r->base), path, text);
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
bool run_fail_type(struct run *r, const struct schema_field *f, bool repeated, struct json_value v)
{
    size_t len;

    run_fail(r, REASON_WRONG_TYPE, v.ptr, f->path,
             repeated ? "expected an array of " : "expected ");
    len = strlen(r->result->detail);
    len = detail_add(r->result, len, column_type_name(f->type));
    len = detail_add(r->result, len, ", ");
    detail_add(r->result, len, found_text(v.type));
    return false;
}

bool run_fail_value(struct run *r, const struct schema_field *f, struct json_value v,
                    const char *why)
{
    size_t len;

    run_fail(r, REASON_BAD_VALUE, v.ptr, f->path, column_type_name(f->type));
    len = strlen(r->result->detail);
    len = detail_add(r->result, len, ", ");
    detail_add(r->result, len, why);
    return false;
}

bool run_fail_missing(struct run *r, const struct program_column *record, const uint64_t *seen,
                      const char *object)
{
    for (uint32_t i = 0; i < record->n; i++) {
        const struct program_column *col = &r->program->column[record->first + i];

        if (col->mode == COLUMN_REQUIRED && col->added == COLUMN_ADDED_NONE &&
            (seen[i / 64] >> (i % 64) & 1) == 0)
            return run_fail(r, REASON_MISSING_FIELD, object, col->field->path,
                            "REQUIRED, but not there");
    }
    ASSERT(false); /* the caller counted fewer than n_required */
    return false;
}

/* Writes the path of a nested member into scratch. @return false when there is no room. */
static COLD_PATH bool nested_name(struct run *r, struct span key, struct span *name)
{
    char *start = r->result->scratch + r->result->scratch_used;
    size_t max = (size_t)(r->end - r->base) + CHECK_NAMES_SPARE;
    size_t room = (max < CHECK_SCRATCH_BYTES ? max : CHECK_SCRATCH_BYTES) - r->result->scratch_used;
    size_t len = 0;

    ASSERT(r->result->scratch_used <= max && r->end > r->base);

    for (uint32_t i = 0; i < r->n_frames; i++) {
        const struct frame *f = &r->frame[i];

        if (room - len < f->field->name_len + INDEX_TEXT_MAX + 1u)
            return false;
        memcpy(start + len, f->field->name, f->field->name_len);
        len += f->field->name_len;
        if (f->index != NO_INDEX)
            len += text_index(start + len, f->index);
        start[len++] = '.';
    }
    if (room - len < key.len)
        return false;
    memcpy(start + len, key.ptr, key.len);
    len += key.len;
    r->result->scratch_used += (uint32_t)len;
    *name = (struct span){start, len};
    return true;
}

bool check_name_taken(const struct check_result *out, struct span name)
{
    for (uint32_t i = 0; i < out->n_cuts; i++) {
        if (out->cut[i].overflow && text_equal(out->cut[i].name, name))
            return true;
    }
    return false;
}

/* Adds a member to the list. */
static bool list_cut(struct check_result *out, const char *base, const struct json_member *m,
                     bool overflow, struct span name)
{
    const char *at = m->key.ptr - 1;
    struct event_cut *cut;

    ASSERT_HOT(*at == '"' && at >= base);
    if (out->n_cuts == CHECK_CUTS_MAX)
        return fail(out, REASON_TOO_MANY_UNKNOWN, (size_t)(at - base), NULL,
                    "more than 64 fields that the schema does not name");
    cut = &out->cut[out->n_cuts++];
    cut->offset = (uint32_t)(at - base);
    cut->len = (uint32_t)(m->value.ptr + m->value.len - at);
    cut->value_offset = (uint32_t)(m->value.ptr - base);
    cut->overflow = overflow;
    cut->name = name;
    return true;
}

bool run_unknown(struct run *r, const struct schema_field *f, const struct json_member *m)
{
    bool overflow = f == NULL || f->added == COLUMN_ADDED_OVERFLOW;
    struct check_result *out = r->result;
    const char *at = m->key.ptr - 1;
    struct span name = m->key;

    if (!overflow)
        return list_cut(out, r->base, m, false, name);
    if (r->keep_unknown)
        return true;
    if (out->n_cuts == CHECK_CUTS_MAX) /* before any other finding of this member */
        return list_cut(out, r->base, m, true, name);
    if (r->n_frames > 0 && !nested_name(r, m->key, &name))
        return run_fail(r, REASON_TOO_MANY_UNKNOWN, at, NULL,
                        "names of unknown nested fields are longer than the event, or past 4 KiB");
    if (check_name_taken(out, name))
        return run_fail(r, REASON_DUPLICATE_KEY, at, NULL, "an unknown field appears twice");
    if (r->far_numbers && !check_json_numbers(m->value))
        return run_fail(r, REASON_BAD_VALUE, m->value.ptr, COLUMN_OVERFLOW,
                        "a number past the largest double");
    return list_cut(out, r->base, m, true, name);
}

static void check_document(const struct schema *s, struct json_value doc, bool keep_unknown,
                           struct check_result *out)
{
    const struct json_event ev = {
        .ptr = doc.ptr, .len = doc.len, .type = doc.type, .flags = JSON_FAR_NUMBER};

    program_check(s, NULL, &ev, keep_unknown, out);
}

void check_event(const struct schema *s, struct json_value doc, struct check_result *out)
{
    check_document(s, doc, false, out);
}

void check_known(const struct schema *s, struct json_value doc, struct check_result *out)
{
    check_document(s, doc, true, out);
}

void check_not_object(uint8_t type, struct check_result *out)
{
    fail(out, REASON_NOT_OBJECT, 0, NULL, found_text(type));
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
    struct json_walk w;
    struct json_member m;

    ASSERT_HOT(out != NULL);
    check_result_reset(out);
    if (unlikely(doc.type != JSON_OBJECT)) {
        check_not_object(doc.type, out);
        return;
    }
    if (json_column && !check_json_numbers(doc)) {
        fail(out, REASON_BAD_VALUE, 0, COLUMN_EVENT, "a number past the largest double");
        return;
    }
    json_walk_init(&w, doc);
    while (json_walk_member(&w, &m)) {
        if (unlikely(is_added(&m)) && !list_cut(out, doc.ptr, &m, false, m.key))
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
