/*
 * The object that says which process owns a data directory: read, written on condition of its
 * generation, and listed with those of the same node. Each call is one request; whoever makes it decides
 * about the next one.
 *
 * Thread: the loop's.
 */
#ifndef PENSTOCK_GCS_CLAIM_H
#define PENSTOCK_GCS_CLAIM_H

#include "dataplane/json/walk.h"
#include "sinks/engine/request.h"
#include "sinks/gcs/gcs.h"

#define CLAIM_HEX_BYTES      33
#define CLAIM_HOST_BYTES     256
#define CLAIM_PLACE_BYTES    65
#define CLAIM_STATE_BYTES    16
#define CLAIM_JOURNALS_BYTES 4608 /* 64 journals of 67 bytes; metadata may have 8 KiB */

/** What the object says: its metadata. */
struct gcs_claim_facts {
    int64_t generation;
    char token[CLAIM_HEX_BYTES]; /* of the claim */
    char run[CLAIM_HEX_BYTES];   /* of the process */
    char state[CLAIM_STATE_BYTES];
    char host[CLAIM_HOST_BYTES];
    char place[CLAIM_PLACE_BYTES];       /* a hash: machine, boot, folder */
    char journals[CLAIM_JOURNALS_BYTES]; /* "UUID:DURABLE:FLOOR ..." in hex */
    char updated[40];                    /* by the server, for people */
};

/** One request, embedded in its owner. Zero it, then gcs_claim_init(). */
struct gcs_claim {
    /** facts: of what is there, or was written; NULL unless c is OK. The rest ends with the call. */
    void (*done)(struct gcs_claim *claim, enum answer_class c, const struct gcs_claim_facts *facts,
                 const struct http_answer *a);
    /** Called for each object of a listing, in front of done. */
    void (*found)(struct gcs_claim *claim, const char *name, const struct gcs_claim_facts *facts);
    const char *waiting; /* for credentials: why; NULL otherwise */
    struct gcs *_gcs;
    struct request _request;
    struct text _body;
    bool _busy, _listing;
    char _content_type[96];
    struct gcs_claim_facts _facts;
};

/** Binds a zeroed claim to a client. */
void gcs_claim_init(struct gcs_claim *c, struct gcs *g);

/** Reads the object. */
void gcs_claim_read(struct gcs_claim *c, const char *name);

/** Writes the object if its generation is this one; 0: if there is none. */
void gcs_claim_write(struct gcs_claim *c, const char *name, const struct gcs_claim_facts *facts,
                     int64_t generation);

/** Lists up to 100 objects. */
void gcs_claim_list(struct gcs_claim *c, const char *prefix);

/** Whether a request is under way. */
bool gcs_claim_busy(const struct gcs_claim *c);

/** Cancels what is under way and frees. */
void gcs_claim_fini(struct gcs_claim *c);

/** Reads an object resource. @return false when it is none, or says nothing of a claim. */
bool gcs_claim_facts_read(struct json_value object, struct gcs_claim_facts *out) WARN_UNUSED;

#endif
