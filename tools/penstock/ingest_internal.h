/* Inside of `penstock ingest`, shared by its files: options, sending, progress. */
#ifndef PENSTOCK_TOOLS_INGEST_INTERNAL_H
#define PENSTOCK_TOOLS_INGEST_INTERNAL_H

#include <signal.h>
#include <stdio.h>

#include "tools/penstock/documents.h"
#include "tools/penstock/ingest_identity.h"
#include "tools/penstock/ingest_wire.h"

#define INGEST_LISTED_MAX 10 /* dead letters that are printed, a file */

/* Exit statuses. */
enum { INGEST_DONE = 0, INGEST_ERROR = 1, INGEST_USAGE = 2, INGEST_DEAD = 3, INGEST_STOPPED = 130 };

/** The command line. */
struct ingest_options {
    const char *socket;
    const char *type;    /* NULL: from the events */
    const char *session; /* NULL: from the file */
    uint64_t rate;       /* documents a second; 0: as fast as it goes */
    double wait_s;       /* for a daemon that is away */
    bool again, dry_run, json, quiet;
    char **files;
    int n_files;
};

/** What became of documents: of one file, or of all. */
struct ingest_counts {
    uint64_t documents; /* read now, but for those that were stored before */
    uint64_t accepted, dead;
    uint64_t unknown; /* stored, but the answer was lost */
    uint64_t before;  /* stored by an earlier run */
    uint64_t bytes;   /* expanded */
    double seconds;
};

/** A batch that has been sent, or is being filled. */
struct ingest_outgoing {
    char *buf;
    size_t len, cap;
    uint32_t n_docs;
    uint64_t first_seq, last_seq;
    uint64_t *line; /* of INGEST_DOCS_MAX */
};

/** Progress on stderr. */
struct ingest_progress {
    bool tty, quiet, shown;
    int64_t began_us, next_us;
    int file, n_files;
    const char *name;
    const struct documents *reading;
    const struct ingest_counts *counts;
};

/** One file on its way to the daemon. */
struct ingest_sender {
    const struct ingest_options *options;
    struct wire wire;
    uint8_t session[INGEST_SESSION_BYTES];
    const char *name;                  /* for people */
    char shown[INGEST_NAME_BYTES_MAX]; /* for dead letters */
    uint64_t last_seq, last_note;      /* as the daemon said when it was opened */
    uint64_t event_max;
    struct ingest_outgoing
        batch[INGEST_WINDOW + 1]; /* oldest first; the last one is being filled */
    uint32_t n_sent;
    struct ingest_counts *counts;
    struct ingest_progress *progress;
    uint32_t listed;      /* dead letters that were printed */
    int64_t rate_from_us; /* when the first batch was sent; 0: not yet */
};

/** Set by SIGINT and SIGTERM. */
extern volatile sig_atomic_t ingest_stop;

/* ---- ingest_send.c ---- */

/** Sets a sender up, not connected. @return 0 or -ENOMEM. */
int sender_init(struct ingest_sender *s, const struct ingest_options *o) WARN_UNUSED;

/** Frees it. */
void sender_fini(struct ingest_sender *s);

/**
 * Opens the session; tries again for a while when the daemon is away, if it has been there before
 * (again), or when the session is in use.
 * @return WIRE_OK with last_seq, last_note, event_max; else s->wire.error says why.
 */
enum wire_result sender_open(struct ingest_sender *s, bool again);

/** Asks for all sessions that the daemon knows; the answer stands in s->wire.body. again: as above. */
enum wire_result sender_sessions(struct ingest_sender *s, bool again);

/** Takes a document; sends what is full and takes answers. */
enum wire_result sender_add(struct ingest_sender *s, const struct document *doc, uint64_t note);

/** Sends what is there, and waits for all answers if wait. */
enum wire_result sender_flush(struct ingest_sender *s, bool wait);

/* ---- ingest_progress.c ---- */

/** Shows progress when it is due; waiting says what is waited for, or NULL. */
void progress_show(struct ingest_progress *p, const char *waiting);

/** Ends the line that is being rewritten, before something else is printed. */
void progress_clear(struct ingest_progress *p);

/** Microseconds of the monotonic clock. */
int64_t progress_now_us(void);

/** Prints the sum of a file, or of all when name is NULL, as text. */
void progress_sum(FILE *to, const char *name, const struct ingest_counts *c);

/* ---- ingest.c ---- */

/** Runs `penstock ingest`; argv[0] is "ingest". @return the exit status. */
int ingest_main(const char *socket, bool json, int argc, char **argv);

#endif
