/*
 * The ids that were taken lately: a ring of the last ids_max of them, in the order of taking, with an
 * open-addressing index. Exact: an id is there or not, by 128 bits of keyed hash.
 *
 * Entries leave when they are older than the window, and the oldest one when the ring is full; that
 * is counted when it was within the window: the window has shrunk.
 *
 *     ring   [tail ... next)   hash and time, 24 bytes each
 *     index  2^bits slots of 8 bytes: upper half of the slot a tag whose first bits are its home,
 *            lower half the place in the ring plus 1; linear probing, backward-shift deletion
 *
 * Thread: its owner only.  Memory: all taken by id_window_create().
 */
#ifndef PENSTOCK_DEDUPE_IDWINDOW_H
#define PENSTOCK_DEDUPE_IDWINDOW_H

#include "dataplane/base/compiler.h"
#include "sinks/dedupe/idhash.h"

#define ID_WINDOW_MAX 1000000000u /* ids */

/** An id that was taken. */
struct id_entry {
    struct id_hash hash;
    int64_t time_us; /* wall clock: when its block was sealed */
};

/** Private but for reading. */
struct id_window {
    uint32_t ids_max;
    uint32_t bits;
    int64_t window_us;
    struct id_entry *ring;
    uint64_t *slot;
    uint64_t tail, next; /* positions since creation; next - tail ids are there */
    uint64_t evicted;    /* that left within the window, because there was no room */
    int64_t evicted_us;  /* the latest time of these: ids up to it are not known any more */
};

/** Memory that a window of so many ids takes. Thread: any. */
uint64_t id_window_bytes(uint32_t ids_max);

/** Takes the memory. @return 0 or -ENOMEM. */
int id_window_create(struct id_window *w, uint32_t ids_max, int64_t window_us) WARN_UNUSED;

/** mem_populate() for it; the owner may use it meanwhile. Thread: any. */
int id_window_populate(struct id_window *w, const _Atomic bool *stop) WARN_UNUSED;

/** Frees it. */
void id_window_destroy(struct id_window *w);

/** Brings the place of a hash into the cache. */
void id_window_prefetch(const struct id_window *w, struct id_hash h);

/** Whether an equal id was taken less than the window before or after time_us. */
bool id_window_has(const struct id_window *w, struct id_hash h, int64_t time_us);

/** Takes an id; when the ring is full the oldest leaves. now_us tells whether that one counts as
 * evicted. */
void id_window_add(struct id_window *w, struct id_hash h, int64_t time_us, int64_t now_us);

/** Lets the ids go that were taken in front of position to. */
void id_window_drop(struct id_window *w, uint64_t to, int64_t now_us);

/** Lets ids go that no event of low_us or later can meet. */
void id_window_expire(struct id_window *w, int64_t low_us);

/** The time of the oldest id, INT64_MAX without ids. */
int64_t id_window_oldest(const struct id_window *w);

#endif
