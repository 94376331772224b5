/* The parts of the Cloud Storage client. Private to this folder. */
#ifndef PENSTOCK_GCS_INTERNAL_H
#define PENSTOCK_GCS_INTERNAL_H

#include "dataplane/json/walk.h"
#include "sinks/engine/request.h"
#include "sinks/gcs/gcs.h"

#define CRC_TEXT_BYTES   9 /* base64 of four bytes, and a NUL */
#define ID_TEXT_BYTES    24
#define ANSWER_TRIES_MAX 5 /* answers that make no sense, in a row, before somebody has to look */

#define CONTENT_TYPE_BYTES 128
#define RANGE_HEADER_BYTES 96
#define BASE_TIMEOUT_MS    60000

struct delete_op;
struct cancel_op;
struct get_op;

struct gcs {
    const struct gcs_config *config;
    struct gcs_stats *stats;
    struct request_env env;
    struct put_op *puts;
    struct delete_op *deletes;           /* under way */
    struct delete_op *queue, *queue_end; /* deletions that wait for their turn */
    uint32_t n_deletes;
    struct cancel_op *cancels;
    struct get_op *gets;
};

/** What is under way, or comes after the wait. The pictures are in gcs_put.c and gcs_session.c. */
enum put_state {
    PUT_SEND,  /* all at once: multipart */
    PUT_OPEN,  /* a session is opened */
    PUT_CHUNK, /* the session's next bytes are sent */
    PUT_ASK,   /* the session is asked what it has */
    PUT_CHECK, /* is an object there, and whose? */
};

/** An upload in a session. */
struct put_session {
    struct text url;  /* a secret: whoever has it may write the object. Never logged */
    uint64_t offset;  /* the server has everything in front of it */
    uint64_t reached; /* largest offset of this session */
    uint64_t best;    /* largest offset of all sessions of the operation */
    uint32_t stuck;   /* answers in a row that showed no progress */
    bool interrupted; /* a call of it failed; the next bytes that go out resume it */
    char header[2][RANGE_HEADER_BYTES + CONTENT_TYPE_BYTES];
    const char *headers[3];
};

/** One object's creation. gcs_put.c owns it; gcs_session.c moves it through a session. */
struct put_op {
    struct gcs *gcs;
    struct gcs_put *put;
    struct put_op *prev, *next;
    struct request request;
    enum put_state state;
    bool resumable;
    bool at_once;         /* PUT_CHECK came without a wait, after a 412 */
    bool slot;            /* the ramp has given this attempt its moment */
    uint32_t odd_answers; /* in a row that made no sense */
    struct text head;     /* metadata; in a multipart request with the boundaries around it */
    struct text tail;
    struct iovec *parts; /* multipart: head, body, tail; in a session the slices of a chunk */
    uint32_t n_parts;
    uint64_t part_bytes;
    char crc[CRC_TEXT_BYTES];
    char plan[ID_TEXT_BYTES];
    char content_type[CONTENT_TYPE_BYTES]; /* of the request */
    char text[REASON_TEXT_BYTES];
    struct put_session session;
};

/** What an object resource says of itself. */
struct object_facts {
    int64_t generation;
    int64_t bytes;
    char crc32c[CRC_TEXT_BYTES];
    char plan[ID_TEXT_BYTES]; /* metadata penstock-plan, or "" */
    char log[160];            /* metadata penstock-log, or "" */
    bool gzip;                /* metadata penstock-bytes and penstock-crc32c are there: */
    uint64_t plain_bytes;
    uint32_t plain_crc32c;
};

/**
 * Whether an object may be written or deleted now, by the bucket's ramp. If not, r resumes when its
 * moment has come; *slot remembers that it has one.
 */
bool ramp_pass(struct gcs *g, struct request *r, bool *slot);

/** Tells the ramp of an answer that says it is too much. */
void ramp_heard(struct gcs *g, enum answer_class c, const struct http_answer *a);

/** Google's form of a CRC-32C: base64 of the four bytes, most significant first. */
void crc_text(uint32_t crc, char *out);

/** Reads that form. @return false when it is none. */
bool crc_parse(const char *text, uint32_t *out);

/** Reads metadata penstock-bytes and penstock-crc32c. @return false when the object is no gzip. */
bool plain_facts_read(struct json_value object, uint64_t *bytes, uint32_t *crc);

/** Appends "ENDPOINT/storage/v1/b/BUCKET/o/NAME". */
void object_url(struct text *t, const struct gcs_config *config, const char *name);

/** Reads an object resource. @return false when the answer is none. */
bool object_facts_read(struct span body, struct object_facts *out);

/** Cancels and frees a put. */
void put_op_destroy(struct put_op *op);

/** Sends what the state asks for. */
void put_run(struct put_op *op);

/** After a 412: looks at once what is there. */
void put_check_now(struct put_op *op);

/** An answer says that the object is stored: done when it is an object resource with our size and
 * checksum. */
void put_stored(struct put_op *op, const struct http_answer *a, bool recognised);

/** Ends the operation as permanent; before names what was refused. */
void put_fail(struct put_op *op, const char *before, const struct http_answer *a);

/** As put_fail(), for a reason of our own. */
void put_fail_because(struct put_op *op, const char *why);

/** An answer that is none, or a wrong one: looks at the object after a wait, and fails when it
 * happens too often. */
void put_odd_answer(struct put_op *op, const char *what);

/** How long a request of so many bytes may take. */
uint32_t put_timeout_ms(uint64_t bytes);

/** Sends what the state asks for: PUT_OPEN, PUT_CHUNK, PUT_ASK. */
void session_run(struct put_op *op);

/** Takes the answer to that. */
void session_answered(struct put_op *op, enum answer_class c, const struct http_answer *a);

/** Forgets the session, with a DELETE when the server may still keep it. */
void session_drop(struct put_op *op, bool cancel);

/** Frees what a session holds. */
void session_fini(struct put_session *s);

/**
 * Whether a session's address may be used: it belongs to the endpoint's own origin, or to Google's
 * by https. It gets our bytes and our credentials.
 */
bool session_url_good(const char *endpoint, struct span url);

/** Cancels and frees the cancelling of a session. */
void cancel_op_destroy(struct cancel_op *op);

/** Cancels and frees a read. */
void get_op_destroy(struct get_op *op);

/** Cancels and frees every deletion. */
void deletes_destroy(struct gcs *g);

#endif
