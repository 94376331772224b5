/*
 * Groups: lines of one key (type, minute, ...) gathered in chunks of a fixed pool until they are
 * planned.
 *
 * A group keeps the lines of each journal apart, in LSN order: so a plan's bytes are the same when
 * they are read again from the journals.
 *
 * Thread: the sink thread that owns the table.
 */
#ifndef PENSTOCK_GROUP_H
#define PENSTOCK_GROUP_H

#include <sys/uio.h>

#include "dataplane/base/span.h"
#include "sinks/delivery/plan.h"

#define CHUNK_BYTES 16384

/** A piece of group memory. */
struct chunk {
    struct chunk *next;
    uint32_t used;
    uint32_t taken; /* by group_read() */
    char data[CHUNK_BYTES - 16];
};
static_assert(sizeof(struct chunk) == CHUNK_BYTES, "chunks fill the pool");

/** All group memory of a sink thread. */
struct chunk_pool {
    char *memory;
    uint64_t memory_bytes;
    struct chunk *free; /* given back, the last one first: it is still in the cache */
    uint32_t n_used;    /* from the start of the memory; behind them no chunk was taken yet */
    uint32_t n_free, n_total;
};

/*
 * Which lines of a chain were left out: pairs of varints, how many lines are kept and how many behind
 * them are left out; after the last pair all are kept.
 */
struct skips {
    uint8_t *pairs; /* heap; NULL while nothing is left out */
    uint32_t len, room;
    uint64_t kept, skipped; /* the pair under way */
};

/** Lines of one journal. */
struct chain {
    struct chunk *first, *last;
    uint64_t bytes;
    lsn_t from, to;   /* of the first line; behind the last. Lines that are left out count */
    lsn_t from_block; /* block that holds the first line */
    struct skips skips;
};

/** Whether a chain has lines, be they left out. Thread: any. */
static inline bool chain_used(const struct chain *c)
{
    return c->to != 0;
}

/** An open group, or the content of a plan. */
struct group {
    struct plan_key key;
    struct group *next_hash;
    struct group *prev, *next; /* by age */
    int64_t opened_us;         /* monotonic */
    uint64_t bytes, lines, events;
    uint64_t removed;    /* events that this plan accounts for as duplicates */
    uint32_t skip_bytes; /* of all chains */
    uint32_t n_chunks;
    uint32_t n_journals;
    struct chain chain[]; /* by journal index */
};

/** The open groups of a sink thread. */
struct group_table {
    struct chunk_pool *pool;
    uint32_t n_journals;
    uint32_t n;
    uint32_t mask;
    struct group **bucket;
    struct group *oldest, *newest; /* NULL: no group */
};

/** Takes bytes of memory for chunks. Thread: init. @return 0 or -ENOMEM. */
int chunk_pool_create(struct chunk_pool *p, uint64_t bytes) WARN_UNUSED;

/** mem_populate() for it; the sink thread may use it meanwhile. Thread: any. */
int chunk_pool_populate(struct chunk_pool *p, const _Atomic bool *stop) WARN_UNUSED;

/** Frees it. Thread: control, when the sink thread has ended. */
void chunk_pool_destroy(struct chunk_pool *p);

/** Takes a chunk; what is in it is undefined. Owner: caller, until chunk_give(). @return NULL when none is
 * free. */
struct chunk *chunk_take(struct chunk_pool *p);

/** Gives a chunk back; one that group_write() overdrew goes to the heap. */
void chunk_give(struct chunk_pool *p, struct chunk *c);

/** Chunks that appending len bytes to a chain may need at most. */
uint32_t chunks_for(size_t len);

/** Sets the table up. Thread: init. @return 0 or -ENOMEM. */
int group_table_create(struct group_table *t, struct chunk_pool *pool,
                       uint32_t n_journals) WARN_UNUSED;

/** Frees every open group and the table. Thread: control. */
void group_table_destroy(struct group_table *t);

/** Finds the open group of a key, or opens one. @return NULL without memory. */
struct group *group_get(struct group_table *t, const struct plan_key *key, int64_t now_us);

/** Finds the open group of a key. @return NULL when there is none. */
struct group *group_find(const struct group_table *t, const struct plan_key *key);

/** Takes a group out of the table; the caller owns it until group_free(). */
void group_take(struct group_table *t, struct group *g);

/** A group outside any table, for reading a plan's lines again. @return NULL without memory. */
struct group *group_new(const struct plan_key *key, uint32_t n_journals);

/** Where a line comes from. */
struct line_place {
    uint32_t journal; /* index */
    lsn_t block;      /* of its block */
    uint32_t offset;  /* in the block */
    uint32_t len;     /* in the journal */
    bool counts;      /* whether it is an event of its own */
};

/** Appends one line; the pool holds chunks_for(line.len). */
void group_append(struct chunk_pool *pool, struct group *g, const struct line_place *place,
                  struct span line);

/** Makes room for one line that is left out of any chain. @return false without memory. */
bool group_skip_room(struct group *g, uint32_t journal) WARN_UNUSED;

/**
 * Notes that a line of the group's key is left out; group_skip_room() said that there is room.
 * @param counts whether the group accounts for it: then its range includes the line.
 */
void group_skip(struct group *g, const struct line_place *place, bool counts);

/** Ends the pair under way in every chain: the group is planned. */
void group_skips_end(struct group *g);

/** A reader of skips. Zero it, then set pairs and end. */
struct skip_reader {
    const uint8_t *pairs, *end;
    uint64_t _kept, _skipped;
};

/** Whether the next line is left out. */
bool skip_next(struct skip_reader *r);

/**
 * Takes the first n bytes of a chain out of its group; emptied chunks go back to the pool. For
 * rewriting a group: the chain's bytes are taken off and read to their end, rows come in their
 * place by group_write().
 * @param buf receives them.
 */
void group_read(struct chunk_pool *pool, struct group *g, struct chain *from, char *buf, size_t n);

/**
 * Puts bytes behind those of a chain of g, as part of lines that it has. Where the pool has no chunk
 * left it is overdrawn from the heap: what group_read() gave back was nearly as much.
 */
void group_write(struct chunk_pool *pool, struct group *g, struct chain *to, struct span bytes);

/** Gives an empty group chunks for so many bytes, whose content is to be filled in: see group_iovec(). */
void group_room(struct chunk_pool *pool, struct group *g, uint64_t bytes);

/** Gives an open group another schema hash; there is none of that key yet. */
void group_rename(struct group_table *t, struct group *g, uint32_t schema_hash);
/** A place in a group's content, for reading it line by line. Zero it to begin. */
struct group_cursor {
    const struct chunk *_chunk;
    uint32_t _journal;
    uint32_t _at;
    bool _begun;
};

/** The length of the line at the cursor, its final '\n' included; 0 at the end. */
size_t group_line_len(const struct group *g, struct group_cursor *c);

/** Moves the cursor over that line, and copies it to out when that is not NULL. */
void group_line_take(const struct group *g, struct group_cursor *c, size_t len, char *out);

/** The content as I/O vectors, in journal order; iov holds g->n_chunks. @return how many. */
uint32_t group_iovec(const struct group *g, struct iovec *iov);

/** CRC-32C of the content. */
uint32_t group_crc32c(const struct group *g);

/** Gives the chunks back and frees the group. NULL is allowed. */
void group_free(struct chunk_pool *pool, struct group *g);

/** Sets a key up from its parts. type is at most TYPE_NAME_BYTES_MAX long. */
void plan_key_init(struct plan_key *key, struct span type, enum plan_kind kind);

#endif
