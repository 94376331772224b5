/* COLD. The client's life, and what its operations share: names, checksums, object resources. */
#include "sinks/gcs/gcs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "dataplane/base/clock.h"
#include "sinks/engine/answer.h"
#include "sinks/gcs/gcs_internal.h"

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void crc_text(uint32_t crc, char *out)
{
    uint64_t bits = (uint64_t)crc << 4; /* 36 bits: six digits */

    ASSERT(out != NULL);
    for (int i = 0; i < 6; i++)
        out[i] = base64_digits[bits >> (6 * (5 - i)) & 63];
    memcpy(out + 6, "==", 3);
}

bool crc_parse(const char *text, uint32_t *out)
{
    uint64_t bits = 0;

    ASSERT(out != NULL);
    if (strlen(text) < 6 || (strcmp(text + 6, "==") != 0 && text[6] != '\0'))
        return false;
    for (int i = 0; i < 6; i++) {
        char c = text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i];
        const char *digit = c == '\0' ? NULL : strchr(base64_digits, c);

        if (digit == NULL)
            return false;
        bits = bits << 6 | (uint64_t)(digit - base64_digits);
    }
    *out = (uint32_t)(bits >> 4);
    return true;
}

void object_url(struct text *t, const struct gcs_config *config, const char *name)
{
    ASSERT(name[0] != '\0');
    text_adds(t, config->endpoint);
    text_adds(t, "/storage/v1/b/");
    text_add_url(t, config->bucket);
    text_adds(t, "/o/");
    text_add_url(t, name);
}

bool plain_facts_read(struct json_value object, uint64_t *bytes, uint32_t *crc)
{
    char text[CRC_TEXT_BYTES];
    int64_t n;

    ASSERT(bytes != NULL && crc != NULL);
    if (!answer_int64(object, "metadata.penstock-bytes", &n) || n < 0 ||
        !answer_string(object, "metadata.penstock-crc32c", text, sizeof(text)) ||
        !crc_parse(text, crc))
        return false;
    *bytes = (uint64_t)n;
    return true;
}

bool object_facts_read(struct span body, struct object_facts *out)
{
    struct json_value root;

    ASSERT(out != NULL);
    *out = (struct object_facts){0};
    if (!answer_object(body, &root) || !answer_int64(root, "generation", &out->generation) ||
        !answer_int64(root, "size", &out->bytes) ||
        !answer_string(root, "crc32c", out->crc32c, sizeof(out->crc32c)))
        return false;
    (void)answer_string(root, "metadata.penstock-plan", out->plan, sizeof(out->plan));
    (void)answer_string(root, "metadata.penstock-log", out->log, sizeof(out->log));
    out->gzip = plain_facts_read(root, &out->plain_bytes, &out->plain_crc32c);
    return true;
}

bool ramp_pass(struct gcs *g, struct request *r, bool *slot)
{
    struct gcs_ramp *ramp = g->config->ramp;
    char why[REASON_TEXT_BYTES];
    uint64_t limit;
    int64_t wait_us;

    ASSERT(slot != NULL);
    if (ramp == NULL || *slot) {
        *slot = false; /* used up by what is sent now */
        return true;
    }
    wait_us = gcs_ramp_take(ramp, clock_monotonic_us());
    limit = gcs_ramp_limit(ramp);
    stat_set(&g->stats->ramp_per_s, limit);
    if (wait_us == 0)
        return true;
    *slot = true;
    stat_add(&g->stats->ramp_waits, 1);
    snprintf(why, sizeof(why),
             "the bucket's ramp lets %llu objects a second through (gcs.objects_per_second)",
             (unsigned long long)limit);
    request_pause(r, wait_us, why);
    return false;
}

void ramp_heard(struct gcs *g, enum answer_class c, const struct http_answer *a)
{
    ASSERT(a != NULL);
    if (g->config->ramp != NULL && c == ANSWER_TRANSIENT && (a->status == 429 || a->status == 403))
        gcs_ramp_refused(g->config->ramp, clock_monotonic_us());
}

int gcs_create(struct loop *l, struct http_client *http, struct auth *auth,
               const struct gcs_config *config, struct gcs_stats *stats, struct gcs **out)
{
    struct gcs *g = calloc(1, sizeof(*g));

    ASSERT(config->endpoint != NULL && config->bucket != NULL && config->node != NULL);
    ASSERT(stats != NULL && config->chunk_bytes % GCS_CHUNK_UNIT == 0);
    ASSERT(config->resumable_bytes == 0 || config->chunk_bytes > 0);
    if (g == NULL)
        return -ENOMEM;
    g->config = config;
    g->stats = stats;
    g->env = (struct request_env){.loop = l,
                                  .http = http,
                                  .auth = auth_for(auth, config->endpoint),
                                  .user_project = config->user_project,
                                  .calls = &stats->calls,
                                  .retries = &stats->retries};
    if (config->ramp != NULL)
        stat_set(&stats->ramp_per_s, gcs_ramp_limit(config->ramp));
    *out = g;
    return 0;
}

void gcs_destroy(struct gcs *g)
{
    if (g == NULL)
        return;
    ASSERT(g->config != NULL);
    while (g->puts != NULL)
        put_op_destroy(g->puts);
    deletes_destroy(g);
    while (g->cancels != NULL)
        cancel_op_destroy(g->cancels);
    while (g->gets != NULL)
        get_op_destroy(g->gets);
    free(g);
}
