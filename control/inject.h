/*
 * Injecting documents exactly once, for backfill (`penstock ingest`) and for the replay of dead
 * letters.
 *
 * A session is 16 bytes that its user chooses and finds again after a crash, with a number, seq,
 * that rises from document to document (or from batch to batch). Its newest durable seq is kept in
 * the very commit block that holds the document, and from there in the delivery log: so whoever
 * opens the session again, after a kill -9 of anybody, hears exactly how far it has come. The
 * 16,384 sessions used last are known; one that is older begins anew.
 *
 *     inject_open ─ last_seq ─> inject_batch ... inject_batch ─> inject_close
 *                          └──> inject_submit, inject_submit ... inject_finish ...
 *
 * A session has one holder at a time. Sessions are spread over the workers; all batches of one go
 * to the same worker, where they are stored in order. Live requests are served first: a batch waits
 * for room in the journal, without a limit of time, until it is cancelled or the daemon drains.
 */
#ifndef PENSTOCK_CONTROL_INJECT_H
#define PENSTOCK_CONTROL_INJECT_H

#include "control/daemon.h"
#include "dataplane/inject.h"

#define INJECT_SESSION_BYTES 16
#define INJECT_IN_FLIGHT_MAX 8 /* batches of one session submitted and not finished */

struct inject_session;

/** Sets injections up; nothing is read yet. Thread: init. Owner: the daemon. @return 0 or -ENOMEM. */
int inject_start(struct daemon *d) WARN_UNUSED;

/** Frees it. NULL is allowed. Thread: control, when no session is open. */
void inject_stop(struct inject *i);

/**
 * Takes a session for the caller alone. The first call after a start may take a moment: it looks
 * through the blocks that are not delivered yet.
 * Thread: control.  Alloc: yes.  Owner: caller, until inject_close().
 * @param last_seq everything up to it is stored, durably; 0: nothing is.
 * @return 0; -EBUSY when somebody else holds it; -EAGAIN when it cannot be known yet; -ESHUTDOWN
 * while draining; -EINVAL for all zeros; -ENOMEM; with one sentence.
 */
int inject_open(struct daemon *d, const uint8_t session[INJECT_SESSION_BYTES],
                struct inject_session **out, uint64_t *last_seq, char *error,
                size_t error_len) WARN_UNUSED;

/** The note that was stored with last_seq. Thread: the session's holder. */
uint64_t inject_note(const struct inject_session *s);

/** How many of these documents one inject_batch() can take; at least one. Thread: any. */
uint32_t inject_fits(const struct daemon *d, const struct inject_doc *doc, uint32_t n_docs);

/**
 * Stores documents, all of them under seq or, if that cannot be, none; seq and note of each are
 * ignored. Blocks until they are durable.
 * Thread: the session's holder.  Alloc: yes.
 * @param result accepted, dead-lettered with the index of each.
 * @return 0; -EALREADY when this seq is stored; -ESHUTDOWN while draining: nothing is stored; -E2BIG
 * for more than inject_fits(), or a document larger than the largest event; -EIO when the daemon
 * stops before it knows; with one sentence.
 */
int inject_batch(struct inject_session *s, uint64_t seq, const struct inject_doc *doc,
                 uint32_t n_docs, struct ingest_result *result, char *error,
                 size_t error_len) WARN_UNUSED;

/**
 * Hands documents in, each with its own seq, and does not wait. Each is stored in order, several in
 * one block if they fit. At most INJECT_IN_FLIGHT_MAX may be under way.
 * Thread: the session's holder.  Alloc: yes.  Owner: doc and its bytes are borrowed until
 * inject_finish(); *out is the caller's until then.
 * @return 0; -EALREADY when all are stored; -E2BIG; -ESHUTDOWN; -ENOMEM; with one sentence.
 */
int inject_submit(struct inject_session *s, const struct inject_doc *doc, uint32_t n_docs,
                  struct injection **out, char *error, size_t error_len) WARN_UNUSED;

/** Whether a batch is done; waits up to timeout_us. Thread: the session's holder. */
bool inject_done(struct injection *i, int64_t timeout_us);

/**
 * Waits for the oldest batch that was submitted and frees it. Cancelled: what has not been stored
 * yet will not be.
 * Thread: the session's holder.
 * @param result of the documents that were stored now; indexes count from the first one submitted.
 * @return 0 when all are; -ECANCELED, -ESHUTDOWN: inject_last() tells how far it came; -EIO.
 */
int inject_finish(struct inject_session *s, struct injection *i, bool cancel,
                  struct ingest_result *result);

/** The newest seq of this session that is durable. Thread: the session's holder. */
uint64_t inject_last(const struct inject_session *s);

/** Gives the session back; nothing of it is under way. Thread: its holder. */
void inject_close(struct inject_session *s);

/** Called for each session that is known. */
typedef void (*inject_visitor)(void *ctx, const struct block_mark *mark);

/** Visits all sessions that are known, each once. @return as inject_open(). Thread: control. */
int inject_each(struct daemon *d, inject_visitor visit, void *ctx, char *error, size_t error_len);

#endif
