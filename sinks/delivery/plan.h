/*
 * What the delivery log speaks of: plans (a closed group of events that becomes one object), and
 * loads (a set of confirmed objects that becomes one BigQuery load job). Plain values, fixed sizes,
 * no pointers but where said.
 */
#ifndef PENSTOCK_DELIVERY_PLAN_H
#define PENSTOCK_DELIVERY_PLAN_H

#include <stdint.h>

#include "dataplane/base/compiler.h"
#include "dataplane/base/lsn.h"
#include "dataplane/event/names.h"

#define JOURNALS_MAX 64       /* journal directories a process reads: its own and left-over ones */
#ifndef PLAN_OBJECTS_PER_LOAD /* the simulation's are small */
#define PLAN_OBJECTS_PER_LOAD 10000 /* BigQuery: URIs in one job */
#define SKIPS_BYTES_MAX       20480 /* what one plan says of lines that are left out */
#endif
#define TABLE_NAME_BYTES_MAX 1024
#define LOAD_PARTS_MAX       3 /* that a refused load is cut into at once */
#define JOB_ID_BYTES_MAX     160

/* What a group's lines are. */
enum plan_kind {
    PLAN_EVENTS, /* accepted events */
    PLAN_DEAD,   /* dead letters; event_type may be empty */
};

/* Where a group's lines go. */
enum plan_encoding {
    ENCODING_ARCHIVE, /* output/ or dead_letter/; loadable as it is when the type has a schema */
    ENCODING_WRAPPED, /* staging/: one JSON column; removed after its load */
    ENCODING_ROWS,    /* staging/: rows of inferred columns; removed after its load */
    ENCODING_INSERT,  /* no object: BigQuery's insertAll; the lines are those of the archive */
    ENCODINGS
};

#define PLAN_LATE 0x01 /* older than the allowed lateness: own objects */
#define PLAN_ROWS \
    0x10 /* ENCODING_INSERT: schema_hash is rows.hash, rows are made when they are sent */
#define PLAN_INSERT 0x08 /* archive of lines that go to BigQuery by insertAll: never loaded */

/** Whether objects of an encoding lie under staging/ and go after their load. Thread: any. */
static inline bool encoding_is_staged(uint8_t encoding)
{
    return encoding == ENCODING_WRAPPED || encoding == ENCODING_ROWS;
}

/** What distinguishes groups: a plan holds lines of one key only. Zero it before filling: compared
 * as bytes. */
struct plan_key {
    int32_t minute;       /* event time, minutes since the epoch; coarse in staging objects, 0 for
                             ENCODING_INSERT */
    uint32_t schema_hash; /* 0 without a schema, and for dead letters; ENCODING_ROWS: rows.hash */
    uint8_t kind;         /* enum plan_kind */
    uint8_t encoding;     /* enum plan_encoding */
    uint8_t flags;        /* PLAN_LATE, PLAN_INSERT, PLAN_ROWS */
    uint8_t type_len;
    char type[TYPE_NAME_BYTES_MAX]; /* raw event type */
};

/** Whether rows are made by rows.h: schema_hash names a version of columns, or is 0 while a table is
 * learning. Thread: any. */
static inline bool plan_has_rows(const struct plan_key *key)
{
    return key->encoding == ENCODING_ROWS || (key->flags & PLAN_ROWS) != 0;
}

/** The part of a plan that lies in one journal: its key's lines in [from, to). */
struct plan_range {
    struct journal_uuid journal;
    lsn_t from; /* of the first line */
    lsn_t to;   /* behind the last line */
    /* Lines of the key in it that are no part of the plan, because they are duplicates: see struct
     * skips in group.h. Whoever gives the plan owns them. */
    const uint8_t *skips;
    size_t skips_len;
};

/** A closed group. Lines come range by range, in LSN order within a range. One without lines has no
 * object: it records that lines were removed, and is finished when it is durable. */
struct plan {
    uint64_t id; /* unique in this delivery log for ever */
    struct plan_key key;
    uint64_t events;  /* dead letters in several parts count once */
    uint64_t removed; /* ENCODING_ARCHIVE: duplicates in its ranges, no part of its lines */
    uint64_t lines;
    uint64_t bytes;
    uint32_t crc32c;    /* of all lines in order */
    int64_t planned_us; /* wall clock */
    bool to_load;       /* its object is to be loaded into BigQuery */
    bool gzip;          /* its object is compressed. lines, bytes and crc32c are of the plain lines:
                           another zlib may make other bytes of them after a restart */
    char object[OBJECT_NAME_BYTES_MAX]; /* ENCODING_INSERT: where its refused rows would go */
    uint32_t n_ranges;
    struct plan_range range[JOURNALS_MAX];
};

/** What became of an ENCODING_INSERT plan: every row is in its table, or a dead letter. */
struct plan_outcome {
    char table[TABLE_NAME_BYTES_MAX]; /* table id in the configured dataset */
    uint64_t rows;                    /* accepted by BigQuery */
    uint64_t refused;                 /* dead letters */
    uint32_t objects;    /* of dead letters: 0, 1, or more after a crash: see plan_dead_name() */
    uint64_t dead_bytes; /* of the last of these objects */
    uint32_t dead_crc32c;
};

/**
 * One load job's worth of confirmed objects of one table. When BigQuery refuses it, parts take its
 * place: some of its plans each, or, of a single plan, some of its lines (pieces).
 */
struct load {
    uint64_t id;                      /* unique in this delivery log for ever */
    char table[TABLE_NAME_BYTES_MAX]; /* table id in the configured dataset */
    uint64_t rows;                    /* expected */
    uint32_t attempt;                 /* latest; 0 before the first */
    bool attempt_done; /* the latest attempt is known to have failed: another may be made */
    uint32_t n_plans;
    uint64_t *plan_id; /* heap; owned by whoever owns the load */
    uint64_t root;     /* the load that was cut, however often since; 0: this one never was */
    bool piece;        /* lines [first, first + rows) of its only plan, in an object of their own */
    uint64_t first;
    bool proven; /* another part of its root was loaded since: the table does take rows */
};

/** One of the parts that take the place of a refused load. */
struct load_part {
    uint64_t id; /* of the new load */
    uint64_t rows;
    bool piece;
    uint64_t first;
    uint32_t n_plans;
    const uint64_t *plan_id;
};

/** What takes the place of a refused load. */
struct load_split {
    uint32_t n_parts;
    struct load_part part[LOAD_PARTS_MAX];
};

/** A row that BigQuery refused, alone in its load: it is a dead letter. */
struct load_reject {
    char object[OBJECT_NAME_BYTES_MAX];
    uint64_t bytes;
    uint32_t crc32c;
};

#endif
