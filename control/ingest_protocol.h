/*
 * How `penstock ingest` sends documents over the daemon's unix socket: requests with a body, beside
 * those of protocol.h, answered in the same form.
 *
 *     request:  NAME BYTES\n BODY        BYTES decimal, of the body
 *     answer:   PENSTOCK STATUS BYTES\n BODY
 *
 *     ingest-sessions 0    lines "SESSION SEQ NOTE" of all that are known, in hex
 *     ingest-open N        body: lines KEY=VALUE: session (32 hex digits), name (shown in dead
 *                          letters as "file NAME"), type (optional: of every document);
 *                          answer: SEQ NOTE EVENT_MAX. From then on the connection takes only
 *     ingest-batch N       body: documents, each a struct ingest_doc_header and its bytes;
 *                          answer, when they are durable: ACCEPTED DEAD_LETTERED STORED_BEFORE, then
 *                          a line "INDEX REASON" for each of the first dead letters
 *
 * Batches may be sent ahead of their answers, which come in order. A document with a seq that is
 * not behind the session's last is stored already, and skipped. An answer with STATUS 1 begins with
 * a line that holds one of the INGEST_ERROR words, then a sentence; the connection is closed behind
 * it. Whoever lost an answer opens the session again and hears how far it has come.
 *
 * Included by tools/penstock. Numbers in bodies are decimal text, or little-endian in headers.
 */
#ifndef PENSTOCK_CONTROL_INGEST_PROTOCOL_H
#define PENSTOCK_CONTROL_INGEST_PROTOCOL_H

#include <stdint.h>

#define INGEST_SESSIONS "ingest-sessions"
#define INGEST_OPEN     "ingest-open"
#define INGEST_BATCH    "ingest-batch"

#define INGEST_SESSION_BYTES  16
#define INGEST_NAME_BYTES_MAX 96
#define INGEST_OPEN_BYTES_MAX 1024
#define INGEST_BATCH_BYTES    (512u << 10) /* of a batch with more than one document */
#define INGEST_DOCS_MAX       4096         /* of a batch */
#define INGEST_WINDOW         4            /* batches sent ahead of their answers */

#define INGEST_ERROR_BUSY     "busy"     /* somebody else has the session */
#define INGEST_ERROR_DRAINING "draining" /* the daemon takes no more events */
#define INGEST_ERROR_UNKNOWN  "unknown"  /* it cannot say yet how far the session is */
#define INGEST_ERROR_REFUSED  "refused"  /* trying again does not help */

/** In front of each document of a batch. */
struct ingest_doc_header {
    uint64_t seq;   /* rises from document to document */
    uint64_t note;  /* kept with seq */
    uint64_t line;  /* shown in dead letters; 0: none */
    uint64_t whole; /* its length; more than len: only its head is here */
    uint32_t len;   /* bytes that follow */
    uint32_t reserved;
};
_Static_assert(sizeof(struct ingest_doc_header) == 40, "on the wire");

#endif
