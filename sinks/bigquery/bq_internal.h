/* The parts of the BigQuery client. Private to this folder. */
#ifndef PENSTOCK_BQ_INTERNAL_H
#define PENSTOCK_BQ_INTERNAL_H

#include "sinks/bigquery/bigquery.h"
#include "sinks/engine/request.h"

#define BQ_TIMEOUT_MS      60000
#define BQ_LABEL_BYTES_MAX 63
#define BQ_ODD_MAX         5 /* senseless answers in a row before somebody has to look */
#define BQ_LOCATION_BYTES  64

struct ensure_op;
struct load_op;
struct insert_op;

struct bq {
    const struct bq_config *config;
    struct bq_stats *stats;
    struct request_env env;
    struct ensure_op *ensures;
    struct load_op *loads;
    struct insert_op *inserts;
};

/** What jobs.insert and jobs.get say of a job. */
struct job_facts {
    bool done;
    bool has_error;
    bool error_transient; /* a new attempt may be made */
    bool has_rows;
    int64_t rows;
    char location[BQ_LOCATION_BYTES];
    char text[REASON_TEXT_BYTES]; /* "reason: message" of the error */
    struct bq_refusal refusal;    /* what the error says of rows and files */
};

/** Appends "ENDPOINT/bigquery/v2/projects/P". */
void bq_project_url(struct text *t, const struct bq_config *config);

/** Appends the URL of the dataset's tables, and of one of them when table is not NULL. */
void bq_table_url(struct text *t, const struct bq_config *config, const char *table);

/** Appends "ENDPOINT/bigquery/v2/projects/P/datasets". */
void bq_datasets_url(struct text *t, const struct bq_config *config);

/** Appends the body of datasets.insert. */
void bq_dataset_json(struct text *t, const struct bq_config *config);

/** Appends the body of tables.insert. */
void bq_table_json(struct text *t, const struct bq_config *config,
                   const struct bq_table_spec *spec);

/** Makes a label value of any text: lower case, other bytes become '_', cut at 63. out holds 64
 * bytes. */
void bq_label_value(const char *text, char *out);

/** Appends the body of jobs.insert. uris_label as made by bq_uris_label(). */
void bq_load_json(struct text *t, const struct bq_config *config, const struct bq_load *l,
                  const char *uris_label);

/** A label value (33 bytes with NUL) that stands for destination and URIs of a load. */
void bq_uris_label(const struct bq_config *config, const struct bq_load *l, char *out);

/** Reads a job resource. @return false when the answer is none. */
bool bq_job_read(struct span body, struct job_facts *out);

/** Whether a job resource with its configuration is this load. @return why not, or NULL when it is.
 */
const char *bq_job_differs(struct span body, const struct bq_config *config,
                           const struct bq_load *l, const char *uris_label);

/** Cancels and frees an operation. */
void ensure_op_destroy(struct ensure_op *op);

/** Cancels and frees an operation; what was sent may take effect. */
void insert_op_destroy(struct insert_op *op);

/** Cancels and frees an operation; a job goes on at BigQuery. */
void load_op_destroy(struct load_op *op);

#endif
