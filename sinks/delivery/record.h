/*
 * Records of the delivery log as bytes. Little-endian, versioned, length-prefixed; only used ranges
 * and name bytes are stored. Internal to sinks/delivery/. README.md in this folder shows the layout
 * byte by byte.
 *
 * Thread: any; no shared state.  Alloc: none.
 */
#ifndef PENSTOCK_DELIVERY_RECORD_H
#define PENSTOCK_DELIVERY_RECORD_H

#include "dataplane/base/span.h"
#include "sinks/delivery/dlog.h"

/* 2: a plan may be gzip; 3: may leave duplicates out; 4: loads are cut; 5: plans are spooled */
#define RECORD_VERSION        5
#define RECORD_VERSION_MIN    1 /* still read */
#define RECORD_HEADER_BYTES   24
#define RECORD_TEXT_BYTES_MAX 1024 /* longer texts are cut */
#define RECORD_PLAN_BYTES_MAX \
    (64 + 8 + TYPE_NAME_BYTES_MAX + OBJECT_NAME_BYTES_MAX + JOURNALS_MAX * 36 + SKIPS_BYTES_MAX)
#define RECORD_LOAD_BYTES_MAX (64 + TABLE_NAME_BYTES_MAX + PLAN_OBJECTS_PER_LOAD * 8)

/* No record is larger, snapshot records included. */
#define RECORD_BYTES_MAX (RECORD_HEADER_BYTES + RECORD_LOAD_BYTES_MAX + RECORD_TEXT_BYTES_MAX + 64)
static_assert(RECORD_LOAD_BYTES_MAX > RECORD_PLAN_BYTES_MAX, "a load is the largest record");

/* Offsets in the record header. */
#define RECORD_LENGTH_AT  0  /* u32: the whole record, header included */
#define RECORD_TYPE_AT    4  /* u8 */
#define RECORD_VERSION_AT 5  /* u8 */
#define RECORD_FLAGS_AT   6  /* u16 */
#define RECORD_SEQ_AT     8  /* u64: set by the writer; 0 in snapshot records */
#define RECORD_TIME_AT    16 /* i64: wall clock at submission, microseconds */
static_assert(RECORD_TIME_AT + 8 == RECORD_HEADER_BYTES, "header fields fill the header");

/* Already in the snapshot that it follows; stored again only because the ledger has not seen it. */
#define RECORD_FLAG_LEDGER_ONLY 0x0001

/* Types that only snapshots hold; they share the number space of enum record_type. */
enum snapshot_record_type {
    RECORD_SNAP_COUNTERS = 64,
    RECORD_SNAP_PLAN,
    RECORD_SNAP_LOAD,
    RECORD_SNAP_PLANNED_TO,
    RECORD_SNAP_PART, /* an unfinished load that is a part of one that was cut */
};

/** Numbers that a snapshot starts with. */
struct record_counters {
    uint64_t next_id;  /* first plan or load id never recorded */
    uint64_t last_seq; /* of the last record that the snapshot includes */
    uint64_t
        ledger_seq; /* every record up to here was in the ledger when the snapshot was written */
};

/** A decoded record. Pointers lead into the bytes it was decoded from. Only the fields of its type
 * are set. */
struct record_view {
    uint32_t len;
    uint8_t type; /* enum record_type or enum snapshot_record_type */
    uint16_t flags;
    uint64_t seq;
    int64_t time_us;
    uint64_t plan_id;
    uint64_t load_id;
    uint32_t attempt;
    uint64_t rows;
    int64_t generation;
    const char *text; /* text_len bytes, no NUL */
    uint32_t text_len;
    const uint8_t *body; /* PLAN, SNAP_PLAN: the encoded plan, body_len bytes */
    uint32_t body_len;
    const uint8_t
        *load_ids;  /* LOAD, SNAP_LOAD, SNAP_PART: load.n_plans ids, see record_load_id() */
    uint8_t status; /* SNAP_*: enum plan_status or enum load_status */
    struct journal_uuid journal;
    lsn_t lsn;
    struct plan_key key; /* SNAP_PLANNED_TO */
    struct record_counters counters;
    struct plan plan;            /* PLAN, SNAP_PLAN */
    struct load load;            /* LOAD, SNAP_LOAD, SNAP_PART; plan_id stays NULL */
    struct plan_outcome outcome; /* INSERTED */
    struct load_split split;     /* LOAD_SPLIT; plan_id stays NULL, see record_part_id() */
    const uint8_t *part_ids[LOAD_PARTS_MAX];
    struct load_reject reject; /* LOAD_REJECTED */
    struct block_mark mark;    /* MARK */
};

/** A plan of the state, as a snapshot keeps it. */
struct record_snap_plan {
    const uint8_t *body;
    uint32_t body_len;
    uint8_t status;
    uint64_t load_id;
    int64_t generation;
    const char *text;
    uint32_t text_len;
};

/** Bytes that record_encode() needs at most. */
size_t record_encoded_max(const struct record *r) WARN_UNUSED;

/**
 * Encodes a record with sequence number 0. out holds record_encoded_max() bytes.
 * @return bytes written.
 */
size_t record_encode(const struct record *r, int64_t time_us, uint8_t *out);

/** Encodes a FLOOR. out holds RECORD_HEADER_BYTES + 24 bytes. @return bytes written. */
size_t record_encode_floor(const struct journal_uuid *journal, lsn_t lsn, int64_t time_us,
                           uint8_t *out);

/** Encodes a MARK. out holds RECORD_HEADER_BYTES + 32 bytes. @return bytes written. */
size_t record_encode_mark(const struct block_mark *mark, int64_t time_us, uint8_t *out);

/** The snapshot's records; out holds RECORD_BYTES_MAX bytes. @return bytes written. */
size_t record_encode_counters(const struct record_counters *c, uint8_t *out);

/** An unfinished plan of a snapshot; out and return as above. */
size_t record_encode_snap_plan(const struct record_snap_plan *p, uint8_t *out);

/** An unfinished load of a snapshot, SNAP_LOAD or SNAP_PART; out and return as above. */
size_t record_encode_snap_load(const struct load *l, uint8_t status, struct span text,
                               uint8_t *out);

/** How far a key is planned; out and return as above. */
size_t record_encode_planned_to(const struct plan_key *key, const struct journal_uuid *journal,
                                lsn_t to, uint8_t *out);

/**
 * Decodes the record at buf, of which len bytes may be read; checks every bound and value.
 * @return 0; -EBADMSG for bytes that this version never wrote.
 */
int record_decode(const uint8_t *buf, size_t len, struct record_view *out) WARN_UNUSED;

/** Decodes the body of a plan that was checked before. */
void record_decode_plan(const uint8_t *body, uint32_t body_len, struct plan *out);

/** The i-th plan id of a LOAD or SNAP_LOAD. */
uint64_t record_load_id(const struct record_view *v, uint32_t i);

/** The i-th plan id of a part of a LOAD_SPLIT. */
uint64_t record_part_id(const struct record_view *v, uint32_t part, uint32_t i);

/** Sets the sequence number of an encoded record. */
void record_set_seq(uint8_t *buf, uint64_t seq);

/** Sets flags of an encoded record. */
void record_set_flags(uint8_t *buf, uint16_t flags);

/** The stable name of a type, for messages. */
const char *record_type_name(uint8_t type);

#endif
