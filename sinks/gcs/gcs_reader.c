/* COLD. Looks into the bucket, blocking; see gcs_reader.h. Thread: control. */
#include "sinks/gcs/gcs_reader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sinks/engine/answer.h"
#include "sinks/engine/blocking.h"
#include "sinks/gcs/gcs_internal.h"

#define NAME_BYTES   1100 /* GCS: 1024 */
#define TOKEN_BYTES  4096
#define HEADER_BYTES 96

struct gcs_reader {
    const struct gcs_config *config;
    struct blocking *blocking;
};

/* One listing under way. */
struct listing {
    struct gcs_reader *reader;
    const struct gcs_listing *what;
    bool stopped;            /* by the visitor */
    char token[TOKEN_BYTES]; /* of the next page, or "" */
};

int gcs_reader_open(const struct gcs_config *config, struct auth *auth, struct gcs_reader **out)
{
    struct gcs_reader *r = calloc(1, sizeof(*r));
    int rc;

    ASSERT(config->endpoint != NULL && config->bucket != NULL);
    if (r == NULL)
        return -ENOMEM;
    r->config = config;
    rc = blocking_create(auth_for(auth, config->endpoint), config->user_project, &r->blocking);
    if (rc != 0) {
        free(r);
        return rc;
    }
    *out = r;
    return 0;
}

void gcs_reader_close(struct gcs_reader *r)
{
    if (r == NULL)
        return;
    ASSERT(r->blocking != NULL);
    blocking_destroy(r->blocking);
    free(r);
}

static int fail_call(const struct gcs_reader *r, const char *doing, const char *name,
                     enum answer_class c, const struct http_answer *a, char *error,
                     size_t error_len)
{
    char why[REASON_TEXT_BYTES];

    ASSERT(c != ANSWER_OK && error_len > 0);
    answer_describe(a, why);
    snprintf(error, error_len, "%s gs://%s/%s: %s", doing, r->config->bucket, name, why);
    return c == ANSWER_NOT_FOUND ? -ENOENT : -EIO;
}

/* ---- listing ---- */

static void add_parameter(struct text *url, const char *name, const char *value)
{
    ASSERT(name[0] == '&');
    if (value == NULL || value[0] == '\0')
        return;
    text_adds(url, name);
    text_add_url(url, value);
}

static void page_url(struct listing *l)
{
    const struct gcs_listing *what = l->what;
    struct text *url = blocking_url(l->reader->blocking, "GET");

    ASSERT(what->prefix != NULL);
    text_adds(url, l->reader->config->endpoint);
    text_adds(url, "/storage/v1/b/");
    text_add_url(url, l->reader->config->bucket);
    text_adds(url, "/o?maxResults=1000&fields=items(name,size,generation,crc32c,metadata),prefixes,"
                   "nextPageToken");
    add_parameter(url, "&prefix=", what->prefix);
    add_parameter(url, "&startOffset=", what->start);
    add_parameter(url, "&endOffset=", what->end);
    add_parameter(url, "&delimiter=", what->folder != NULL ? "/" : NULL);
    add_parameter(url, "&pageToken=", l->token);
}

/* @return false when the item is no object resource. */
static bool item_visit(struct listing *l, struct json_value item)
{
    char name[NAME_BYTES], crc[CRC_TEXT_BYTES], plan[ID_TEXT_BYTES], events[ID_TEXT_BYTES];
    struct gcs_listed o = {.name = name};
    int64_t bytes;

    ASSERT(!l->stopped);
    if (item.type != JSON_OBJECT || !answer_string(item, "name", name, sizeof(name)) ||
        !answer_int64(item, "size", &bytes) || bytes < 0 ||
        !answer_int64(item, "generation", &o.generation) ||
        !answer_string(item, "crc32c", crc, sizeof(crc)) || !crc_parse(crc, &o.crc32c))
        return false;
    o.bytes = (uint64_t)bytes;
    o.gzip = plain_facts_read(item, &o.plain_bytes, &o.plain_crc32c);
    if (answer_string(item, "metadata.penstock-plan", plan, sizeof(plan)))
        o.plan_id = plan;
    if (answer_string(item, "metadata.penstock-events", events, sizeof(events)))
        o.events = events;
    if (l->what->object != NULL && !l->what->object(l->what->ctx, &o))
        l->stopped = true;
    return true;
}

static bool folder_visit(struct listing *l, struct json_value item)
{
    char name[NAME_BYTES];

    ASSERT(!l->stopped);
    if (!answer_copy(item, name, sizeof(name)))
        return false;
    if (l->what->folder != NULL && !l->what->folder(l->what->ctx, name))
        l->stopped = true;
    return true;
}

/* Visits the elements of one member of the page; absent is empty. */
static bool list_visit(struct listing *l, struct json_value root, const char *member,
                       bool (*visit)(struct listing *l, struct json_value item))
{
    struct json_value list, item;
    struct json_walk w;

    ASSERT(member != NULL);
    if (!answer_find(root, member, &list))
        return true;
    if (list.type != JSON_ARRAY)
        return false;
    json_walk_init(&w, list);
    while (!l->stopped && json_walk_element(&w, &item)) {
        if (!visit(l, item))
            return false;
    }
    return true;
}

