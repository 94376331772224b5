/* HOT. Commit blocks: appending lines, the per-type reference rings, sealing. */
#include "dataplane/block/block.h"

#include <errno.h>
#include <rte_ring.h>

#include "dataplane/base/crc32c.h"
#include "dataplane/event/assemble.h"

#define BYTES_AHEAD 2048u
#define RUNS_AHEAD  8 /* names that are on their way into the cache */

/* Room for the directory of a block with this many entries, runs and name bytes: lines and entries
 * are both padded to 8. The runs stand at the end of the memory until they are written. */
static uint32_t directory_bytes(uint32_t entries, uint32_t runs, uint32_t names)
{
    return (uint32_t)(16 + entries * sizeof(struct block_entry) +
                      runs * (sizeof(struct block_run) + sizeof(struct block_open_run)) + names);
}

static struct block_open_run *open_run(const struct block *b, uint32_t i)
{
    return (struct block_open_run *)(void *)(b->buf + b->capacity) - 1 - i;
}

/* Its lines of this block; NULL before the first one. */
static struct block_open_run *run_of(const struct block *b, const struct block_ring *ring)
{
    if (ring->_block_seq != b->seq || ring->_run >= b->_n_runs ||
        open_run(b, ring->_run)->ring != ring)
        return NULL;
    return open_run(b, ring->_run);
}

void block_init(struct block *b, char *buf, uint32_t capacity, uint32_t full_bytes,
                struct block_entry *entries, struct rte_ring *returns)
{
    ASSERT(((uintptr_t)buf & (BLOCK_ALIGN - 1)) == 0);
    ASSERT(capacity % BLOCK_ALIGN == 0 && capacity > full_bytes);
    *b = (struct block){
        .buf = buf,
        .capacity = capacity,
        .full_bytes = full_bytes,
        .buf_index = -1,
        ._entries = entries,
        ._returns = returns,
    };
}

uint32_t block_capacity(uint32_t full_bytes, uint32_t line_bytes_max)
{
    uint64_t need = sizeof(struct block_header) + (uint64_t)full_bytes + line_bytes_max +
                    (uint64_t)BLOCK_ENTRIES_MAX * sizeof(struct block_entry) / 2 + (256u << 10);

    ASSERT(need < UINT32_MAX / 2);
    return (uint32_t)align_up(need, BLOCK_ALIGN);
}

void block_open(struct block *b, uint64_t seq, lsn_t lsn)
{
    ASSERT(lsn_offset(lsn) % BLOCK_ALIGN == 0);
    b->seq = seq;
    b->lsn = lsn;
    b->len = 0;
    b->n_entries = 0;
    b->events = 0;
    b->_data_end = sizeof(struct block_header);
    b->_n_runs = 0;
    b->_names_bytes = 0;
    b->_mark = (struct block_mark){0};
}

bool block_fits(const struct block *b, const struct block_ring *ring, uint32_t len)
{
    bool touched = run_of(b, ring) != NULL;
    uint32_t runs = b->_n_runs + (touched ? 0 : 1);
    uint32_t names = b->_names_bytes + (touched ? 0 : (uint32_t)ring->name.len);

    ASSERT_HOT(b->n_entries <= BLOCK_ENTRIES_MAX && b->len == 0);
    if (b->n_entries == BLOCK_ENTRIES_MAX)
        return false;
    return (uint64_t)b->_data_end + len + directory_bytes(b->n_entries + 1, runs, names) <=
           b->capacity;
}

bool block_has_room(const struct block *b, uint64_t bytes, uint32_t lines, uint32_t runs)
{
    ASSERT_HOT(b->n_entries <= BLOCK_ENTRIES_MAX && b->_n_runs <= b->n_entries);
    if (b->n_entries + lines > BLOCK_ENTRIES_MAX)
        return false;
    return b->_data_end + bytes +
               directory_bytes(b->n_entries + lines, b->_n_runs + runs,
                               b->_names_bytes + runs * UINT8_MAX) <=
           b->capacity;
}

