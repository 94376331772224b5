/* COLD. See gcs_claim.h. Nothing is repeated here: after an answer that may be better later, or none,
 * the owner reads the object first. */
#include "sinks/gcs/gcs_claim.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "sinks/engine/answer.h"
#include "sinks/gcs/gcs_internal.h"

#define CLAIM_TIMEOUT_MS 20000
#define NAME_BYTES       1100
#define EXPLANATION                                                                           \
    "Penstock keeps this object to notice when a copy of a data directory is in use. Do not " \
    "delete it "                                                                              \
    "while the daemon runs.\n"

static const char *const keys[] = {"token", "run", "state", "host", "place", "journals"};

/* The text of a fact, by the order of keys. */
static const char *fact(const struct gcs_claim_facts *f, size_t i)
{
    const char *const text[] = {f->token, f->run, f->state, f->host, f->place, f->journals};

    ASSERT(i < ARRAY_LEN(text) && ARRAY_LEN(text) == ARRAY_LEN(keys));
    return text[i];
}

bool gcs_claim_facts_read(struct json_value object, struct gcs_claim_facts *out)
{
    ASSERT(out != NULL);
    memset(out, 0, sizeof(*out));
    if (object.type != JSON_OBJECT || !answer_int64(object, "generation", &out->generation) ||
        !answer_string(object, "metadata.penstock-token", out->token, sizeof(out->token)) ||
        !answer_string(object, "metadata.penstock-run", out->run, sizeof(out->run)))
        return false;
    (void)answer_string(object, "metadata.penstock-state", out->state, sizeof(out->state));
    (void)answer_string(object, "metadata.penstock-host", out->host, sizeof(out->host));
    (void)answer_string(object, "metadata.penstock-place", out->place, sizeof(out->place));
    (void)answer_string(object, "metadata.penstock-journals", out->journals, sizeof(out->journals));
    (void)answer_string(object, "updated", out->updated, sizeof(out->updated));
    return true;
}

static void list_visit(struct gcs_claim *c, struct json_value root)
{
    char name[NAME_BYTES];
    struct json_value items, item;
    struct json_walk w;

    ASSERT(c->_listing);
    if (c->found == NULL || !answer_find(root, "items", &items) || items.type != JSON_ARRAY)
        return;
    json_walk_init(&w, items);
    while (json_walk_element(&w, &item)) {
        if (item.type == JSON_OBJECT && answer_string(item, "name", name, sizeof(name)) &&
            gcs_claim_facts_read(item, &c->_facts))
            c->found(c, name, &c->_facts);
    }
}

static void claim_answered(struct request *r, enum answer_class class, const struct http_answer *a)
{
    struct gcs_claim *c = container_of(r, struct gcs_claim, _request);
    struct json_value root;

    ASSERT(c->_busy);
    c->_busy = false;
    if (class != ANSWER_OK) {
        c->done(c, class, NULL, a);
    } else if (!answer_object(a->body, &root) ||
               (!c->_listing && !gcs_claim_facts_read(root, &c->_facts))) {
        static const struct http_answer odd = {.error = "the answer is no object of a claim"};

        c->done(c, ANSWER_PERMANENT, NULL, &odd);
    } else {
        if (c->_listing)
            list_visit(c, root);
        c->done(c, ANSWER_OK, &c->_facts, a);
    }
}

static void claim_resume(struct request *r)
{
    ASSERT(r->method != NULL);
    request_send(r); /* there is a token now */
}

void gcs_claim_init(struct gcs_claim *c, struct gcs *g)
{
    ASSERT(c->done != NULL);
    c->_gcs = g;
    c->_request.answered = claim_answered;
    c->_request.resume = claim_resume;
    c->_request.waiting = &c->waiting;
    request_init(&c->_request, &g->env);
}

bool gcs_claim_busy(const struct gcs_claim *c)
{
    ASSERT(c != NULL);
    return c->_busy;
}

static struct request *claim_begin(struct gcs_claim *c, const char *method)
{
    struct request *r = &c->_request;

    ASSERT(!c->_busy);
    c->_busy = true;
    c->_listing = false;
    (void)request_reset(r, method);
    r->timeout_ms = CLAIM_TIMEOUT_MS;
    return r;
}

void gcs_claim_read(struct gcs_claim *c, const char *name)
{
    struct request *r = claim_begin(c, "GET");

    ASSERT(name[0] != '\0');
    object_url(&r->url, c->_gcs->config, name);
    request_send(r);
}

void gcs_claim_list(struct gcs_claim *c, const char *prefix)
{
    struct request *r = claim_begin(c, "GET");

    ASSERT(prefix[0] != '\0');
    c->_listing = true;
    text_adds(&r->url, c->_gcs->config->endpoint);
    text_adds(&r->url, "/storage/v1/b/");
    text_add_url(&r->url, c->_gcs->config->bucket);
    text_adds(&r->url, "/o?maxResults=100&prefix=");
    text_add_url(&r->url, prefix);
    request_send(r);
}

static void add_facts(struct text *t, const char *name, const struct gcs_claim_facts *facts)
{
    char key[32];

    ASSERT(facts->token[0] != '\0' && facts->run[0] != '\0');
    text_adds(t, "{\"name\":");
    text_add_json(t, name);
    text_adds(t, ",\"contentType\":\"text/plain\",\"metadata\":{");
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        snprintf(key, sizeof(key), "%s\"penstock-%s\":", i > 0 ? "," : "", keys[i]);
        text_adds(t, key);
        text_add_json(t, fact(facts, i));
    }
    text_adds(t, "}}");
}

void gcs_claim_write(struct gcs_claim *c, const char *name, const struct gcs_claim_facts *facts,
                     int64_t generation)
{
    struct request *r = claim_begin(c, "POST");
    struct text *body = &c->_body;
    const char *boundary = facts->run; /* random, and in no fact at the start of a line */

    ASSERT(strlen(boundary) == CLAIM_HEX_BYTES - 1);
    text_reset(body);
    text_addf(body, "--%s\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n", boundary);
    add_facts(body, name, facts);
    text_addf(body, "\r\n--%s\r\nContent-Type: text/plain\r\n\r\n", boundary);
    text_adds(body, EXPLANATION);
    text_addf(body, "\r\n--%s--\r\n", boundary);
    text_adds(&r->url, c->_gcs->config->endpoint);
    text_adds(&r->url, "/upload/storage/v1/b/");
    text_add_url(&r->url, c->_gcs->config->bucket);
    text_addf(&r->url, "/o?uploadType=multipart&ifGenerationMatch=%" PRId64, generation);
    request_body(r, body);
    snprintf(c->_content_type, sizeof(c->_content_type), "multipart/related; boundary=%s",
             boundary);
    r->content_type = c->_content_type;
    request_send(r);
}

void gcs_claim_fini(struct gcs_claim *c)
{
    ASSERT(c != NULL);
    if (c->_gcs == NULL)
        return;
    request_fini(&c->_request);
    text_fini(&c->_body);
    c->_gcs = NULL;
}
