/* HOT. Commit blocks: appending lines, the per-type reference rings, sealing. */
#include "dataplane/block/block.h"

#include <errno.h>
#include <rte_ring.h>

#include "dataplane/base/crc32c.h"
#include "dataplane/event/assemble.h"

/* Room for the directory of a block with this many entries, runs and name bytes: lines and entries
 * are both padded to 8. */
static uint32_t directory_bytes(uint32_t entries, uint32_t runs, uint32_t names)
{
    return (uint32_t)(16 + entries * sizeof(struct block_entry) + runs * sizeof(struct block_run) +
                      names);
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
    b->_touched_first = NULL;
    b->_touched_last = NULL;
    b->_mark = (struct block_mark){0};
}

bool block_fits(const struct block *b, const struct block_ring *ring, uint32_t len)
{
    bool touched = ring->_block_seq == b->seq && ring->_count > 0;
    uint32_t runs = b->_n_runs + (touched ? 0 : 1);
    uint32_t names = b->_names_bytes + (touched ? 0 : (uint32_t)ring->name.len);

    if (b->n_entries == BLOCK_ENTRIES_MAX)
        return false;
    return (uint64_t)b->_data_end + len + directory_bytes(b->n_entries + 1, runs, names) <=
           b->capacity;
}

bool block_has_room(const struct block *b, uint64_t bytes, uint32_t lines, uint32_t runs)
{
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
static void ring_touch(struct block *b, struct block_ring *ring)
{
    ring->_block_seq = b->seq;
    ring->_head = BLOCK_NONE;
    ring->_count = 0;
    ring->_next_touched = NULL;
    if (b->_touched_last != NULL)
        b->_touched_last->_next_touched = ring;
    else
        b->_touched_first = ring;
    b->_touched_last = ring;
    b->_n_runs++;
    b->_names_bytes += (uint32_t)ring->name.len;
}

void block_commit(struct block *b, struct block_ring *ring, const struct block_line *line)
{
    uint32_t index = b->n_entries;

    ASSERT_HOT(index < BLOCK_ENTRIES_MAX);
    ASSERT_HOT(line->len > 0 && b->_data_end + line->len <= b->capacity);
    if (ring->_block_seq != b->seq || ring->_count == 0)
        ring_touch(b, ring);
    b->_entries[index] = (struct block_entry){
        .offset = b->_data_end,
        .len = line->len,
        .minute = line->minute,
        .added = line->added,
        .flags = line->flags,
        ._next = BLOCK_NONE,
    };
    if (ring->_head == BLOCK_NONE)
        ring->_head = index;
    else
        b->_entries[ring->_tail]._next = index;
    ring->_tail = index;
    ring->_count++;
    b->n_entries++;
    b->events += (line->flags & BLOCK_ENTRY_PART) ? 0 : 1;
    b->_data_end += line->len;
}

/* Empties one ring into the directory: its entries, its run, its name. */
static void ring_write(struct block *b, struct block_ring *ring, struct block_entry *entry,
                       struct block_run *run, uint32_t first, uint32_t name_offset)
{
    uint32_t count = 0;

    for (uint32_t i = ring->_head; i != BLOCK_NONE; i = b->_entries[i]._next) {
        entry[count] = b->_entries[i];
        entry[count++]._next = 0;
    }
    ASSERT(count == ring->_count);
    *run = (struct block_run){
        .first = first,
        .n_entries = count,
        .name_offset = name_offset,
        .schema_hash = ring->schema_hash,
        .name_len = (uint8_t)ring->name.len,
        .kind = ring->kind,
        .flags = ring->flags,
    };
    memcpy(b->buf + name_offset, ring->name.ptr, ring->name.len);
    ring->_count = 0;
}

static void header_write(struct block *b, const struct block_seal *seal)
{
    struct block_header *h = (struct block_header *)b->buf;

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
    uint32_t first = 0, name = names_offset, n_runs = 0;

    ASSERT(b->n_entries > 0 && b->len == 0);
    memset(h, 0, sizeof(*h));
    memset(b->buf + b->_data_end, 0, entries_offset - b->_data_end);
    for (struct block_ring *r = b->_touched_first; r != NULL; r = r->_next_touched) {
        const struct block_ring *next = r->_next_touched;
        uint32_t count = r->_count;

        if (next != NULL) { /* with many types each is a cache miss, and so is its name */
            __builtin_prefetch(next->_next_touched, 1);
            __builtin_prefetch(next->name.ptr);
        }
        ring_write(b, r, entries + first, &runs[n_runs++], first, name);
        first += count;
        name += (uint32_t)r->name.len;
    }
    ASSERT(first == b->n_entries && n_runs == b->_n_runs);
    b->len = (uint32_t)align_up(name, BLOCK_ALIGN);
    ASSERT(b->len <= b->capacity);
    memset(b->buf + name, 0, b->len - name);
    h->events = b->events;
    h->entries_offset = entries_offset;
    h->n_entries = b->n_entries;
    h->runs_offset = runs_offset;
    h->n_runs = n_runs;
    h->names_offset = names_offset;
    header_write(b, seal);
}

void block_move(struct block *b, lsn_t lsn)
{
    ASSERT(lsn_offset(lsn) % BLOCK_ALIGN == 0);
    b->lsn = lsn;
    for (uint32_t i = 0; i < b->n_entries; i++) {
        const struct block_entry *e = &b->_entries[i];

        event_patch_lsn(b->buf + e->offset, e->len, lsn + e->offset);
    }
}

void block_reseal(struct block *b, const struct block_seal *seal)
{
    ASSERT(b->len > 0);
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
