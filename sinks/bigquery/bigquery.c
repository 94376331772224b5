/* COLD. The client's life and the addresses of the API. */
#include "sinks/bigquery/bigquery.h"

#include <errno.h>
#include <stdlib.h>

#include "sinks/bigquery/bq_internal.h"

void bq_project_url(struct text *t, const struct bq_config *config)
{
    ASSERT(config->project != NULL);
    text_adds(t, config->endpoint);
    text_adds(t, "/bigquery/v2/projects/");
    text_add_url(t, config->project);
}

void bq_datasets_url(struct text *t, const struct bq_config *config)
{
    ASSERT(config->dataset != NULL);
    bq_project_url(t, config);
    text_adds(t, "/datasets");
}

void bq_table_url(struct text *t, const struct bq_config *config, const char *table)
{
    ASSERT(table == NULL || table[0] != '\0');
    bq_datasets_url(t, config);
    text_adds(t, "/");
    text_add_url(t, config->dataset);
    text_adds(t, "/tables");
    if (table != NULL) {
        text_adds(t, "/");
        text_add_url(t, table);
    }
}

int bq_create(struct loop *l, struct http_client *http, struct auth *auth,
              const struct bq_config *config, struct bq_stats *stats, struct bq **out)
{
    struct bq *b = calloc(1, sizeof(*b));

    ASSERT(config->endpoint != NULL && config->project != NULL && config->dataset != NULL);
    ASSERT(config->n_labels <= BQ_LABELS_MAX && stats != NULL);
    if (b == NULL)
        return -ENOMEM;
    b->config = config;
    b->stats = stats;
    b->env = (struct request_env){.loop = l,
                                  .http = http,
                                  .auth = auth_for(auth, config->endpoint),
                                  .user_project = config->user_project,
                                  .calls = &stats->calls,
                                  .retries = &stats->retries};
    *out = b;
    return 0;
}

void bq_destroy(struct bq *b)
{
    if (b == NULL)
        return;
    ASSERT(b->config != NULL);
    while (b->ensures != NULL)
        ensure_op_destroy(b->ensures);
    while (b->loads != NULL)
        load_op_destroy(b->loads);
    while (b->inserts != NULL)
        insert_op_destroy(b->inserts);
    free(b);
}
