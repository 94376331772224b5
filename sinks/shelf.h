/*
 * Spooled plans in a sink thread: see shelf.c. Included only by sink.c, deliver.c, pause.c, insert_job.c,
 * resume.c and shelf.c.
 *
 * Thread: the sink's, but where said.
 */
#ifndef PENSTOCK_SHELF_H
#define PENSTOCK_SHELF_H

#include "sinks/sink_internal.h"

/** What is left in memory of a plan whose lines lie in the spool. */
struct spooled {
    struct spooled *next;
    struct shelf *shelf;
    uint64_t id, bytes, events;
    int64_t since_us;                /* monotonic: planned, or taken over */
    struct columns *columns;         /* of rows that rows.h makes, or NULL */
    struct columns_version *version; /* with columns: held */
    bool alarmed;                    /* its file could not be read: that has been said */
};

/** The spooled plans of one type that go one way. */
struct shelf {
    struct sink_spool_stats stats;
    struct shelf *next; /* all of the thread's; fixed once it can be seen */
    struct sink *sink;
    const struct type_route *route;
    struct insert_table *inserts; /* with SHELF_INSERT */
    uint8_t kind;                 /* enum shelf_kind */
    bool open;                    /* the last plan of its way was stored */
    int64_t try_us;               /* monotonic: while it is closed, the next try */
    int64_t lost_us;              /* monotonic: when lost files are looked for again */
    int64_t failed_us;            /* monotonic: a plan of it cannot be written; 0: never */
    struct spooled *first, *last; /* that wait, oldest first */
    struct spooled *lost;         /* whose files are missing or damaged */
    uint32_t n, n_lost;
    uint32_t under_way;     /* read back, and not on it */
    uint64_t bytes, events; /* of all of these */
    char text[REASON_TEXT_BYTES];
    char lost_text[REASON_TEXT_BYTES];
};

/** Spools what is parked if a journal is in need, and sends what may go again. */
void shelves_run(struct sink *s);

/** Whether a plan that could be sent goes to the spool instead: its way is known to be stopped. */
bool shelf_takes(struct delivery *d);

/** Sends such a plan there. */
void shelf_take_new(struct delivery *d, struct delivery_list *from);

/** Writes a plan that is on its way to the spool, and whose bytes are there. */
void shelf_write(struct delivery *d, struct delivery_list *from);

/** A plan cannot be read for the spool, or not now: it is as any other. */
void shelf_give_up(struct delivery *d);

/** A spooled plan was refused for good: back to its shelf, which is tried again after park_retry. May
 * free d. */
void shelf_park(struct delivery *d, struct delivery_list *from, const char *text);

/** A plan is held by a pause: a spooled one goes back to its shelf. @return whether it did: d is gone. */
bool shelf_holds(struct delivery *d, struct delivery_list *from);

/** A plan is finished, durably: its way is well, its file goes. */
void shelf_delivered(struct delivery *d);

/** Whether a plan older than id is about to leave a shelf by itself. */
bool shelves_have_before(const struct sink *s, uint64_t id);

/** Monotonic time of the oldest plan on a shelf, or now_us. */
int64_t shelves_oldest(const struct sink *s, int64_t now_us);

/** Spooled plans that wait for somebody to fix something. */
uint64_t shelves_parked(const struct sink *s);

/** Adds the shelves that hold something to a report. */
void shelves_report(const struct sink *s, struct sink_report *out);

/** Takes over a spooled plan of before the start. Thread: init. @return 0 or -ENOMEM. */
int shelf_resume(struct sink *s, const struct plan *plan, const char *text) WARN_UNUSED;

/** Frees everything, when the spool's thread has ended. Thread: control. */
void shelves_destroy(struct sink *s);

#endif
