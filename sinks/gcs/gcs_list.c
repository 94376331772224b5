/* COLD. Lists objects for verify: page after page, blocking. Thread: control. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "sinks/engine/answer.h"
#include "sinks/engine/blocking.h"
#include "sinks/gcs/gcs_internal.h"

#define NAME_BYTES  1100 /* GCS: 1024 */
#define TOKEN_BYTES 4096

/* One listing under way. */
struct listing {
    const struct gcs_config *config;
    struct blocking *blocking;
    const char *prefix;
    bool (*visit)(void *ctx, const struct gcs_listed *o);
    void *ctx;
    bool stopped;            /* by the visitor */
    char token[TOKEN_BYTES]; /* of the next page, or "" */
};

static void page_url(struct listing *l)
{
    struct text *url = blocking_url(l->blocking, "GET");

    ASSERT(l->prefix != NULL);
    text_adds(url, l->config->endpoint);
    text_adds(url, "/storage/v1/b/");
    text_add_url(url, l->config->bucket);
    text_adds(url, "/o?maxResults=1000&fields=items(name,size,crc32c,generation,metadata),"
                   "nextPageToken&prefix=");
    text_add_url(url, l->prefix);
    if (l->token[0] != '\0') {
        text_adds(url, "&pageToken=");
        text_add_url(url, l->token);
    }
}

/* @return false when the item is no object resource. */
static bool item_visit(struct listing *l, struct json_value item)
{
    char name[NAME_BYTES], crc[CRC_TEXT_BYTES], plan[ID_TEXT_BYTES], events[ID_TEXT_BYTES];
    struct gcs_listed o = {.name = name};
    int64_t bytes;

    ASSERT(l->visit != NULL);
    if (!answer_string(item, "name", name, sizeof(name)) || !answer_int64(item, "size", &bytes) ||
        bytes < 0 || !answer_string(item, "crc32c", crc, sizeof(crc)) || !crc_parse(crc, &o.crc32c))
        return false;
    o.bytes = (uint64_t)bytes;
    if (!answer_int64(item, "generation", &o.generation))
        return false;
    o.gzip = plain_facts_read(item, &o.plain_bytes, &o.plain_crc32c);
    if (answer_string(item, "metadata.penstock-plan", plan, sizeof(plan)))
        o.plan_id = plan;
    if (answer_string(item, "metadata.penstock-events", events, sizeof(events)))
        o.events = events;
    if (!l->visit(l->ctx, &o))
        l->stopped = true;
    return true;
}

static bool page_visit(struct listing *l, struct span body)
{
    struct json_value root, items, item;
    struct json_walk w;

    ASSERT(!l->stopped);
    if (!answer_object(body, &root))
        return false;
    l->token[0] = '\0';
    if (answer_find(root, "nextPageToken", &item) && !answer_copy(item, l->token, sizeof(l->token)))
        return false;
    if (!answer_find(root, "items", &items))
        return true; /* an empty page */
    if (items.type != JSON_ARRAY)
        return false;
    json_walk_init(&w, items);
    while (!l->stopped && json_walk_element(&w, &item)) {
        if (item.type != JSON_OBJECT || !item_visit(l, item))
            return false;
    }
    return true;
}

static int page_take(struct listing *l, char *error, size_t error_len)
{
    struct http_answer a;
    char why[REASON_TEXT_BYTES];
    enum answer_class c;

    ASSERT(error_len > 0);
    page_url(l);
    c = blocking_call(l->blocking, NULL, &a);
    if (c != ANSWER_OK) {
        answer_describe(&a, why);
        snprintf(error, error_len, "listing gs://%s/%s: %s", l->config->bucket, l->prefix, why);
        return c == ANSWER_NOT_FOUND ? -ENOENT : -EIO;
    }
    if (!page_visit(l, a.body)) {
        snprintf(error, error_len, "listing gs://%s/%s: the answer is no list of objects",
                 l->config->bucket, l->prefix);
        return -EBADMSG;
    }
    return 0;
}

int gcs_list(const struct gcs_config *config, struct auth *auth, const char *prefix,
             bool (*visit)(void *ctx, const struct gcs_listed *o), void *ctx, char *error,
             size_t error_len)
{
    struct listing *l = calloc(1, sizeof(*l));
    int rc = -ENOMEM;

    ASSERT(visit != NULL && prefix != NULL && error_len > 0);
    error[0] = '\0';
    if (l != NULL) {
        *l = (struct listing){.config = config, .prefix = prefix, .visit = visit, .ctx = ctx};
        rc = blocking_create(auth_for(auth, config->endpoint), config->user_project, &l->blocking);
    }
    if (rc != 0) {
        snprintf(error, error_len, "%s", strerror(-rc));
        free(l);
        return rc;
    }
    do {
        rc = page_take(l, error, error_len);
    } while (rc == 0 && !l->stopped && l->token[0] != '\0');
    blocking_destroy(l->blocking);
    free(l);
    return rc;
}
