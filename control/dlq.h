/*
 * Dead letters: `penstock dlq list|show|replay|drop`. Letters lie in objects under dead_letter/ in
 * the bucket, written by the sink threads; what has become of each is in DATA_DIR/dlq.db.
 *
 * Thread: control, any number at a time; commands that change something take turns.
 */
#ifndef PENSTOCK_CONTROL_DLQ_H
#define PENSTOCK_CONTROL_DLQ_H

#include "control/dlq_db.h"
#include "control/textbuf.h"

#define DLQ_ERROR_BYTES 1024 /* an error in words, with its NUL */

struct daemon;
struct dlq;

/**
 * Opens the database. One that cannot be used stops no daemon: the commands say why.
 * Thread: init.  Owner: caller, until dlq_close().  @return 0 or -ENOMEM.
 */
int dlq_open(const char *data_dir, struct dlq **out) WARN_UNUSED;

/** Settles, on a thread of its own, what a replay left open when the daemon was killed. Thread:
 * init. */
void dlq_start(struct dlq *q, struct daemon *d);

/** Closes it; no command runs any more. NULL is allowed. Thread: control. */
void dlq_close(struct dlq *q);

/**
 * The database; one that could not be opened at the start is tried again, once a second at most.
 * Thread: control, after dlq_start().  Owner: q.
 * @return NULL when it cannot be used: then why says why.
 */
struct dlq_db *dlq_db_of(struct dlq *q, char *why, size_t why_len);

/** What has become of the letters; out stays as it is while the database cannot be used. Thread:
 * control. */
void dlq_counts(struct dlq *q, struct dlq_counts *out);

/**
 * Runs a command.
 * @param words what stands behind "dlq", see dlq_options.h.
 * @param uid who asks.
 * @param client_fd where: what takes long ends when it hangs up.
 * @return the exit status; body receives the answer. Thread: control.
 */
int dlq_run(struct daemon *d, struct span words, bool json, uint32_t uid, int client_fd,
            struct textbuf *body) WARN_UNUSED;

#endif
