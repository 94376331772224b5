/* COLD. Encoding and decoding of delivery log records; the layout is in README.md of this folder.
 */
#include "sinks/delivery/record.h"

#include <errno.h>

#include "sinks/delivery/bytes.h"

/* A plan's fixed fields: id, minute, schema hash, kind, encoding, flags, form, events, lines,
 * bytes, crc, planned_us, then type (u8 length), object (u16 length) and ranges (u8 count, 32 bytes
 * each). With FORM_REMOVED: removed, and for each range its skips (u32 length). */
#define PLAN_FIXED_BYTES (8 + 4 + 4 + 4 + 8 + 8 + 8 + 4 + 8)
#define RANGE_BYTES      32
#define PART_FIXED_BYTES (8 + 8 + 1 + 8 + 4)
#define FORM_TO_LOAD     0x01 /* version 1 knows no other bit */
#define FORM_GZIP        0x02
#define FORM_REMOVED     0x04 /* since version 3: removed u64 and per range skips follow */
static_assert(LOAD_PARTS_MAX * PART_FIXED_BYTES + 1 + 8 <= 64 + 64,
              "a split fits where a load with a text does");
static_assert(PLAN_FIXED_BYTES + 1 + 2 + 1 <= 64,
              "RECORD_PLAN_BYTES_MAX counts 64 for fixed fields");
static_assert(sizeof(struct plan_key) == 12 + TYPE_NAME_BYTES_MAX,
              "plan_key has no padding: compared as bytes");
static_assert(OBJECT_NAME_BYTES_MAX <= UINT16_MAX && TABLE_NAME_BYTES_MAX <= UINT16_MAX,
              "u16 lengths");
static_assert(TYPE_NAME_BYTES_MAX <= UINT8_MAX && JOURNALS_MAX <= UINT8_MAX, "u8 counts");

const char *record_type_name(uint8_t type)
{
    static const char *const name[] = {
        [RECORD_PLAN] = "PLAN",
        [RECORD_CONFIRM] = "CONFIRM",
        [RECORD_PARKED] = "PARKED",
        [RECORD_RESUMED] = "RESUMED",
        [RECORD_LOAD] = "LOAD",
        [RECORD_ATTEMPT] = "ATTEMPT",
        [RECORD_ATTEMPT_FAILED] = "ATTEMPT_FAILED",
        [RECORD_LOADED] = "LOADED",
        [RECORD_LOAD_PARKED] = "LOAD_PARKED",
        [RECORD_LOAD_RESUMED] = "LOAD_RESUMED",
        [RECORD_STAGING_GONE] = "STAGING_GONE",
        [RECORD_FLOOR] = "FLOOR",
        [RECORD_INSERTED] = "INSERTED",
        [RECORD_MARK] = "MARK",
        [RECORD_LOAD_SPLIT] = "LOAD_SPLIT",
        [RECORD_LOAD_REJECTED] = "LOAD_REJECTED",
        [RECORD_SPOOLED] = "SPOOLED",
        [RECORD_SNAP_COUNTERS] = "SNAP_COUNTERS",
        [RECORD_SNAP_PLAN] = "SNAP_PLAN",
        [RECORD_SNAP_LOAD] = "SNAP_LOAD",
        [RECORD_SNAP_PLANNED_TO] = "SNAP_PLANNED_TO",
        [RECORD_SNAP_PART] = "SNAP_PART",
    };

    return type < ARRAY_LEN(name) && name[type] != NULL ? name[type] : "unknown";
}

/* ---- encoding ---- */

static size_t text_bytes(const char *text)
{
    return text == NULL ? 0 : strnlen(text, RECORD_TEXT_BYTES_MAX);
}

static size_t skips_bytes(const struct plan *p)
{
    size_t n = 0;

    for (uint32_t i = 0; i < p->n_ranges; i++)
        n += p->range[i].skips_len;
    ASSERT(n <= SKIPS_BYTES_MAX);
    return n;
}

