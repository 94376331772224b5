/*
 * Who may deliver what is in a data directory. A copy of it, running elsewhere, would deliver what is
 * not planned yet a second time; only something that both see can tell: an object in the bucket,
 * penstock/owner/NODE/LOG.txt, which is written on condition of its generation.
 *
 * Each start makes a token, writes it to DATA_DIR/owner, claims the object with it, and then renews it.
 * Whoever finds a token there that its own file does not know is a copy, or has been copied: it is LOST,
 * and sends nothing more.
 *
 *     ASKING --free, or ours--------------------------------> HELD --renewed every renew_us--> HELD
 *        |---ours, but perhaps still in use elsewhere: waits      |---another token---------> LOST
 *        |   for three renewals that do not come                  `---no answer: HELD, tried again
 *        |---another token, or ahead of our journals -----------> LOST (--adopt: taken over)
 *        |---no answer: asks again, nothing is sent
 *        `---refused for good, so nothing can be told ----------> UNKNOWN: sends, asks again later
 *
 * Thread: one sink thread runs it; what any thread may ask is atomic, or says so.
 */
#ifndef PENSTOCK_OWNER_H
#define PENSTOCK_OWNER_H

#include <stdatomic.h>

#include "dataplane/base/lsn.h"
#include "sinks/engine/retry.h"
#include "sinks/owner/owner_file.h"

#define OWNER_POSITIONS_MAX 64 /* journals */

enum owner_state {
    OWNER_OFF, /* by configuration */
    OWNER_ASKING,
    OWNER_HELD,
    OWNER_UNKNOWN,
    OWNER_LOST
};

/** How far a journal of this directory is. */
struct owner_position {
    struct journal_uuid journal;
    lsn_t durable;
    lsn_t floor; /* recorded: everything in front of it is planned */
};

struct owner_config {
    const char *bucket;
    const char *node;
    const char *log;      /* the delivery log's id */
    const char *data_dir; /* for the place, and for messages */
    int64_t renew_us;
    bool adopt;
    /** Tells the i-th journal's position, as it is durable now. Thread: any. @return false past the
     * last one. */
    bool (*position)(void *ctx, uint32_t i, struct owner_position *out);
    void *ctx;
};

struct owner;
struct gcs;

/**
 * Creates it. file is borrowed; texts too.
 * Thread: init.  Owner: caller, until owner_destroy().
 * @return 0 or -errno.
 */
int owner_create(const struct owner_config *config, struct owner_file *file,
                 struct owner **out) WARN_UNUSED;

/** Frees it; its sink thread has ended, and has detached it. NULL is allowed. */
void owner_destroy(struct owner *o);

/** Binds it to a sink thread's client. Thread: init. */
void owner_attach(struct owner *o, struct gcs *gcs);

/** Cancels what is under way. Thread: init, control, when the sink thread has ended. */
void owner_detach(struct owner *o);

/** Goes on: to be called often. Thread: the sink thread that it is attached to. */
void owner_run(struct owner *o, int64_t now_us);

/** Asks for the claim to be given up, so that another machine need not wait. Thread: control. */
void owner_release(struct owner *o);

/** Whether that is done, or will not be. Thread: any. */
bool owner_released(const struct owner *o);

/** Thread: any. */
enum owner_state owner_state(const struct owner *o);

/** Whether the bucket was asked once and gave no answer. Thread: any. */
bool owner_is_away(const struct owner *o);

/** Why it is so, for people, or "". out holds REASON_TEXT_BYTES. Thread: any. */
void owner_text(struct owner *o, char *out);

/** Whether things may be sent to the cloud. Thread: any. */
bool owner_may_send(const struct owner *o);

#endif
