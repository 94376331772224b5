/* COLD. Request bodies for datasets, tables and load jobs. */
#include <stdio.h>

#include "sinks/bigquery/bq_internal.h"

/* 128 bits of FNV-1a in two lanes: names a set of URIs; nobody attacks it. */
#define FNV_PRIME   UINT64_C(0x100000001b3)
#define FNV_BASIS_A UINT64_C(0xcbf29ce484222325)
#define FNV_BASIS_B UINT64_C(0x84222325cbf29ce4)

struct hash128 {
    uint64_t a, b;
};

static void hash_add(struct hash128 *h, const char *s)
{
    ASSERT(s != NULL);
    for (;; s++) {
        h->a = (h->a ^ (unsigned char)*s) * FNV_PRIME;
        h->b = (h->b ^ (unsigned char)*s ^ (h->a >> 56)) * FNV_PRIME;
        if (*s == '\0')
            return; /* the NUL is part: it keeps neighbours apart */
    }
}

void bq_uris_label(const struct bq_config *config, const struct bq_load *l, char *out)
{
    struct hash128 h = {.a = FNV_BASIS_A, .b = FNV_BASIS_B};

    ASSERT(l->n_uris > 0);
    hash_add(&h, config->dataset);
    hash_add(&h, l->table);
    for (uint32_t i = 0; i < l->n_uris; i++)
        hash_add(&h, l->uris[i]);
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)h.a, (unsigned long long)h.b);
}

void bq_label_value(const char *text, char *out)
{
    size_t n = 0;

    ASSERT(text != NULL);
    for (; text[n] != '\0' && n < BQ_LABEL_BYTES_MAX; n++) {
        char c = text[n];

        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        else if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            c = '_';
        out[n] = c;
    }
    out[n] = '\0';
}

static void add_member(struct text *t, const char *name, const char *value)
{
    ASSERT(name != NULL);
    text_add_json(t, name);
    text_adds(t, ":");
    text_add_json(t, value);
}

static void add_table_reference(struct text *t, const struct bq_config *config, const char *table)
{
    ASSERT(table != NULL);
    text_adds(t, "{");
    add_member(t, "projectId", config->project);
    text_adds(t, ",");
    add_member(t, "datasetId", config->dataset);
    text_adds(t, ",");
    add_member(t, "tableId", table);
    text_adds(t, "}");
}

static bool configured_label(const struct bq_config *config, const char *key)
{
    ASSERT(key != NULL);
    for (uint32_t i = 0; i < config->n_labels; i++) {
        if (strcmp(config->labels[i].key, key) == 0)
            return true;
    }
    return false;
}

/* The configured labels, and ours where the configuration does not say otherwise. table: NULL for a
 * dataset. */
static void add_labels(struct text *t, const struct bq_config *config, const char *table)
{
    char value[BQ_LABEL_BYTES_MAX + 1];
    const struct bq_label ours[] = {
        {"managed_by", "penstock"}, {"auto_created", "true"}, {"table_type", value}};
    bool first = true;

    ASSERT(config->n_labels == 0 || config->labels != NULL);
    bq_label_value(table != NULL ? table : "", value);
    text_adds(t, "\"labels\":{");
    for (uint32_t i = 0; i < config->n_labels; i++) {
        text_adds(t, first ? "" : ",");
        add_member(t, config->labels[i].key, config->labels[i].value);
        first = false;
    }
    for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
        if (configured_label(config, ours[i].key) || (table == NULL && ours[i].value == value))
            continue;
        text_adds(t, first ? "" : ",");
        add_member(t, ours[i].key, ours[i].value);
        first = false;
    }
    text_adds(t, "}");
}

void bq_dataset_json(struct text *t, const struct bq_config *config)
{
    ASSERT(config->dataset != NULL);
    text_adds(t, "{\"datasetReference\":{");
    add_member(t, "projectId", config->project);
    text_adds(t, ",");
    add_member(t, "datasetId", config->dataset);
    text_adds(t, "},");
    if (config->location != NULL && config->location[0] != '\0') {
        add_member(t, "location", config->location);
        text_adds(t, ",");
    }
    if (config->table_expiration_ms > 0)
        text_addf(t, "\"defaultTableExpirationMs\":\"%lld\",",
                  (long long)config->table_expiration_ms);
    add_labels(t, config, NULL);
    text_adds(t, "}");
}

void bq_table_json(struct text *t, const struct bq_config *config, const struct bq_table_spec *spec)
{
    ASSERT(spec->n_clustering <= BQ_CLUSTERING_MAX);
    ASSERT(spec->schema->fields_json != NULL);
    text_adds(t, "{\"tableReference\":");
    add_table_reference(t, config, spec->table);
    text_adds(t, ",\"schema\":{\"fields\":");
    text_adds(t, spec->schema->fields_json);
    text_adds(t, "},\"timePartitioning\":{\"type\":\"DAY\",\"field\":\"" COLUMN_EVENT_DATE "\"},");
    if (spec->n_clustering > 0) {
        text_adds(t, "\"clustering\":{\"fields\":[");
        for (uint32_t i = 0; i < spec->n_clustering; i++) {
            text_adds(t, i == 0 ? "" : ",");
            text_add_json(t, spec->clustering[i]);
        }
        text_adds(t, "]},");
    }
    if (spec->description != NULL) {
        add_member(t, "description", spec->description);
        text_adds(t, ",");
    }
    add_labels(t, config, spec->table);
    text_adds(t, "}");
}

void bq_load_json(struct text *t, const struct bq_config *config, const struct bq_load *l,
                  const char *uris_label)
{
    ASSERT(l->n_uris > 0);
    text_adds(t, "{\"jobReference\":{");
    add_member(t, "projectId", config->project);
    text_adds(t, ",");
    add_member(t, "jobId", l->job_id);
    if (config->location != NULL && config->location[0] != '\0') {
        text_adds(t, ",");
        add_member(t, "location", config->location);
    }
    text_adds(t, "},\"configuration\":{\"labels\":{\"penstock\":\"1\",");
    add_member(t, "penstock_uris", uris_label);
    text_adds(t, "},\"load\":{\"destinationTable\":");
    add_table_reference(t, config, l->table);
    text_adds(
        t,
        ",\"sourceFormat\":\"NEWLINE_DELIMITED_JSON\",\"writeDisposition\":\"WRITE_APPEND\","
        "\"createDisposition\":\"CREATE_NEVER\",\"maxBadRecords\":0,\"ignoreUnknownValues\":false,"
        "\"sourceUris\":[");
    for (uint32_t i = 0; i < l->n_uris; i++) {
        text_adds(t, i == 0 ? "" : ",");
        text_add_json(t, l->uris[i]);
    }
    text_adds(t, "]}}}");
}
