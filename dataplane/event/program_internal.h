/* What the files of programs and of the check share. HOT. */
#ifndef PENSTOCK_EVENT_PROGRAM_INTERNAL_H
#define PENSTOCK_EVENT_PROGRAM_INTERNAL_H

#include "dataplane/event/decimal_internal.h"
#include "dataplane/event/program.h"

#define PROGRAM_KEY_BYTES 32  /* of a key that are compared at once */
#define PROGRAM_OPS_MAX   246 /* of a plan */
#define PROGRAM_NUMBERS   32  /* of a plan that are read side by side */
#define PROGRAM_NAME_MAX  300 /* BigQuery */
#define PROGRAM_ROOT      0
#define COLUMN_PLAIN_MAX  1024 /* of a string with escapes that is a number, a time or a word */

/* The bytes of a protobuf field's tag. */
struct program_tag {
    char bytes[3];
    uint8_t len;
};

/**
 * One column, in one cache line. The columns of a RECORD lie side by side; entry 0 is the root, which
 * is nobody's column.
 */
struct program_column {
    char key[PROGRAM_KEY_BYTES]; /* its name and a closing quote, cut off, then zeros */
    const struct schema_field *field;
    uint32_t key_mask; /* a bit for each byte of key to compare */
    struct program_tag tag;
    uint32_t slots; /* of a RECORD: where its hash table starts in program->slot */
    uint16_t slot_mask;
    uint16_t first, n; /* of a RECORD: its columns */
    uint16_t name_len;
    uint8_t type;  /* enum column_type */
    uint8_t mode;  /* enum column_mode */
    uint8_t added; /* enum column_added */
    bool limited;  /* its text has a maxLength */
};

static_assert(sizeof(struct program_column) == 64, "one cache line");

/* Columns that Penstock adds. */
enum program_added {
    PROGRAM_ADDED_DATE,
    PROGRAM_ADDED_TIME,
    PROGRAM_ADDED_ID,
    PROGRAM_ADDED_OVERFLOW,
    PROGRAM_ADDED_N,
};

struct program {
    uint32_t n_columns, n_slots;
    uint16_t added[PROGRAM_ADDED_N]; /* their columns; 0 when there is none */
    uint16_t *slot;                  /* hash tables: the column, 0 when free */
    struct program_column column[];
};

/* What is to be done for events of one shape of one program: see program_plan.c. */
struct program_op {
    uint16_t token;  /* of the value; its key is two before it */
    uint8_t kind;    /* enum program_op_kind */
    uint8_t number;  /* of one that is read beside others: which of them */
    uint32_t column; /* in bytes from the first */
};

static_assert(sizeof(struct program_op) == 8, "a plan is read from memory for each event");

struct program_plan {
    uint64_t shape;  /* 0: none */
    uint64_t serial; /* counts the plans that the memory has made */
    const struct program *program;
    uint16_t n_ops; /* 0: events of this shape are walked */
    uint8_t misses; /* since it was last of use */
    uint8_t
        n_numbers;   /* rounded up to whole steps of eight; the last one stands for those beyond */
    uint8_t variant; /* the memory's */
    bool line;       /* of lines: see program_row */
    uint32_t integers;                /* which of the numbers are */
    uint16_t number[PROGRAM_NUMBERS]; /* their tokens */
    uint16_t n_keys;                  /* of check[] */
    struct program_op op[PROGRAM_OPS_MAX + 1];
    /* Of that what concerns a check: the keys (token is the key's), then the steps that look at values. */
    struct program_op check[2 * PROGRAM_OPS_MAX + 1];
};

#define PLAN_LINKS       131072
#define PLAN_LINK_WAYS   4
#define PLANS_OF_A_SHAPE 4 /* that may be of use to other programs */

/* A program that checks events by a plan that another one has made. */
struct plan_link {
    const struct program *program;
    uint64_t plan; /* its serial number, and below that its slot */
};

struct program_memory {
    uint8_t variant;       /* enum plan_variant */
    uint64_t plans;        /* made */
    uint64_t links_pushed; /* out of their places by others */
    /* Slots of the last plans for shapes. */
    uint8_t of_shape[JSON_SHAPES_MAX][PLANS_OF_A_SHAPE];
    struct program_plan plan[JSON_SHAPES_MAX];
    /* Any of those in a row. */
    alignas(CACHE_LINE_BYTES) struct plan_link link[PLAN_LINKS / PLAN_LINK_WAYS][PLAN_LINK_WAYS];
};
static_assert(sizeof(struct plan_link) * PLAN_LINK_WAYS == CACHE_LINE_BYTES, "one line an event");
static_assert(JSON_SHAPES_MAX == 256, "slots are bytes");

/* A value as its column takes it. */
struct column_value {
    int64_t number; /* INTEGER, BOOLEAN, TIMESTAMP, DATE, TIME, DATETIME */
    double real;    /* FLOAT */
    int64_t past;   /* RANGE: its end; number: its start */
    bool has_start, has_end;
    struct decimal decimal;
    struct span text; /* raw: STRING, GEOGRAPHY and BYTES without quotes; JSON */
    char unescaped[COLUMN_PLAIN_MAX + JSON_PADDING_BYTES]; /* of the value; decimal points here */
};

/**
 * Reads a value that is neither null nor an array of a REPEATED column for a column that is no
 * RECORD.
 * @param out may be left unset in parts that the column's type does not use.
 * @param why receives a short text for people when the reason is BAD_VALUE.
 */
enum reason column_value_read(const struct schema_field *f, struct json_value v,
                              struct column_value *out, const char **why) WARN_UNUSED;

/**
 * Decodes padded base64 in a raw string body.
 * @param out holds 3 bytes for each 4 of raw; NULL: only counts.
 * @return the bytes; -1 for another form.
 */
int64_t column_base64(struct span raw, char *out);

/** The hash of a column's name. */
static inline uint32_t program_hash(const char *p, size_t len)
{
    uint64_t low = 0, high = 0;

    if (len >= 8) {
        memcpy(&low, p, 8);
        memcpy(&high, p + len - 8, 8);
    } else {
        memcpy(&low, p, len);
    }
    low = (low ^ (high * UINT64_C(0x9E3779B97F4A7C15)) ^ len) * UINT64_C(0xD6E8FEB86659FD93);
    return (uint32_t)(low >> 32);
}

#endif