size_t record_encoded_max(const struct record *r)
{
    size_t n = RECORD_HEADER_BYTES + 32 + text_bytes(r->text);

    ASSERT(r->type >= RECORD_PLAN && r->type <= RECORD_SPOOLED && r->type != RECORD_FLOOR);
    if (r->type == RECORD_PLAN) {
        ASSERT(r->plan != NULL && r->plan->n_ranges <= JOURNALS_MAX);
        n += RECORD_PLAN_BYTES_MAX - (JOURNALS_MAX - r->plan->n_ranges) * RANGE_BYTES -
             SKIPS_BYTES_MAX + skips_bytes(r->plan);
    }
    if (r->type == RECORD_LOAD) {
        ASSERT(r->load != NULL && r->load->n_plans <= PLAN_OBJECTS_PER_LOAD);
        n += RECORD_LOAD_BYTES_MAX - (PLAN_OBJECTS_PER_LOAD - r->load->n_plans) * 8;
    }
    if (r->type == RECORD_INSERTED)
        n += 32 + TABLE_NAME_BYTES_MAX;
    if (r->type == RECORD_LOAD_REJECTED)
        n += 32 + OBJECT_NAME_BYTES_MAX;
    for (uint32_t i = 0; r->type == RECORD_LOAD_SPLIT && i < r->split->n_parts; i++)
        n += PART_FIXED_BYTES + r->split->part[i].n_plans * 8;
    return n;
}

static struct byte_writer begin(uint8_t *out, size_t cap, uint8_t type, int64_t time_us)
{
    struct byte_writer w = {.p = out, .left = cap};

    ASSERT(cap >= RECORD_HEADER_BYTES && type != 0);

    put_u32(&w, 0); /* end() knows */
    put_u8(&w, type);
    put_u8(&w, RECORD_VERSION);
    put_u16(&w, 0);
    put_u64(&w, 0);
    put_u64(&w, (uint64_t)time_us);
    return w;
}

static size_t end(const struct byte_writer *w, uint8_t *out)
{
    size_t len = (size_t)(w->p - out);
    uint32_t le = htole32((uint32_t)len);

    ASSERT(len >= RECORD_HEADER_BYTES && len <= RECORD_BYTES_MAX);
    memcpy(out + RECORD_LENGTH_AT, &le, sizeof(le));
    return len;
}

static void put_text(struct byte_writer *w, const char *text, size_t len)
{
    ASSERT(len <= RECORD_TEXT_BYTES_MAX);
    put_u16(w, (uint16_t)len);
    put_bytes(w, text, len);
}

static void put_key(struct byte_writer *w, const struct plan_key *k)
{
    ASSERT(k->type_len <= TYPE_NAME_BYTES_MAX);
    put_u32(w, (uint32_t)k->minute);
    put_u32(w, k->schema_hash);
    put_u8(w, k->kind);
    put_u8(w, k->encoding);
    put_u8(w, k->flags);
    put_u8(w, k->type_len);
    put_bytes(w, k->type, k->type_len);
}

static void put_removed(struct byte_writer *w, const struct plan *p)
{
    ASSERT(p->key.encoding == ENCODING_ARCHIVE || p->removed == 0);
    put_u64(w, p->removed);
    for (uint32_t i = 0; i < p->n_ranges; i++) {
        put_u32(w, (uint32_t)p->range[i].skips_len);
        put_bytes(w, p->range[i].skips, p->range[i].skips_len);
    }
}

static void put_plan(struct byte_writer *w, const struct plan *p)
{
    size_t object_len = strnlen(p->object, sizeof(p->object));
    bool removes = p->removed > 0 || skips_bytes(p) > 0;

    ASSERT(p->id != 0 && p->n_ranges <= JOURNALS_MAX);
    ASSERT(object_len < sizeof(p->object));
    ASSERT((p->lines > 0) == (p->bytes > 0) && p->events <= p->lines);
    put_u64(w, p->id);
    put_key(w, &p->key);
    put_u8(w, (uint8_t)((p->to_load ? FORM_TO_LOAD : 0) | (p->gzip ? FORM_GZIP : 0) |
                        (removes ? FORM_REMOVED : 0)));
    put_u64(w, p->events);
    put_u64(w, p->lines);
    put_u64(w, p->bytes);
    put_u32(w, p->crc32c);
    put_u64(w, (uint64_t)p->planned_us);
    put_u16(w, (uint16_t)object_len);
    put_bytes(w, p->object, object_len);
    put_u8(w, (uint8_t)p->n_ranges);
    for (uint32_t i = 0; i < p->n_ranges; i++) {
        ASSERT(p->range[i].from < p->range[i].to);
        put_bytes(w, p->range[i].journal.byte, sizeof(p->range[i].journal.byte));
        put_u64(w, p->range[i].from);
        put_u64(w, p->range[i].to);
    }
    if (removes)
        put_removed(w, p);
}

