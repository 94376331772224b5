/* See trows_check.h. */
#include "trows_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/event/check.h"

#define PATH_MAX_BYTES 65536

struct judge {
    struct json_walk overflow; /* entries in order */
    bool has_overflow;
    const char *wrong;
    char path[PATH_MAX_BYTES];
};

static const char *fail(struct judge *j, const char *what)
{
    if (j->wrong == NULL)
        j->wrong = what;
    return j->wrong;
}

/* Whether a raw key equals another one, or is it with "#<number>" behind. */
static bool key_matches(struct span had, struct span row)
{
    char *a = malloc(had.len + 1), *b = malloc(row.len + 1);
    size_t n = json_unescape(had, a), m = json_unescape(row, b);
    bool same = m >= n && memcmp(a, b, n) == 0;

    if (same && m > n)
        same = b[n] == '#' && m - n <= 3 && strspn(b + n + 1, "0123456789") >= m - n - 1;
    free(a);
    free(b);
    return same;
}

static bool number_kept(struct json_value had, struct json_value row)
{
    if (row.type == JSON_STRING)
        return row.len == had.len + 2 && memcmp(row.ptr + 1, had.ptr, had.len) == 0;
    return row.type == JSON_NUMBER && row.len == had.len && memcmp(row.ptr, had.ptr, had.len) == 0;
}

static bool json_kept(struct json_value had, struct json_value row)
{
    struct json_walk a, b;
    struct json_member m, n;
    struct json_value x, y;

    if (had.type == JSON_NUMBER)
        return number_kept(had, row);
    if (had.type != row.type)
        return false;
    if (had.type == JSON_STRING)
        return had.len == row.len && memcmp(had.ptr, row.ptr, had.len) == 0;
    if (had.type != JSON_OBJECT && had.type != JSON_ARRAY)
        return true;
    json_walk_init(&a, had);
    json_walk_init(&b, row);
    if (had.type == JSON_ARRAY) {
        while (json_walk_element(&a, &x)) {
            if (!json_walk_element(&b, &y) || !json_kept(x, y))
                return false;
        }
        return !json_walk_element(&b, &y);
    }
    while (json_walk_member(&a, &m)) {
        if (!json_walk_member(&b, &n) || !key_matches(m.key, n.key) || !json_kept(m.value, n.value))
            return false;
    }
    return !json_walk_member(&b, &n);
}

static bool is_added(struct span key)
{
    return span_equal(key, span_of("event_date")) || span_equal(key, span_of("penstock_id")) ||
           span_equal(key, span_of("processed_timestamp"));
}

static bool is_ours(struct json_value column)
{
    struct json_value name;

    return json_find(column, span_of("name"), &name) &&
           (is_added(json_string_body(name)) ||
            span_equal(json_string_body(name), span_of("penstock_overflow")));
}

/* The column of a source in a "fields" array of the version's text. */
static bool find_column(struct json_value fields, const struct json_member *m, bool top,
                        struct json_value *column)
{
    char *key = malloc(m->key.len + 1);
    struct span source = {key, json_unescape(m->key, key)};
    struct json_walk w;
    struct json_value v, s;
    bool found = false;

    json_walk_init(&w, fields);
    while (!found && json_walk_element(&w, &v)) {
        if (!json_find(v, span_of("source"), &s) && !json_find(v, span_of("name"), &s))
            continue;
        found = json_key_equal(json_string_body(s), true, source) && !(top && is_ours(v));
        *column = v;
    }
    free(key);
    return found;
}

static bool has_text(struct json_value object, const char *key, const char *text)
{
    struct json_value v;

    return json_find(object, span_of(key), &v) && v.type == JSON_STRING &&
           span_equal(json_string_body(v), span_of(text));
}

static bool came_before(struct json_value object, const struct json_member *m)
{
    char *key = malloc(m->key.len + 1);
    struct span name = {key, json_unescape(m->key, key)};
    struct json_walk w;
    struct json_member other;
    bool before = false;

    json_walk_init(&w, object);
    while (!before && json_walk_member(&w, &other) && other.key.ptr < m->key.ptr)
        before = json_key_equal(other.key, true, name);
    free(key);
    return before;
}

static void judge_object(struct judge *j, struct json_value fields, struct json_value had,
                         struct json_value row, bool top);