bool block_takes_mark(const struct block *b, const struct block_mark *mark)
{
    ASSERT_HOT(!block_mark_empty(mark));
    return b->n_entries == 0 || block_mark_empty(&b->_mark) ||
           memcmp(b->_mark.session, mark->session, sizeof(mark->session)) == 0;
}

void block_set_mark(struct block *b, const struct block_mark *mark)
{
    ASSERT(b->len == 0 && b->n_entries > 0 && block_takes_mark(b, mark));
    ASSERT(block_mark_empty(&b->_mark) || mark->seq >= b->_mark.seq);
    b->_mark = *mark;
}

bool block_is_full(const struct block *b)
{
    return b->_data_end >= b->full_bytes || b->n_entries == BLOCK_ENTRIES_MAX;
}

char *block_tail(struct block *b)
{
    return b->buf + b->_data_end;
}

lsn_t block_tail_lsn(const struct block *b)
{
    return b->lsn + b->_data_end;
}

/* First line of this ring in this block: start its chain. */
static struct block_open_run *run_start(struct block *b, struct block_ring *ring)
{
    struct block_open_run *run = open_run(b, b->_n_runs);

    ASSERT_HOT((char *)run >= b->buf + b->_data_end && ring->name.len <= UINT8_MAX);
    *run = (struct block_open_run){
        .ring = ring,
        .name = ring->name.ptr,
        .head = BLOCK_NONE,
        .schema_hash = ring->schema_hash,
        .name_len = (uint8_t)ring->name.len,
        .kind = ring->kind,
        .flags = ring->flags,
    };
    ring->_block_seq = b->seq;
    ring->_run = b->_n_runs++;
    b->_names_bytes += (uint32_t)ring->name.len;
    return run;
}

/*
 * Brings the memory of the lines to come into the cache, as much of it as a line of this length has taken: a
 * block that comes back from the sink threads or from a long way down the pool is cold, and a copy into it
 * would wait line by line. (Inlined, or gcc takes it for a function without an effect.)
 */
static inline __attribute__((always_inline)) void lines_ahead(const struct block *b, uint32_t from,
                                                              uint32_t len)
{
    const char *at = b->buf + align_up((uint64_t)from + BYTES_AHEAD, CACHE_LINE_BYTES);
    const char *end = b->buf + from + len + BYTES_AHEAD;

    ASSERT_HOT(len > 0 && from + len <= b->capacity);
    for (; at < end; at += CACHE_LINE_BYTES)
        __builtin_prefetch(at, 1);
}

void block_commit(struct block *b, struct block_ring *ring, const struct block_line *line)
{
    struct block_open_run *run = run_of(b, ring);
    uint32_t index = b->n_entries;

    ASSERT_HOT(index < BLOCK_ENTRIES_MAX && b->len == 0);
    ASSERT_HOT(line->len > 0 && b->_data_end + line->len <= b->capacity);
    if (run == NULL)
        run = run_start(b, ring);
    b->_entries[index] = (struct block_entry){
        .offset = b->_data_end,
        .len = line->len,
        .minute = line->minute,
        .added = line->added,
        .flags = line->flags,
        ._next = BLOCK_NONE,
    };
    if (run->head == BLOCK_NONE)
        run->head = index;
    else
        b->_entries[run->tail]._next = index;
    run->tail = index;
    run->count++;
    b->n_entries++;
    b->events += (line->flags & BLOCK_ENTRY_PART) ? 0 : 1;
    lines_ahead(b, b->_data_end, line->len);
    b->_data_end += line->len;
}

/* Writes one run into the directory: its entries, itself, its name. */
static void run_write(struct block *b, const struct block_open_run *open, struct block_entry *entry,
                      struct block_run *run, uint32_t first, uint32_t name_offset)
{
    uint32_t count = 0;

    for (uint32_t i = open->head; i != BLOCK_NONE; i = b->_entries[i]._next) {
        entry[count] = b->_entries[i];
        entry[count++]._next = 0;
    }
    ASSERT(count == open->count);
    *run = (struct block_run){
        .first = first,
        .n_entries = count,
        .name_offset = name_offset,
        .schema_hash = open->schema_hash,
        .name_len = open->name_len,
        .kind = open->kind,
        .flags = open->flags,
    };
    memcpy(b->buf + name_offset, open->name, open->name_len);
}