static void put_load(struct byte_writer *w, const struct load *l)
{
    size_t table_len = strnlen(l->table, sizeof(l->table));

    ASSERT(l->id != 0 && l->n_plans > 0 && l->n_plans <= PLAN_OBJECTS_PER_LOAD);
    ASSERT(table_len < sizeof(l->table));
    put_u64(w, l->id);
    put_u64(w, l->rows);
    put_u16(w, (uint16_t)table_len);
    put_bytes(w, l->table, table_len);
    put_u32(w, l->n_plans);
    for (uint32_t i = 0; i < l->n_plans; i++)
        put_u64(w, l->plan_id[i]);
}

static void put_outcome(struct byte_writer *w, const struct plan_outcome *o)
{
    size_t table_len = strnlen(o->table, sizeof(o->table));

    ASSERT(table_len < sizeof(o->table) && (o->refused > 0) == (o->objects > 0));
    put_u64(w, o->rows);
    put_u64(w, o->refused);
    put_u32(w, o->objects);
    put_u64(w, o->dead_bytes);
    put_u32(w, o->dead_crc32c);
    put_u16(w, (uint16_t)table_len);
    put_bytes(w, o->table, table_len);
}

static void put_mark(struct byte_writer *w, const struct block_mark *m)
{
    ASSERT(!block_mark_empty(m));
    put_bytes(w, m->session, sizeof(m->session));
    put_u64(w, m->seq);
    put_u64(w, m->note);
}

static void put_split(struct byte_writer *w, const struct load_split *s)
{
    ASSERT(s->n_parts >= 2 && s->n_parts <= LOAD_PARTS_MAX);
    put_u8(w, (uint8_t)s->n_parts);
    for (uint32_t i = 0; i < s->n_parts; i++) {
        const struct load_part *p = &s->part[i];

        ASSERT(p->id != 0 && p->rows > 0 && p->n_plans > 0);
        put_u64(w, p->id);
        put_u64(w, p->rows);
        put_u8(w, p->piece);
        put_u64(w, p->first);
        put_u32(w, p->n_plans);
        for (uint32_t k = 0; k < p->n_plans; k++)
            put_u64(w, p->plan_id[k]);
    }
}

static void put_reject(struct byte_writer *w, const struct load_reject *j)
{
    size_t object_len = strnlen(j->object, sizeof(j->object));

    ASSERT(object_len > 0 && object_len < sizeof(j->object));
    put_u64(w, j->bytes);
    put_u32(w, j->crc32c);
    put_u16(w, (uint16_t)object_len);
    put_bytes(w, j->object, object_len);
}

/* The fields of each type, in order; get_fields() is the mirror. */
static void put_fields(struct byte_writer *w, const struct record *r)
{
    switch (r->type) {
    case RECORD_PLAN:
        put_plan(w, r->plan);
        break;
    case RECORD_CONFIRM:
        put_u64(w, r->plan_id);
        put_u64(w, (uint64_t)r->generation);
        break;
    case RECORD_PARKED:
        put_u64(w, r->plan_id);
        put_text(w, r->text, text_bytes(r->text));
        break;
    case RECORD_RESUMED:
    case RECORD_SPOOLED:
    case RECORD_STAGING_GONE:
        put_u64(w, r->plan_id);
        break;
    case RECORD_LOAD:
        put_load(w, r->load);
        break;
    case RECORD_ATTEMPT:
        put_u64(w, r->load_id);
        put_u32(w, r->attempt);
        break;
    case RECORD_ATTEMPT_FAILED:
        put_u64(w, r->load_id);
        put_u32(w, r->attempt);
        put_text(w, r->text, text_bytes(r->text));
        break;
    case RECORD_LOADED:
        put_u64(w, r->load_id);
        put_u64(w, r->rows);
        break;
    case RECORD_LOAD_PARKED:
        put_u64(w, r->load_id);
        put_text(w, r->text, text_bytes(r->text));
        break;
    case RECORD_LOAD_RESUMED:
        put_u64(w, r->load_id);
        break;
    case RECORD_INSERTED:
        put_u64(w, r->plan_id);
        put_outcome(w, r->outcome);
        break;
    case RECORD_MARK:
        put_mark(w, &r->mark);
        break;
    case RECORD_LOAD_SPLIT:
        put_u64(w, r->load_id);
        put_text(w, r->text, text_bytes(r->text));
        put_split(w, r->split);
        break;
    case RECORD_LOAD_REJECTED:
        put_u64(w, r->load_id);
        put_u64(w, r->plan_id);
        put_text(w, r->text, text_bytes(r->text));
        put_reject(w, r->reject);
        break;
    case RECORD_FLOOR:
    default:
        ASSERT(!"a record that may be submitted");
    }
}