/* The next entry of penstock_overflow must be this one. */
static void judge_aside(struct judge *j, const struct json_member *had)
{
    struct json_member m;
    size_t n = strlen(j->path);
    struct span path;

    if (!j->has_overflow || !json_walk_member(&j->overflow, &m)) {
        fail(j, "a value is neither in its column nor in penstock_overflow");
        return;
    }
    if (n + had->key.len >= PATH_MAX_BYTES)
        return;
    memcpy(j->path + n, had->key.ptr, had->key.len);
    path = (struct span){j->path, n + had->key.len};
    if (!key_matches(path, m.key))
        fail(j, "an entry of penstock_overflow is out of order or has a wrong path");
    if (!json_kept(had->value, m.value))
        fail(j, "an entry of penstock_overflow is not the event's value");
    j->path[n] = '\0';
}

/* Goes into a RECORD with the path of one more key, and index unless it is negative. */
static void judge_below(struct judge *j, struct json_value column, struct span key, long index,
                        struct json_value had, struct json_value row)
{
    size_t n = strlen(j->path);
    struct json_value fields;

    if (had.type != JSON_OBJECT || row.type != JSON_OBJECT ||
        !json_find(column, span_of("fields"), &fields)) {
        fail(j, "a RECORD is not an object on both sides");
        return;
    }
    if (n + key.len + 32 >= PATH_MAX_BYTES)
        return;
    memcpy(j->path + n, key.ptr, key.len);
    if (index >= 0)
        snprintf(j->path + n + key.len, 32, "[%ld].", index);
    else
        snprintf(j->path + n + key.len, 32, ".");
    judge_object(j, fields, had, row, false);
    j->path[n] = '\0';
}

static void judge_column(struct judge *j, struct json_value column, const struct json_member *had,
                         struct json_value row)
{
    struct json_walk a, b;
    struct json_value x, y;
    long i = 0;

    if (!has_text(column, "type", "RECORD")) {
        if (!json_kept(had->value, row))
            fail(j, "a column does not hold the event's value");
        return;
    }
    if (!has_text(column, "mode", "REPEATED")) {
        judge_below(j, column, had->key, -1, had->value, row);
        return;
    }
    if (had->value.type != JSON_ARRAY || row.type != JSON_ARRAY ||
        json_count(had->value) != json_count(row)) {
        fail(j, "a REPEATED RECORD is not an array of the same length");
        return;
    }
    json_walk_init(&a, had->value);
    json_walk_init(&b, row);
    while (json_walk_element(&a, &x) && json_walk_element(&b, &y))
        judge_below(j, column, had->key, i++, x, y);
}

static void judge_object(struct judge *j, struct json_value fields, struct json_value had,
                         struct json_value row, bool top)
{
    uint32_t used = 0, there = 0;
    struct json_walk w;
    struct json_member m;

    json_walk_init(&w, had);
    while (json_walk_member(&w, &m)) {
        struct json_value column, name, value;

        if (m.value.type == JSON_NULL)
            continue;
        if (find_column(fields, &m, top, &column) && !came_before(had, &m) &&
            json_find(column, span_of("name"), &name) &&
            json_find(row, json_string_body(name), &value)) {
            used++;
            judge_column(j, column, &m, value);
        } else {
            judge_aside(j, &m);
        }
    }
    json_walk_init(&w, row);
    while (json_walk_member(&w, &m))
        there +=
            top && (is_added(m.key) || span_equal(m.key, span_of("penstock_overflow"))) ? 0 : 1;
    if (there != used)
        fail(j, "the row has a column that the event does not fill");
}

static bool keys_differ(struct json_value v)
{
    struct json_walk w;
    struct json_member m;
    struct json_value x;

    if (v.type == JSON_OBJECT) {
        json_walk_init(&w, v);
        while (json_walk_member(&w, &m)) {
            if (came_before(v, &m) || !keys_differ(m.value))
                return false;
        }
    } else if (v.type == JSON_ARRAY) {
        json_walk_init(&w, v);
        while (json_walk_element(&w, &x)) {
            if (!keys_differ(x))
                return false;
        }
    }
    return true;
}

static bool is_base(struct json_value fields, struct span name)
{
    struct json_walk w;
    struct json_value v, n, base;

    json_walk_init(&w, fields);
    while (json_walk_element(&w, &v)) {
        if (json_find(v, span_of("name"), &n) && span_equal(json_string_body(n), name))
            return json_find(v, span_of("base"), &base) && base.type == JSON_TRUE;
    }
    return false;
}