static bool page_visit(struct listing *l, struct span body)
{
    struct json_value root, token;

    ASSERT(!l->stopped);
    if (!answer_object(body, &root))
        return false;
    l->token[0] = '\0';
    if (answer_find(root, "nextPageToken", &token) &&
        !answer_copy(token, l->token, sizeof(l->token)))
        return false;
    return list_visit(l, root, "prefixes", folder_visit) &&
           list_visit(l, root, "items", item_visit);
}

static int page_take(struct listing *l, char *error, size_t error_len)
{
    const char *bucket = l->reader->config->bucket;
    struct http_answer a;
    enum answer_class c;

    ASSERT(error_len > 0);
    page_url(l);
    c = blocking_call(l->reader->blocking, NULL, &a);
    if (c != ANSWER_OK)
        return fail_call(l->reader, "listing", l->what->prefix, c, &a, error, error_len);
    if (!page_visit(l, a.body)) {
        snprintf(error, error_len, "listing gs://%s/%s: the answer is no list of objects", bucket,
                 l->what->prefix);
        return -EBADMSG;
    }
    return 0;
}

int gcs_reader_list(struct gcs_reader *r, const struct gcs_listing *what, char *error,
                    size_t error_len)
{
    struct listing *l = calloc(1, sizeof(*l));
    int rc;

    ASSERT(what->object != NULL || what->folder != NULL);
    if (l == NULL) {
        snprintf(error, error_len, "out of memory");
        return -ENOMEM;
    }
    l->reader = r;
    l->what = what;
    do {
        rc = page_take(l, error, error_len);
    } while (rc == 0 && !l->stopped && l->token[0] != '\0');
    free(l);
    return rc;
}

/* ---- reading ---- */

/* One piece; *got is how long it was. */
static int piece_get(struct gcs_reader *r, const struct gcs_listed *o, uint64_t from,
                     struct span *got, char *error, size_t error_len)
{
    uint64_t left = o->bytes - from;
    uint64_t want = left < GCS_PIECE_BYTES ? left : GCS_PIECE_BYTES;
    struct text *url = blocking_url(r->blocking, "GET");
    /* Stored gzip would be unpacked for whoever does not accept it, and ranges would not hold. */
    const char *headers[] = {NULL, "Accept-Encoding: gzip", NULL};
    char range[HEADER_BYTES];
    struct http_answer a;
    enum answer_class c;

    ASSERT(want > 0);
    object_url(url, r->config, o->name);
    text_addf(url, "?alt=media&generation=%" PRId64, o->generation);
    snprintf(range, sizeof(range), "Range: bytes=%" PRIu64 "-%" PRIu64, from, from + want - 1);
    headers[0] = range;
    blocking_headers(r->blocking, headers);
    c = blocking_call(r->blocking, NULL, &a);
    if (c != ANSWER_OK)
        return fail_call(r, "reading", o->name, c, &a, error, error_len);
    if (a.body.len != want) {
        snprintf(error, error_len,
                 "reading gs://%s/%s: asked for %" PRIu64 " bytes from %" PRIu64 " on, got %zu",
                 r->config->bucket, o->name, want, from, a.body.len);
        return -EBADMSG;
    }
    *got = a.body;
    return 0;
}

int gcs_reader_get(struct gcs_reader *r, const struct gcs_listed *o,
                   bool (*take)(void *ctx, struct span piece), void *ctx, char *error,
                   size_t error_len)
{
    uint64_t from = 0;
    struct span piece;

    ASSERT(take != NULL && error_len > 0);
    while (from < o->bytes) {
        int rc = piece_get(r, o, from, &piece, error, error_len);

        if (rc != 0)
            return rc;
        if (!take(ctx, piece))
            return 0;
        from += piece.len;
    }
    return 0;
}

int gcs_reader_delete(struct gcs_reader *r, const char *name, int64_t generation, char *error,
                      size_t error_len)
{
    struct text *url = blocking_url(r->blocking, "DELETE");
    struct http_answer a;
    enum answer_class c;

    ASSERT(name[0] != '\0' && error_len > 0);
    object_url(url, r->config, name);
    text_addf(url, "?ifGenerationMatch=%" PRId64, generation);
    c = blocking_call(r->blocking, NULL, &a);
    if (c == ANSWER_OK || c == ANSWER_NOT_FOUND)
        return 0;
    if (a.status == 412) {
        snprintf(error, error_len, "deleting gs://%s/%s: the object was replaced meanwhile",
                 r->config->bucket, name);
        return -ESTALE;
    }
    return fail_call(r, "deleting", name, c, &a, error, error_len);
}

/* ---- verify's ---- */

int gcs_list(const struct gcs_config *config, struct auth *auth, const char *prefix,
             bool (*visit)(void *ctx, const struct gcs_listed *o), void *ctx, char *error,
             size_t error_len)
{
    const struct gcs_listing what = {.prefix = prefix, .object = visit, .ctx = ctx};
    struct gcs_reader *r;
    int rc = gcs_reader_open(config, auth, &r);

    ASSERT(visit != NULL && prefix != NULL && error_len > 0);
    error[0] = '\0';
    if (rc != 0) {
        snprintf(error, error_len, "%s", strerror(-rc));
        return rc;
    }
    rc = gcs_reader_list(r, &what, error, error_len);
    gcs_reader_close(r);
    return rc;
}
