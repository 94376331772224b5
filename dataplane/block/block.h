/*
 * Commit blocks: runs of events of all types, the unit of journal writes.
 *
 * A worker appends lines to its open block and puts a reference to each (offset, length, minute,
 * flags) into the reference ring of its type; sealing writes the references out ring by ring, so
 * that a block on disk lists its lines by type. Layout, little-endian:
 *
 *     [header 128 B][lines ...][pad to 8][entries, grouped by run][runs][run names][zeros up to 4
 * KiB]
 *
 * The CRC32C covers all of it, the header's journal UUID and LSN included, so recycled bytes never
 * pass.
 */
#ifndef PENSTOCK_BLOCK_H
#define PENSTOCK_BLOCK_H

#include <stdatomic.h>

#include "dataplane/base/compiler.h"
#include "dataplane/base/lsn.h"
#include "dataplane/base/span.h"

#define BLOCK_MAGIC   0x31425350u /* "PSB1" */
#define BLOCK_VERSION 1
#define BLOCK_ALIGN   4096
#define BLOCK_ENTRIES_MAX \
    16384 /* references in one block: about twice what 1 MiB of the smallest lines needs */
#define BLOCK_NONE UINT32_MAX

/* What a line is. */
enum block_kind { BLOCK_EVENT, BLOCK_DEAD };

/* Flags of an entry. */
#define BLOCK_ENTRY_LATE     0x01 /* older than the allowed lateness */
#define BLOCK_ENTRY_BAD_TIME 0x02 /* no usable time: the receive time stands in */
#define BLOCK_ENTRY_PART     0x04 /* a further part of a dead letter: does not count as an event */
#define BLOCK_ENTRY_ROWS \
    0x08 /* its row is made by rows.h: no column was cut or checked but the schema's */

#define BLOCK_ENTRY_REPLAY \
    0x10 /* a dead letter that is taken in again on purpose: never removed as a duplicate */

/** On disk, at the start of a block. */
struct block_header {
    uint32_t magic;
    uint16_t version;
    uint16_t header_bytes;
    uint32_t crc32c; /* of the block with this field 0 */
    uint32_t len;    /* of the whole block, a multiple of BLOCK_ALIGN */
    uint8_t uuid[16];
    uint64_t lsn;           /* of this block */
    uint64_t prev_end;      /* LSN where the previous block ends, perhaps in an earlier segment */
    uint64_t durable;       /* end of the contiguous durable prefix known at sealing */
    uint64_t events_before; /* events of this journal in earlier blocks, ever */
    int64_t sealed_us;      /* wall clock */
    uint32_t events;        /* entries but for BLOCK_ENTRY_PART */
    uint32_t entries_offset;
    uint32_t n_entries;
    uint32_t runs_offset;
    uint32_t n_runs;
    uint32_t names_offset;
    struct block_mark {
        uint8_t session[16]; /* all zero: no mark */
        uint64_t seq;        /* everything of the session up to it is in this block or before */
        uint64_t note;       /* the session's own */
    } mark;                  /* blocks written before there were marks hold zeros */
};
static_assert(sizeof(struct block_header) == 128, "on-disk layout");

/** On disk: one line. */
struct block_entry {
    uint32_t offset; /* from the start of the block */
    uint32_t len;    /* with its final '\n' */
    int32_t minute;  /* event time, minutes since the epoch */
    uint16_t added;  /* bytes of the added fields in front of the last '}' */
    uint8_t flags;   /* BLOCK_ENTRY_* */
    uint8_t reserved;
    uint32_t _next; /* while open: the next entry of the same ring; 0 on disk */
};
static_assert(sizeof(struct block_entry) == 20, "on-disk layout");

/* Flags of a run. */
#define BLOCK_RUN_INSERT 0x01 /* its events go to BigQuery by insertAll */

/** On disk: the entries of one type in one block (a type run). */
struct block_run {
    uint32_t first; /* index of its first entry */
    uint32_t n_entries;
    uint32_t name_offset; /* from the start of the block */
    uint32_t schema_hash; /* 0 without a schema */
    uint8_t name_len;     /* 0: dead letters of unknown type */
    uint8_t kind;         /* enum block_kind */
    uint8_t flags;        /* BLOCK_RUN_* */
    uint8_t reserved[5];
};
static_assert(sizeof(struct block_run) == 24, "on-disk layout");

/**
 * The reference ring of one type and kind. It holds references, not bytes: entries are chained through
 * the block's own entry array. What changes with each line is in the open block, ring after ring as
 * they came, so that with many types sealing does not go through all of their memory again.
 */
struct block_ring {
    struct span name; /* borrowed, at least as long as any block is open */
    uint32_t schema_hash;
    uint8_t kind;        /* enum block_kind */
    uint8_t flags;       /* BLOCK_RUN_* */
    uint32_t _run;       /* which of the block's is its own, if that one says so too */
    uint64_t _block_seq; /* the block that it last had lines in */
};

/* A ring's part of the open block, at the end of its memory, the first one last. */
struct block_open_run {
    const struct block_ring *ring;
    const char *name;
    uint32_t head, tail, count;
    uint32_t schema_hash;
    uint8_t name_len, kind, flags;
};

struct rte_ring;

