/*
 * Peer: yyjson, line by line, its memory taken once. Not in place, which would change the events; it keeps a
 * copy of what it parses. Fields, and rows by a hand-written encoder.
 */
#include <stdlib.h>
#include <yyjson.h>

#include "perf/json_peer.h"
#include "perf/json_row_put.h"

#define EVENT_MAX (64 * 1024)

struct state {
    enum json_corpus corpus;
    yyjson_alc alc;
    void *memory;
    uint8_t row[ROW_BYTES_MAX];
};

struct fields {
    const char *type, *outer, *inner, *time;
    size_t type_len, outer_len, inner_len, time_len;
};

static const struct fields fields[] = {
#define X(symbol, name, t, o, i, at) \
    {t, o, i, at, sizeof(t) - 1, sizeof(o) - 1, sizeof(i) - 1, sizeof(at) - 1},
    JSON_CORPORA(X)
#undef X
};

static void *create(enum json_corpus corpus, size_t buffer_max)
{
    struct state *s = calloc(1, sizeof(*s));
    size_t size = yyjson_read_max_memory_usage(EVENT_MAX, 0);

    (void)buffer_max;
    if (s == NULL)
        return NULL;
    s->corpus = corpus;
    s->memory = malloc(size);
    if (s->memory == NULL || !yyjson_alc_pool_init(&s->alc, s->memory, size)) {
        free(s->memory);
        free(s);
        return NULL;
    }
    return s;
}

static void *create_rows(enum json_corpus corpus, size_t buffer_max)
{
    return corpus == JSON_CORPUS_COMMERCE ? create(corpus, buffer_max) : NULL;
}

static void destroy(void *state)
{
    struct state *s = state;

    free(s->memory);
    free(s);
}

static void take_rest(yyjson_val *root, const struct fields *f, struct json_found *found)
{
    yyjson_val *outer = yyjson_obj_getn(root, f->outer, f->outer_len);

    found->bytes += yyjson_get_len(yyjson_obj_getn(outer, f->inner, f->inner_len));
    found->bytes += yyjson_get_len(yyjson_obj_getn(root, f->time, f->time_len));
}

static void take_mixed(yyjson_val *root, struct json_found *found)
{
    yyjson_val *type = yyjson_obj_get(root, "event_type");

    if (type != NULL) {
        take_rest(root, &fields[JSON_CORPUS_COMMERCE], found);
    } else {
        type = yyjson_obj_get(root, "type");
        take_rest(root,
                  &fields[yyjson_equals_str(type, JSON_MIXED_ORDER) ? JSON_CORPUS_KIBANA
                                                                    : JSON_CORPUS_GITHUB],
                  found);
    }
    found->bytes += yyjson_get_len(type);
}

static void take_event(const struct state *s, yyjson_val *root, struct json_found *found)
{
    found->events++;
    if (s->corpus == JSON_CORPUS_MIXED) {
        take_mixed(root, found);
        return;
    }
    found->bytes +=
        yyjson_get_len(yyjson_obj_getn(root, fields[s->corpus].type, fields[s->corpus].type_len));
    take_rest(root, &fields[s->corpus], found);
}

static bool run(void *state, const char *buf, size_t len, struct json_found *found)
{
    struct state *s = state;
    const char *end = buf + len;

    for (const char *p = buf, *stop; p < end; p = stop + 1) {
        yyjson_doc *doc;

        stop = json_line_end(p, end);
        doc = yyjson_read_opts((char *)(uintptr_t)p, (size_t)(stop - p), 0, &s->alc, NULL);
        if (doc == NULL)
            return false;
        take_event(s, yyjson_doc_get_root(doc), found);
        yyjson_doc_free(doc);
    }
    return true;
}

static uint8_t *put_string(uint8_t *out, int field, yyjson_val *v)
{
    return row_bytes(out, field, yyjson_get_str(v), yyjson_get_len(v));
}