size_t record_encode(const struct record *r, int64_t time_us, uint8_t *out)
{
    struct byte_writer w = begin(out, record_encoded_max(r), (uint8_t)r->type, time_us);

    put_fields(&w, r);
    ASSERT(w.p > out + RECORD_HEADER_BYTES);
    return end(&w, out);
}

size_t record_encode_floor(const struct journal_uuid *journal, lsn_t lsn, int64_t time_us,
                           uint8_t *out)
{
    struct byte_writer w = begin(out, RECORD_HEADER_BYTES + 24, RECORD_FLOOR, time_us);

    put_bytes(&w, journal->byte, sizeof(journal->byte));
    put_u64(&w, lsn);
    return end(&w, out);
}

size_t record_encode_mark(const struct block_mark *mark, int64_t time_us, uint8_t *out)
{
    struct byte_writer w = begin(out, RECORD_HEADER_BYTES + 32, RECORD_MARK, time_us);

    put_mark(&w, mark);
    return end(&w, out);
}

size_t record_encode_counters(const struct record_counters *c, uint8_t *out)
{
    struct byte_writer w = begin(out, RECORD_BYTES_MAX, RECORD_SNAP_COUNTERS, 0);

    put_u64(&w, c->next_id);
    put_u64(&w, c->last_seq);
    put_u64(&w, c->ledger_seq);
    return end(&w, out);
}

size_t record_encode_snap_plan(const struct record_snap_plan *p, uint8_t *out)
{
    ASSERT(p->body_len >= PLAN_FIXED_BYTES); /* as it was decoded */
    struct byte_writer w = begin(out, RECORD_BYTES_MAX, RECORD_SNAP_PLAN, 0);

    put_u8(&w, p->status);
    put_u64(&w, p->load_id);
    put_u64(&w, (uint64_t)p->generation);
    put_text(&w, p->text, p->text_len);
    put_bytes(&w, p->body, p->body_len);
    return end(&w, out);
}

size_t record_encode_snap_load(const struct load *l, uint8_t status, struct span text, uint8_t *out)
{
    uint8_t type = l->root != 0 ? RECORD_SNAP_PART : RECORD_SNAP_LOAD;
    struct byte_writer w = begin(out, RECORD_BYTES_MAX, type, 0);

    ASSERT(l->root != 0 || !l->piece); /* pieces are parts */

    if (l->root != 0) {
        put_u64(&w, l->root);
        put_u8(&w, l->piece);
        put_u64(&w, l->first);
        put_u8(&w, l->proven);
    }
    put_u8(&w, status);
    put_u32(&w, l->attempt);
    put_u8(&w, l->attempt_done);
    put_text(&w, text.ptr, text.len);
    put_load(&w, l);
    return end(&w, out);
}

size_t record_encode_planned_to(const struct plan_key *key, const struct journal_uuid *journal,
                                lsn_t to, uint8_t *out)
{
    struct byte_writer w = begin(out, RECORD_BYTES_MAX, RECORD_SNAP_PLANNED_TO, 0);

    ASSERT(to > 0);

    put_bytes(&w, journal->byte, sizeof(journal->byte));
    put_u64(&w, to);
    put_key(&w, key);
    return end(&w, out);
}

void record_set_seq(uint8_t *buf, uint64_t seq)
{
    ASSERT(buf != NULL && seq != 0);
    seq = htole64(seq);
    memcpy(buf + RECORD_SEQ_AT, &seq, sizeof(seq));
}

void record_set_flags(uint8_t *buf, uint16_t flags)
{
    ASSERT(buf != NULL);
    flags = htole16(flags);
    memcpy(buf + RECORD_FLAGS_AT, &flags, sizeof(flags));
}

/* ---- decoding ---- */