static void header_write(struct block *b, const struct block_seal *seal)
{
    struct block_header *h = (struct block_header *)b->buf;

    /* Nothing in front of a block lies behind it. */
    ASSERT(seal->prev_end <= b->lsn && seal->durable <= b->lsn);
    h->magic = BLOCK_MAGIC;
    h->version = BLOCK_VERSION;
    h->header_bytes = sizeof(*h);
    h->len = b->len;
    memcpy(h->uuid, seal->uuid->byte, sizeof(h->uuid));
    h->lsn = b->lsn;
    h->prev_end = seal->prev_end;
    h->durable = seal->durable;
    h->events_before = seal->events_before;
    h->sealed_us = seal->now_us;
    h->mark = b->_mark;
    h->crc32c = 0;
    h->crc32c = crc32c(0, b->buf, b->len);
}

void block_seal(struct block *b, const struct block_seal *seal)
{
    struct block_header *h = (struct block_header *)b->buf;
    uint32_t entries_offset = (uint32_t)align_up(b->_data_end, 8);
    uint32_t runs_offset =
        (uint32_t)align_up(entries_offset + b->n_entries * sizeof(struct block_entry), 8);
    uint32_t names_offset = runs_offset + b->_n_runs * (uint32_t)sizeof(struct block_run);
    struct block_entry *entries = (struct block_entry *)(b->buf + entries_offset);
    struct block_run *runs = (struct block_run *)(b->buf + runs_offset);
    uint32_t first = 0, name = names_offset;

    ASSERT(b->n_entries > 0 && b->len == 0);
    ASSERT(names_offset + b->_names_bytes <=
           (size_t)((char *)open_run(b, b->_n_runs - 1) - b->buf));
    memset(h, 0, sizeof(*h));
    memset(b->buf + b->_data_end, 0, entries_offset - b->_data_end);
    for (uint32_t i = 0; i < b->_n_runs; i++) {
        const struct block_open_run *run = open_run(b, i);

        if (i + RUNS_AHEAD < b->_n_runs)
            __builtin_prefetch(open_run(b, i + RUNS_AHEAD)->name);
        run_write(b, run, entries + first, &runs[i], first, name);
        first += run->count;
        name += run->name_len;
    }
    ASSERT(first == b->n_entries && name == names_offset + b->_names_bytes);
    b->len = (uint32_t)align_up(name, BLOCK_ALIGN);
    ASSERT(b->len <= b->capacity);
    memset(b->buf + name, 0, b->len - name);
    h->events = b->events;
    h->entries_offset = entries_offset;
    h->n_entries = b->n_entries;
    h->runs_offset = runs_offset;
    h->n_runs = b->_n_runs;
    h->names_offset = names_offset;
    header_write(b, seal);
}

void block_move(struct block *b, lsn_t lsn)
{
    ASSERT(lsn_offset(lsn) % BLOCK_ALIGN == 0);
    b->lsn = lsn;
    for (uint32_t i = 0; i < b->n_entries; i++) {
        const struct block_entry *e = &b->_entries[i];

        ASSERT_HOT(e->offset + e->len <= b->_data_end);
        event_patch_lsn(b->buf + e->offset, e->len, lsn + e->offset);
    }
}

void block_reseal(struct block *b, const struct block_seal *seal)
{
    ASSERT(b->len > 0);
    ASSERT(b->n_entries > 0 && b->events <= b->n_entries);
    header_write(b, seal);
}

void block_hold(struct block *b, uint32_t holders)
{
    ASSERT(atomic_load_explicit(&b->_refs, memory_order_relaxed) == 0);
    atomic_store_explicit(&b->_refs, holders, memory_order_release); /* partner: block_release() */
}

void block_release(struct block *b)
{
    uint32_t before =
        atomic_fetch_sub_explicit(&b->_refs, 1, memory_order_acq_rel); /* partner: block_hold() */

    ASSERT(before > 0);
    if (before == 1) {
        int rc = rte_ring_mp_enqueue(b->_returns, b);

        ASSERT(rc == 0); /* the ring holds every block of the worker */
    }
}