static uint8_t *put_items(uint8_t *out, yyjson_val *items)
{
    size_t i, n;
    yyjson_val *item;

    yyjson_arr_foreach(items, i, n, item)
    {
        uint8_t *start = row_open(out, 8), *at = start;
        size_t k, members;
        yyjson_val *key, *v;

        yyjson_obj_foreach(item, k, members, key, v)
        {
            if (yyjson_equals_str(key, "product_id"))
                at = put_string(at, 1, v);
            else if (yyjson_equals_str(key, "product_name"))
                at = put_string(at, 2, v);
            else if (yyjson_equals_str(key, "quantity"))
                at = row_int(at, 3, yyjson_get_sint(v));
            else
                at = row_double(at, 4, yyjson_get_num(v));
        }
        out = row_close(start, at);
    }
    return out;
}

static uint8_t *put_strings(uint8_t *out, int field, yyjson_val *record, const char *const *names)
{
    uint8_t *start = row_open(out, field), *at = start;
    size_t k, members;
    yyjson_val *key, *v;

    yyjson_obj_foreach(record, k, members, key, v)
    {
        int i = 0;

        while (names[i + 1] != NULL && !yyjson_equals_str(key, names[i]))
            i++;
        at = put_string(at, i + 1, v);
    }
    return row_close(start, at);
}

static uint8_t *put_member(uint8_t *out, yyjson_val *key, yyjson_val *v)
{
    static const char *const address[] = {"name", "street", "city", "postal_code", "country", NULL};
    static const char *const metadata[] = {"session_id", "platform", NULL};

    switch (yyjson_get_len(key)) {
    case 4:
        return yyjson_is_null(v) ? out : row_int(out, 11, yyjson_get_bool(v));
    case 5:
        return put_items(out, v);
    case 6:
        if (yyjson_equals_str(key, "status"))
            return put_string(out, 5, v);
        return yyjson_is_null(v) ? out : put_string(out, 12, v);
    case 8:
        if (yyjson_equals_str(key, "order_id"))
            return put_string(out, 2, v);
        return yyjson_equals_str(key, "currency") ? put_string(out, 6, v)
                                                  : put_strings(out, 10, v, metadata);
    case 10:
        if (yyjson_equals_str(key, "event_type"))
            return put_string(out, 1, v);
        int64_t us = 0;
        return row_time(yyjson_get_str(v), yyjson_get_len(v), &us) ? row_int(out, 4, us) : out;
    case 11:
        return row_int(out, 3, yyjson_get_sint(v));
    case 12:
        return row_double(out, 7, yyjson_get_num(v));
    case 16:
        return put_strings(out, 9, v, address);
    default:
        return out;
    }
}

static bool run_rows(void *state, const char *buf, size_t len, struct json_found *found)
{
    struct state *s = state;
    const char *end = buf + len;

    for (const char *p = buf, *stop; p < end; p = stop + 1) {
        uint8_t *out = s->row;
        size_t k, members;
        yyjson_val *key, *v;
        yyjson_doc *doc;

        stop = json_line_end(p, end);
        doc = yyjson_read_opts((char *)(uintptr_t)p, (size_t)(stop - p), 0, &s->alc, NULL);
        if (doc == NULL)
            return false;
        yyjson_obj_foreach(yyjson_doc_get_root(doc), k, members, key, v)
        {
            out = put_member(out, key, v);
        }
        yyjson_doc_free(doc);
        row_found(found, s->row, out);
    }
    return true;
}

#define STRING_(x) #x
#define STRING(x)  STRING_(x)
#define NAME(what)                                                                      \
    "yyjson " STRING(YYJSON_VERSION_MAJOR) "." STRING(YYJSON_VERSION_MINOR) "." STRING( \
        YYJSON_VERSION_PATCH) ", " what

__attribute__((visibility("default"))) const struct json_subject json_subjects[] = {
    {NAME("line by line"), "native", PEER_COMPILER, JSON_JOB_FIELDS, true, false, false, false,
     create, run, destroy},
    {NAME("by-hand rows"), "native", PEER_COMPILER, JSON_JOB_ROWS, true, false, false, false,
     create_rows, run_rows, destroy},
    {0},
};