/* The event as one text under the empty key, beside configured columns only. */
static const char *judge_whole(struct span event, struct json_value text, struct json_value row,
                               struct json_value fields)
{
    char *plain = malloc(text.len + 1);
    size_t n = json_unescape(json_string_body(text), plain);
    bool same = n == event.len && memcmp(plain, event.ptr, n) == 0;
    struct json_walk w;
    struct json_member m;

    free(plain);
    json_walk_init(&w, row);
    while (json_walk_member(&w, &m))
        same = same && (is_added(m.key) || span_equal(m.key, span_of("penstock_overflow")) ||
                        is_base(fields, m.key));
    return same ? NULL : "the event's text is not all of it, or not alone";
}

const char *trows_check(const struct rows *r, struct span event, struct span row)
{
    static _Thread_local struct judge j;
    struct json_value fields, overflow, whole, v;
    char *copy = malloc(row.len + JSON_PADDING_BYTES);
    size_t offset;

    j.wrong = NULL;
    j.path[0] = '\0';
    memcpy(copy, row.ptr, row.len);
    memset(copy + row.len, 0xA5, JSON_PADDING_BYTES);
    v = json_value_at(copy, row.len);
    if (json_validate(copy, row.len, &offset) != JSON_ERROR_NONE || row.ptr[row.len - 1] != '\n') {
        fail(&j, "not one line of JSON");
    } else if (!keys_differ(v)) {
        fail(&j, "a key repeats");
    } else if (json_find(json_value_at(r->text, r->text_len), span_of("fields"), &fields)) {
        j.has_overflow = json_find(v, span_of("penstock_overflow"), &overflow);
        if (j.has_overflow)
            json_walk_init(&j.overflow, overflow);
        if (j.has_overflow && json_find(overflow, span_of(""), &whole) &&
            whole.type == JSON_STRING && overflow.len == whole.len + 5 && whole.len > event.len) {
            fail(&j, judge_whole(event, whole, v, fields));
        } else {
            struct json_member more;

            judge_object(&j, fields, json_value_at(event.ptr, event.len), v, true);
            if (j.has_overflow && (json_walk_member(&j.overflow, &more)))
                fail(&j, "penstock_overflow holds more than the event");
        }
    }
    free(copy);
    return j.wrong != NULL ? j.wrong : trows_loads(r->schema, row);
}

const char *trows_loads(const struct schema *s, struct span row)
{
    static _Thread_local struct check_result result;

    check_event(s, json_value_at(row.ptr, row.len), &result);
    if (result.reason != REASON_NONE)
        return result.detail;
    for (uint32_t i = 0; i < result.n_cuts; i++) {
        if (!is_added(result.cut[i].name) &&
            !span_equal(result.cut[i].name, span_of("penstock_overflow")))
            return "the row names a column that the schema lacks";
    }
    return NULL;
}

static const char *kept(struct json_value old, struct json_value new)
{
    struct json_walk w, u;
    struct json_value o, n, a, b, below_old, below_new;

    json_walk_init(&w, old);
    while (json_walk_element(&w, &o)) {
        bool found = false;

        json_walk_init(&u, new);
        while (!found && json_walk_element(&u, &n))
            found = json_find(o, span_of("name"), &a) && json_find(n, span_of("name"), &b) &&
                    span_equal(json_string_body(a), json_string_body(b));
        if (!found)
            return "a column is gone";
        if (json_find(o, span_of("source"), &a) &&
            (!json_find(n, span_of("source"), &b) ||
             !span_equal(json_string_body(a), json_string_body(b))))
            return "a column has another source";
        if (json_find(o, span_of("fields"), &below_old) &&
            json_find(n, span_of("fields"), &below_new) && kept(below_old, below_new) != NULL)
            return "a nested column is gone or has another source";
    }
    return NULL;
}

const char *trows_kept(const struct rows *old, const struct rows *new)
{
    struct json_value a, b;

    if (!json_find(json_value_at(old->text, old->text_len), span_of("fields"), &a) ||
        !json_find(json_value_at(new->text, new->text_len), span_of("fields"), &b))
        return "no fields";
    return kept(a, b);
}
