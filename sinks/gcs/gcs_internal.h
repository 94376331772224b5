/* The parts of the Cloud Storage client. Private to this folder. */
#ifndef PENSTOCK_GCS_INTERNAL_H
#define PENSTOCK_GCS_INTERNAL_H

#include "dataplane/json/walk.h"
#include "sinks/engine/request.h"
#include "sinks/gcs/gcs.h"

#define CRC_TEXT_BYTES   9 /* base64 of four bytes, and a NUL */
#define ID_TEXT_BYTES    24
#define ANSWER_TRIES_MAX 5 /* answers that make no sense, in a row, before somebody has to look */

struct put_op;
struct delete_op;

struct gcs {
    const struct gcs_config *config;
    struct gcs_stats *stats;
    struct request_env env;
    struct put_op *puts;
    struct delete_op *deletes;
};

/** What an object resource says of itself. */
struct object_facts {
    int64_t generation;
    int64_t bytes;
    char crc32c[CRC_TEXT_BYTES];
    char plan[ID_TEXT_BYTES]; /* metadata penstock-plan, or "" */
    char log[160];            /* metadata penstock-log, or "" */
};

/** Google's form of a CRC-32C: base64 of the four bytes, most significant first. */
void crc_text(uint32_t crc, char *out);

/** Reads that form. @return false when it is none. */
bool crc_parse(const char *text, uint32_t *out);

/** Appends "ENDPOINT/storage/v1/b/BUCKET/o/NAME". */
void object_url(struct text *t, const struct gcs_config *config, const char *name);

/** Reads an object resource. @return false when the answer is none. */
bool object_facts_read(struct span body, struct object_facts *out);

/** Cancels and frees a put. */
void put_op_destroy(struct put_op *op);

/** Cancels and frees a deletion. */
void delete_op_destroy(struct delete_op *op);

#endif
