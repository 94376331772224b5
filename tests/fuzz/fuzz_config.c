/*
 * Any bytes as a configuration file. It must be refused with at least one problem or accepted; what
 * is accepted must keep the relations that the modules rely on.
 */
#include "control/config.h"
#include "control/knobs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const sets[] = {"gcs.bucket=bucket", "bigquery.project=project"};
    struct config_source source = {.file = "fuzz.yaml",
                                   .text = (const char *)data,
                                   .text_len = size,
                                   .n_sets = 2,
                                   .no_schemas = true};
    struct textbuf problems = {0};
    struct config *c = NULL;

    source.sets = sets;
    if (config_load(&source, &c, &problems) == 0) {
        ASSERT(problems.len == 0);
        ASSERT(c->workers >= 1 && c->workers <= CONFIG_WORKERS_MAX);
        ASSERT(c->journal_limit / c->workers >= 4 * c->journal_segment);
        ASSERT(c->http_event_max <= c->http_body_max);
        ASSERT(c->group_bytes_max <= c->group_memory);
        ASSERT(c->types.json_schema != NULL);
        for (uint32_t i = 0; i < c->types.n_types; i++)
            ASSERT(c->types.type[i].name != NULL);
    } else {
        ASSERT(c == NULL && problems.len > 0);
    }
    config_destroy(c);
    textbuf_fini(&problems);
    return 0;
}