static void get_text(struct byte_reader *r, struct record_view *v)
{
    v->text_len = get_u16(r);
    v->text = (const char *)get_bytes(r, v->text_len);
    if (v->text_len > RECORD_TEXT_BYTES_MAX)
        r->bad = true;
    ASSERT(r->bad || v->text_len == 0 || v->text != NULL);
}

static void get_journal(struct byte_reader *r, struct journal_uuid *out)
{
    const uint8_t *at = get_bytes(r, sizeof(out->byte));

    if (at != NULL)
        memcpy(out->byte, at, sizeof(out->byte));
}

static bool get_bool(struct byte_reader *r)
{
    uint8_t v = get_u8(r);

    if (v > 1)
        r->bad = true;
    return v == 1;
}

static void get_key(struct byte_reader *r, struct plan_key *k)
{
    const uint8_t *type;

    memset(k, 0, sizeof(*k));
    k->minute = (int32_t)get_u32(r);
    k->schema_hash = get_u32(r);
    k->kind = get_u8(r);
    k->encoding = get_u8(r);
    k->flags = get_u8(r);
    k->type_len = get_u8(r);
    if (k->type_len > TYPE_NAME_BYTES_MAX || k->kind > PLAN_DEAD || k->encoding >= ENCODINGS)
        r->bad = true;
    type = get_bytes(r, k->type_len);
    if (type != NULL)
        memcpy(k->type, type, k->type_len);
}

static void get_name(struct byte_reader *r, char *out, size_t cap)
{
    size_t len = get_u16(r);
    const uint8_t *at = get_bytes(r, len);

    if (at == NULL || len >= cap || memchr(at, 0, len) != NULL) {
        r->bad = true;
        out[0] = '\0';
        return;
    }
    memcpy(out, at, len);
    out[len] = '\0';
}

/* Without it, nothing is left out. */
static void get_removed(struct byte_reader *r, struct plan *p, bool there)
{
    size_t sum = 0;

    ASSERT(r->bad || p->n_ranges <= JOURNALS_MAX);
    p->removed = there ? get_u64(r) : 0;
    for (uint32_t i = 0; i < p->n_ranges && !r->bad; i++) {
        struct plan_range *range = &p->range[i];

        range->skips_len = there ? get_u32(r) : 0;
        range->skips = range->skips_len > 0 ? get_bytes(r, range->skips_len) : NULL;
        if (range->skips_len > SKIPS_BYTES_MAX || (sum += range->skips_len) > SKIPS_BYTES_MAX)
            r->bad = true;
    }
}

static void get_plan(struct byte_reader *r, struct plan *p)
{
    uint8_t form;

    p->id = get_u64(r);
    get_key(r, &p->key);
    form = get_u8(r);
    p->to_load = (form & FORM_TO_LOAD) != 0;
    p->gzip = (form & FORM_GZIP) != 0;
    p->events = get_u64(r);
    p->lines = get_u64(r);
    p->bytes = get_u64(r);
    p->crc32c = get_u32(r);
    p->planned_us = (int64_t)get_u64(r);
    get_name(r, p->object, sizeof(p->object));
    p->n_ranges = get_u8(r);
    if (p->id == 0 || p->id == UINT64_MAX || p->n_ranges > JOURNALS_MAX ||
        form > (FORM_TO_LOAD | FORM_GZIP | FORM_REMOVED))
        r->bad = true;
    for (uint32_t i = 0; i < p->n_ranges && !r->bad; i++) {
        get_journal(r, &p->range[i].journal);
        p->range[i].from = get_u64(r);
        p->range[i].to = get_u64(r);
    }
    get_removed(r, p, (form & FORM_REMOVED) != 0);
}

static void get_load(struct byte_reader *r, struct record_view *v)
{
    v->load.id = get_u64(r);
    v->load.rows = get_u64(r);
    get_name(r, v->load.table, sizeof(v->load.table));
    v->load.n_plans = get_u32(r);
    v->load.plan_id = NULL;
    if (v->load.id == 0 || v->load.id == UINT64_MAX || v->load.n_plans == 0 ||
        v->load.n_plans > PLAN_OBJECTS_PER_LOAD) {
        r->bad = true;
        return;
    }
    v->load_ids = get_bytes(r, (size_t)v->load.n_plans * 8);
}

