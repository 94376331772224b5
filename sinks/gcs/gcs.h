/*
 * Cloud Storage as a sink: objects that are created once, checked by CRC32C both ways, and
 * recognised as ours when an answer was lost.
 *
 * An operation retries by itself until it is done, permanent, or cancelled with its client.
 */
#ifndef PENSTOCK_GCS_H
#define PENSTOCK_GCS_H

#include "sinks/engine/auth.h"
#include "sinks/engine/http.h"
#include "sinks/engine/retry.h"
#include "sinks/gcs/gcs_ramp.h"

#define GCS_DELETES_MAX 16 /* under way at once, so that uploads get their share of connections */
#define GCS_CHUNK_UNIT  ((uint64_t)256 << 10) /* chunks but the last are multiples of this */

struct gcs_config {
    const char *endpoint; /* "https://storage.googleapis.com", or an emulator's, without a path */
    const char *bucket;
    const char *node;         /* goes into object metadata */
    const char *user_project; /* quota project header, or NULL */
    uint64_t resumable_bytes; /* larger objects go up in a resumable session; 0: none does */
    struct gcs_ramp *ramp;    /* shared by all threads; NULL: as fast as it goes */
    uint64_t chunk_bytes;     /* of one request of a session: a multiple of GCS_CHUNK_UNIT */
};

/** Written by the sink thread, readable by any (relaxed). */
struct gcs_stats {
    _Atomic uint64_t calls;
    _Atomic uint64_t objects; /* created or recognised */
    _Atomic uint64_t bytes;
    _Atomic uint64_t retries;
    _Atomic uint64_t recognised; /* 412 or lost answer, found to be ours */
    _Atomic uint64_t conflicts;
    _Atomic uint64_t permanent;
    _Atomic uint64_t ramp_waits; /* objects and deletions that waited for the bucket's ramp */
    _Atomic uint64_t ramp_per_s; /* gauge: objects a second that the ramp lets through */
    _Atomic uint64_t sessions; /* resumable uploads begun, those that replace a lost one included */
    _Atomic uint64_t resumed;  /* sessions that went on behind what the server had kept */
    _Atomic uint64_t sessions_lost; /* 404 or 410, or given up: begun again from the first byte */
};

enum gcs_result {
    GCS_DONE,
    GCS_CONFLICT,  /* an object of this name is there and is not this plan's */
    GCS_PERMANENT, /* refused for good: text says why; may be tried again when somebody has fixed it
                    */
};

struct gcs;

/** An object to create, embedded in its owner, which keeps name and body until done. Zero it before
 * filling. */
struct gcs_put {
    const char *name;
    const char *content_type; /* "application/x-ndjson" */
    const struct iovec *body;
    uint32_t body_parts;
    uint64_t bytes;
    uint32_t crc32c;
    /* The body is a gzip file of the plan's lines: metadata penstock-bytes and penstock-crc32c say
     * what they are, and an object with other compressed bytes of the same lines is recognised. */
    bool gzip;
    uint64_t plain_bytes;
    uint32_t plain_crc32c;
    uint64_t plan_id;   /* metadata penstock-plan */
    uint64_t events;    /* metadata penstock-events */
    const char *log_id; /* metadata penstock-log: which delivery log the plan id belongs to; part of
                           identity */
    void (*done)(struct gcs_put *p, enum gcs_result result, int64_t generation, const char *text);
    const char *waiting; /* while retrying: why, for status; NULL otherwise */
    void *_op;
};

/** An object to delete (a staging object after its load). Gone already is success. */
struct gcs_delete {
    const char *name;
    void (*done)(struct gcs_delete *d, enum gcs_result result, const char *text);
    void *_op;
};

/** An object to read, as it is stored (gzip stays gzip), in order. Embedded; zero it before filling. */
struct gcs_get {
    const char *name;
    /** The next bytes, for the call. @return false to give up: then done says GCS_PERMANENT. */
    bool (*take)(struct gcs_get *g, struct span piece);
    /** GCS_DONE after the last byte. Nothing says that the object is the one that was meant: compare. */
    void (*done)(struct gcs_get *g, enum gcs_result result, const char *text);
    const char *waiting; /* while retrying: why, for status; NULL otherwise */
    void *_op;
};

/** Creates the client. config, http, auth and stats are borrowed. Thread: the loop's. */
int gcs_create(struct loop *l, struct http_client *http, struct auth *auth,
               const struct gcs_config *config, struct gcs_stats *stats,
               struct gcs **out) WARN_UNUSED;

/** Cancels every operation (done does not run) and frees. NULL is allowed. */
void gcs_destroy(struct gcs *g);

/**
 * Starts to create an object: ifGenerationMatch=0, crc32c and plan id in its metadata; multipart,
 * or chunk by chunk in a resumable session when it is larger than resumable_bytes.
 */
int gcs_put_start(struct gcs *g, struct gcs_put *p) WARN_UNUSED;

/** Starts to delete an object; at most GCS_DELETES_MAX are under way, the rest wait in order. */
int gcs_delete_start(struct gcs *g, struct gcs_delete *d) WARN_UNUSED;

/** Starts to read an object, range by range. @return 0 or -ENOMEM. */
int gcs_get_start(struct gcs *g, struct gcs_get *get) WARN_UNUSED;

/** One object of a listing. Borrowed for the call. */
struct gcs_listed {
    const char *name;
    uint64_t bytes;
    uint32_t crc32c;
    int64_t generation;
    bool gzip; /* metadata says what the plain lines are: */
    uint64_t plain_bytes;
    uint32_t plain_crc32c;
    const char *plan_id; /* metadata, or NULL */
    const char *events;  /* metadata, or NULL */
};

/**
 * Lists all objects under a prefix in name order, page by page, blocking (for verify).
 * The visitor returns false to stop.
 * @return 0; -errno, with error saying why.
 */
int gcs_list(const struct gcs_config *config, struct auth *auth, const char *prefix,
             bool (*visit)(void *ctx, const struct gcs_listed *o), void *ctx, char *error,
             size_t error_len) WARN_UNUSED;

#endif