/** A block in memory. Fields without '_' may be read by whoever holds the block. */
struct block {
    char *buf; /* capacity bytes, aligned to BLOCK_ALIGN */
    uint32_t capacity;
    uint32_t full_bytes; /* sealed when its lines reach this */
    int buf_index;       /* as registered buffer, or -1 */
    uint64_t seq;        /* counts the worker's blocks since start; set by block_open() */
    lsn_t lsn;
    uint32_t len; /* on disk; set by block_seal() */
    uint32_t n_entries;
    uint32_t events;
    uint32_t _data_end;
    uint32_t _n_runs;
    uint32_t _names_bytes;
    struct block_mark _mark;
    struct block_entry *_entries;
    struct rte_ring *_returns; /* of the worker it belongs to */
    _Atomic uint32_t _refs;
};

/** What sealing needs to know of the journal. */
struct block_seal {
    const struct journal_uuid *uuid;
    lsn_t prev_end;
    lsn_t durable;
    uint64_t events_before;
    int64_t now_us;
};

/** What one appended line is. */
struct block_line {
    uint32_t len;
    int32_t minute;
    uint16_t added;
    uint8_t flags;
};

/* ---- the worker's side ---- */

/**
 * Sets a block up on memory that the caller owns: buf of capacity bytes and BLOCK_ENTRIES_MAX
 * entries. Thread: init.
 */
void block_init(struct block *b, char *buf, uint32_t capacity, uint32_t full_bytes,
                struct block_entry *entries, struct rte_ring *returns);

/** Capacity that blocks need: full_bytes of lines, one more line, and the directory. Thread: any.
 */
uint32_t block_capacity(uint32_t full_bytes, uint32_t line_bytes_max);

/** Empties a block for new lines. Thread: worker. */
void block_open(struct block *b, uint64_t seq, lsn_t lsn);

/** Whether a line of at most len bytes of this ring still fits. Thread: worker. */
bool block_fits(const struct block *b, const struct block_ring *ring, uint32_t len);

/**
 * Whether lines that take `bytes` in all, in `lines` references and `runs` new runs with type names
 * of any length, certainly fit. Thread: worker.
 */
bool block_has_room(const struct block *b, uint64_t bytes, uint32_t lines, uint32_t runs);

/** True when the block should be sealed. Thread: worker. */
bool block_is_full(const struct block *b);

/** Where the next line goes; block_fits() holds for what will be written. Thread: worker. */
char *block_tail(struct block *b);

/** LSN of the next line. Thread: worker. */
lsn_t block_tail_lsn(const struct block *b);

/** Takes the line that was written at block_tail() and references it in ring. Thread: worker. */
void block_commit(struct block *b, struct block_ring *ring, const struct block_line *line);

/**
 * Whether the open block may take a mark of this session: it has none, or an earlier one of the same.
 * Thread: worker.
 */
bool block_takes_mark(const struct block *b, const struct block_mark *mark);

/** Sets the mark of an open block with lines; it becomes durable with them. Thread: worker. */
void block_set_mark(struct block *b, const struct block_mark *mark);

/** Writes the directory and the header; the block is ready for the disk. Thread: worker. */
void block_seal(struct block *b, const struct block_seal *seal);

/**
 * Gives an open or sealed block another place: patches the LSN in every line. A sealed block must
 * be sealed anew with block_reseal(). Thread: worker.
 */
void block_move(struct block *b, lsn_t lsn);

/** Writes header and CRC again after block_move(). Thread: worker. */
void block_reseal(struct block *b, const struct block_seal *seal);

/* ---- references ---- */

/** Sets the number of holders. Partner: block_release(). Thread: worker. */
void block_hold(struct block *b, uint32_t holders);

/** Gives one reference up; the last one returns the block to its worker. Thread: any. */
void block_release(struct block *b);

/* ---- the reader's side ---- */

/** A verified block, in memory or read from disk. */
struct block_view {
    const char *buf;
    const struct block_header *header;
    const struct block_entry *entries;
    const struct block_run *runs;
};

/**
 * Verifies a block of a journal at an LSN: magic, version, bounds, UUID, LSN, CRC, and that every
 * entry and run lies inside. Thread: any.  Alloc: none.  buf is aligned to 8.
 * @return 0; -EAGAIN when the block is longer than len (see block_len_hint()); -EBADMSG when it is
 * none.
 */
int block_view(const char *buf, size_t len, const struct journal_uuid *uuid, lsn_t lsn,
               struct block_view *out) WARN_UNUSED;

/**
 * Reads a header alone, for walking over blocks that are known to be durable: magic, version, UUID
 * and LSN are compared, the CRC is not. Thread: any.  Alloc: none.  buf is aligned to 8.
 * @return 0 with the block's length and mark; -EBADMSG.
 */
int block_peek(const char *buf, size_t len, const struct journal_uuid *uuid, lsn_t lsn,
               uint32_t *block_len, struct block_mark *mark) WARN_UNUSED;

/** The view of a block that this process sealed: not verified again. Thread: any. */
void block_view_own(const struct block *b, struct block_view *out);

/** The length that a header claims, for reading more; 0 when it cannot be one. Thread: any. */
uint32_t block_len_hint(const char *buf, size_t len);

/** Whether a mark is none. Thread: any. */
static inline bool block_mark_empty(const struct block_mark *m)
{
    static const uint8_t none[sizeof(m->session)];

    return memcmp(m->session, none, sizeof(none)) == 0;
}

/** A run's type name. Thread: any. */
static inline struct span block_run_name(const struct block_view *v, const struct block_run *r)
{
    return (struct span){.ptr = v->buf + r->name_offset, .len = r->name_len};
}

#endif