static void get_plan_body(struct byte_reader *r, struct record_view *v)
{
    v->body = r->p;
    get_plan(r, &v->plan);
    v->body_len = (uint32_t)(r->p - v->body);
    ASSERT(r->bad || v->body_len >= PLAN_FIXED_BYTES);
    v->plan_id = v->plan.id;
}

static void get_mark(struct byte_reader *r, struct block_mark *m)
{
    const uint8_t *session = get_bytes(r, sizeof(m->session));

    *m = (struct block_mark){0};
    if (session != NULL)
        memcpy(m->session, session, sizeof(m->session));
    m->seq = get_u64(r);
    m->note = get_u64(r);
    if (block_mark_empty(m))
        r->bad = true;
}

static void get_part(struct byte_reader *r, struct record_view *v)
{
    v->load.root = get_u64(r);
    v->load.piece = get_bool(r);
    v->load.first = get_u64(r);
    v->load.proven = get_bool(r);
    if (v->load.root == 0)
        r->bad = true;
}

static void get_snapshot_fields(struct byte_reader *r, struct record_view *v)
{
    switch (v->type) {
    case RECORD_SNAP_COUNTERS:
        v->counters.next_id = get_u64(r);
        v->counters.last_seq = get_u64(r);
        v->counters.ledger_seq = get_u64(r);
        break;
    case RECORD_SNAP_PLAN:
        v->status = get_u8(r);
        v->load_id = get_u64(r);
        v->generation = (int64_t)get_u64(r);
        get_text(r, v);
        get_plan_body(r, v);
        break;
    case RECORD_SNAP_PART:
    case RECORD_SNAP_LOAD:
        if (v->type == RECORD_SNAP_PART)
            get_part(r, v);
        v->status = get_u8(r);
        v->load.attempt = get_u32(r);
        v->load.attempt_done = get_bool(r);
        get_text(r, v);
        get_load(r, v);
        v->load_id = v->load.id;
        break;
    case RECORD_SNAP_PLANNED_TO:
        get_journal(r, &v->journal);
        v->lsn = get_u64(r);
        get_key(r, &v->key);
        break;
    default:
        r->bad = true;
    }
}

static void get_load_fields(struct byte_reader *r, struct record_view *v)
{
    if (v->type == RECORD_LOAD) {
        get_load(r, v);
        v->load.attempt = 0;
        v->load.attempt_done = false;
        v->load_id = v->load.id;
        return;
    }
    v->load_id = get_u64(r);
    if (v->type == RECORD_ATTEMPT || v->type == RECORD_ATTEMPT_FAILED)
        v->attempt = get_u32(r);
    if (v->type == RECORD_LOADED)
        v->rows = get_u64(r);
    if (v->type == RECORD_ATTEMPT_FAILED || v->type == RECORD_LOAD_PARKED)
        get_text(r, v);
}

static void get_outcome(struct byte_reader *r, struct plan_outcome *o)
{
    o->rows = get_u64(r);
    o->refused = get_u64(r);
    o->objects = get_u32(r);
    o->dead_bytes = get_u64(r);
    o->dead_crc32c = get_u32(r);
    get_name(r, o->table, sizeof(o->table));
    if ((o->refused > 0) != (o->objects > 0))
        r->bad = true;
}

static void get_split(struct byte_reader *r, struct record_view *v)
{
    struct load_split *s = &v->split;

    v->load_id = get_u64(r);
    get_text(r, v);
    s->n_parts = get_u8(r);
    if (s->n_parts < 2 || s->n_parts > LOAD_PARTS_MAX)
        r->bad = true;
    for (uint32_t i = 0; !r->bad && i < s->n_parts; i++) {
        struct load_part *p = &s->part[i];

        p->id = get_u64(r);
        p->rows = get_u64(r);
        p->piece = get_bool(r);
        p->first = get_u64(r);
        p->n_plans = get_u32(r);
        p->plan_id = NULL;
        if (p->id == 0 || p->id == UINT64_MAX || p->rows == 0 || p->n_plans == 0 ||
            p->n_plans > PLAN_OBJECTS_PER_LOAD)
            r->bad = true;
        else
            v->part_ids[i] = get_bytes(r, (size_t)p->n_plans * 8);
    }
}

static void get_reject(struct byte_reader *r, struct record_view *v)
{
    v->load_id = get_u64(r);
    v->plan_id = get_u64(r);
    get_text(r, v);
    v->reject.bytes = get_u64(r);
    v->reject.crc32c = get_u32(r);
    get_name(r, v->reject.object, sizeof(v->reject.object));
}

/* Mirror of put_fields(). */
static void get_fields(struct byte_reader *r, struct record_view *v)
{
    switch (v->type) {
    case RECORD_PLAN:
        get_plan_body(r, v);
        break;
    case RECORD_CONFIRM:
        v->plan_id = get_u64(r);
        v->generation = (int64_t)get_u64(r);
        break;
    case RECORD_PARKED:
        v->plan_id = get_u64(r);
        get_text(r, v);
        break;
    case RECORD_RESUMED:
    case RECORD_SPOOLED:
    case RECORD_STAGING_GONE:
        v->plan_id = get_u64(r);
        break;
    case RECORD_LOAD:
    case RECORD_ATTEMPT:
    case RECORD_ATTEMPT_FAILED:
    case RECORD_LOADED:
    case RECORD_LOAD_PARKED:
    case RECORD_LOAD_RESUMED:
        get_load_fields(r, v);
        break;
    case RECORD_FLOOR:
        get_journal(r, &v->journal);
        v->lsn = get_u64(r);
        break;
    case RECORD_INSERTED:
        v->plan_id = get_u64(r);
        get_outcome(r, &v->outcome);
        break;
    case RECORD_MARK:
        get_mark(r, &v->mark);
        break;
    case RECORD_LOAD_SPLIT:
        get_split(r, v);
        break;
    case RECORD_LOAD_REJECTED:
        get_reject(r, v);
        break;
    default:
        get_snapshot_fields(r, v);
    }
}

/* Whether an earlier version could have written a plan: it knew fewer forms. */
static bool plan_of_version(const struct plan *p, uint8_t version)
{
    ASSERT(version < RECORD_VERSION);
    if (version == 1 && p->gzip)
        return false;
    return version > 2 || (p->removed == 0 && p->lines > 0 && skips_bytes(p) == 0);
}

int record_decode(const uint8_t *buf, size_t len, struct record_view *out)
{
    struct byte_reader r = {.p = buf, .left = len, .bad = false};
    uint8_t version;

    ASSERT(buf != NULL && out != NULL);
    out->len = get_u32(&r);
    out->type = get_u8(&r);
    version = get_u8(&r);
    out->flags = get_u16(&r);
    out->seq = get_u64(&r);
    out->time_us = (int64_t)get_u64(&r);
    out->text = NULL;
    out->text_len = 0;
    out->load.root = out->load.first = 0;
    out->load.piece = out->load.proven = false;
    if (r.bad || out->len < RECORD_HEADER_BYTES || out->len > len || out->len > RECORD_BYTES_MAX)
        return -EBADMSG;
    if (version < RECORD_VERSION_MIN || version > RECORD_VERSION ||
        (out->flags & ~RECORD_FLAG_LEDGER_ONLY) != 0)
        return -EBADMSG;
    ASSERT(r.p == buf + RECORD_HEADER_BYTES);
    r.left = out->len - RECORD_HEADER_BYTES;
    get_fields(&r, out);
    if (!r.bad && version < RECORD_VERSION &&
        (out->type == RECORD_PLAN || out->type == RECORD_SNAP_PLAN) &&
        !plan_of_version(&out->plan, version))
        return -EBADMSG;
    return r.bad || r.left != 0 ? -EBADMSG : 0;
}

void record_decode_plan(const uint8_t *body, uint32_t body_len, struct plan *out)
{
    struct byte_reader r = {.p = body, .left = body_len, .bad = false};

    get_plan(&r, out);
    ASSERT(!r.bad && r.left == 0);
}

static uint64_t id_at(const uint8_t *ids, uint32_t n, uint32_t i)
{
    struct byte_reader r = {.p = ids, .left = (size_t)n * 8, .bad = false};

    ASSERT(i < n);
    r.p += (size_t)i * 8;
    return get_u64(&r);
}

uint64_t record_part_id(const struct record_view *v, uint32_t part, uint32_t i)
{
    ASSERT(part < v->split.n_parts);
    return id_at(v->part_ids[part], v->split.part[part].n_plans, i);
}

uint64_t record_load_id(const struct record_view *v, uint32_t i)
{
    ASSERT(v->load_ids != NULL);
    return id_at(v->load_ids, v->load.n_plans, i);
}
