/*
 * HOT. What the vector variants share: the tokens of a stretch of the buffer (the tape), the marks of
 * what has to be looked at again, and the cache of shapes.
 *
 *   bytes ── stage 1, 64 at a time ──► kind[] and pos[] of tokens, marks, numbers and escapes to check
 *   line  ── shape known? ──► keys compared ──► fields
 *              └ no ─► grammar ─► keys looked up ─► fields ─► learned when seen twice
 *
 * Whatever is unusual (an error, a carriage return in a line) is only marked by stage 1,
 * in units of 64 bytes: the scalar scanner then reads the lines that touch the mark, and decides. So
 * a vector variant can never invent an error, and errors have the scalar scanner's offsets; what it
 * must not do is leave out a mark.
 */
#ifndef PENSTOCK_JSON_TAPE_H
#define PENSTOCK_JSON_TAPE_H

#include "dataplane/json/json_internal.h"

/* Kinds of tokens. Class bytes are made of them, see the table in json_tape.c. */
enum {
    KIND_PLAIN = 0,  /* number, literal, or what cannot stand there */
    KIND_STRING = 1, /* opening quote */
    KIND_SPACE = 2,  /* never a token */
    KIND_OBJECT = 8,
    KIND_OBJECT_END = 9,
    KIND_ARRAY = 10,
    KIND_ARRAY_END = 11,
    KIND_COMMA = 12,
    KIND_COLON = 13,
    KIND_LINE = 14, /* line feed, or the end of the buffer */
};

/* A class byte is the kind, and: */
#define CLASS_KIND    0x0F
#define CLASS_OP      0x08 /* structural */
#define CLASS_SPECIAL 0x80 /* control characters but line feed, backslash */

extern const uint8_t json_class[256]; /* those that are not ASCII: 0 */

/**
 * Tables to find bytes that break table 3-7 of the Unicode standard, after Keiser and Lemire,
 * "Validating UTF-8 in less than one instruction per byte": by the upper nibble of the byte before, by
 * its lower one, by the upper one of the byte itself. What the three have in common is wrong.
 */
extern const uint8_t json_utf8[3][16];

#define BLOCK_BYTES 64u
#define CHUNK_BYTES (32u << 10) /* scanned at once: what it fills stays in the caches */
#define CARRY_MAX \
    (32u << 10) /* tokens of a document that goes on; longer ones are read as scalar */
#define TAPE_TOKENS (CARRY_MAX + CHUNK_BYTES + 4 * BLOCK_BYTES)
#define TAPE_HALF   (CHUNK_BYTES / 2 + BLOCK_BYTES) /* of what takes two bytes at least */
#define DENSE_BYTES (CHUNK_BYTES + 8 * BLOCK_BYTES)
#define TAPE_MARKS  (CHUNK_BYTES / BLOCK_BYTES + 4)

/* Marks of 64 bytes. */
#define MARK_RESCAN 1 /* the scalar scanner decides about the lines that touch it */
#define MARK_RETURN 2 /* there is a carriage return outside of strings */
#define MARK_FAR    4 /* of a line that was carried over: it has a far number */

#define SHAPE_TOKENS_MAX 1024u
#define SHAPE_KEYS_MAX   96u
#define SHAPE_KEYS_STEP  4u
#define SHAPE_FULL_MAX   32u
#define SHAPE_TEXT_BYTES 640u
#define SHAPE_WAYS       8u
#define SHAPE_SEEN       1024u /* shapes seen once that are remembered by their hash */

/**
 * What is known of events with one sequence of token kinds and one set of live keys. Live are the
 * keys of the containers that paths lead into: only if all of them are as they were is it certain
 * that no other member is picked than then.
 */
struct json_shape {
    uint64_t id; /* 0: free */
    uint32_t n_tokens;
    uint16_t n_keys; /* filled up to a multiple of SHAPE_KEYS_STEP with keys of no bits */
    uint16_t n_full;
    bool long_keys; /* there are keys of more than 16 bytes among the full ones */
    uint16_t found; /* set of paths */
    struct {
        uint16_t token; /* of the value */
        uint16_t end;   /* token of its closing bracket, for containers */
    } field[JSON_PATHS_MAX];
    struct {
        uint64_t
            bytes[SHAPE_KEYS_STEP]; /* the first 8 from behind the quote, closing quote included */
        uint64_t mask[SHAPE_KEYS_STEP]; /* which of them count: all, or as many as there are */
        uint16_t token[SHAPE_KEYS_STEP];
    } keys[SHAPE_KEYS_MAX / SHAPE_KEYS_STEP]; /* side by side: one event needs few cache lines */
    struct {
        uint64_t tail;           /* bytes 9 to 16, or the last 8 of fewer */
        uint16_t token, at, len; /* text[at, at + len): key and closing quote */
        uint16_t tail_at;        /* from behind the quote; 8 at most */
    } full[SHAPE_FULL_MAX];      /* keys that 8 bytes do not tell from a wanted one */
    char text[SHAPE_TEXT_BYTES];
    uint8_t kind[SHAPE_TOKENS_MAX] __attribute__((aligned(64)));
};

static_assert(SHAPE_KEYS_MAX % SHAPE_KEYS_STEP == 0, "keys are filled up");
static_assert(sizeof(struct json_shape) / 64 % 2 == 1, "shapes begin in all sets of the caches");

/** A key of a live container, as the grammar found it. */
struct json_live_key {
    uint32_t token;
    uint32_t len;
};

/** Tokens that matter to picking, of one event. */
struct json_live {
    uint32_t n;
    struct json_live_key key[SHAPE_KEYS_MAX];
    bool all;      /* there was room for all of them, and none has escapes: it can be learned */
    uint64_t hash; /* of their first 8 bytes */
    uint32_t field_token[JSON_PATHS_MAX];
    uint32_t field_end[JSON_PATHS_MAX];
    uint16_t found;
};

#define COLONS_MAX 256u

/** The colons of an event by depth: which tokens of it they are. */
struct json_colons {
    uint32_t n[JSON_PATH_KEYS_MAX];
    bool many;                                          /* there were more */
    uint32_t token[JSON_PATH_KEYS_MAX][COLONS_MAX + 3]; /* and room to write some more */
};

/** 64 tokens, a bit each. */
struct kind_masks {
    uint64_t object, object_end, array, array_end, string, plain, comma, colon;
    uint64_t next_string, next_colon, next_next_colon; /* what stands one or two tokens behind */
};

/** Of one stream. */
struct json_tape {
    const char *buf;
    uint32_t len;
    uint32_t start;   /* nothing in front of it is read: 0, but for several buffers */
    uint32_t scanned; /* bytes that stage 1 is through with */
    bool ended;       /* the last line has its token */
    /* What one block says to the next. */
    uint64_t in_string; /* all ones or 0 */
    uint64_t in_plain;  /* 1: the last byte belongs to a number or literal */
    uint64_t escaped;   /* 1: the next byte is escaped */
    uint32_t low_at;    /* where a low surrogate has to stand: its backslash */
    /* Counts. */
    uint32_t n_tokens, n_dense, n_plain, n_far, n_escapes, n_others;
    uint32_t token_next;    /* first token of the next line */
    uint32_t token_checked; /* numbers and literals in front of it are checked or marked */
    uint32_t far_next;      /* not in lines that were handed out */
    /* AVX2, of line[]. */
    bool listed; /* it is of these tokens */
    uint32_t n_lines, line_next;
    uint32_t line_first; /* the token that it counts from */
    /* Of arrays and single documents, see json_documents.h. */
    bool breaks;    /* there were line feeds, which are no tokens */
    bool stopped;   /* what is behind the tokens is not made elements of */
    uint32_t depth; /* open containers; 1: in the array itself */
    uint32_t
        resume; /* where the scalar scanner can go on: behind the last element that has ended, or 0 */
    uint64_t parted; /* 1: the last token stands in front of an element */
    /* Marks of the bytes from mark_base on. */
    uint32_t mark_base;
    bool marked;
    uint8_t carried; /* marks of the part of the first line that lies in front of mark_base */
    uint8_t mark[TAPE_MARKS];
};

/** One of several buffers: on the tape its bytes are those from `from` to `to`. See json_buffers.h. */
struct json_placed {
    const char *base; /* byte i of the tape is base[i] */
    uint32_t from, to;
};

#define PLACED_BEHIND 3 /* empty ones, for what looks ahead */

struct json_vectors {
    struct json_tape tape;
    struct json_placed placed[JSON_BUFFERS_MAX + PLACED_BEHIND];
    uint32_t n_placed;
    uint32_t placed_next; /* the one that the next line is in */
    uint32_t *pos;        /* of tokens */
    uint32_t *plain;      /* positions of numbers and literals that have to be checked one by one */
    uint32_t *far;        /* positions of far numbers, in order */
    uint32_t *escape;     /* positions behind backslashes */
    uint32_t *other;      /* blocks that hold bytes that are not ASCII */
    uint8_t *kind;        /* of tokens */
    char *dense;          /* numbers and literals, each with the byte behind it: AVX-512 */
    uint64_t block_tokens[CHUNK_BYTES / BLOCK_BYTES + 1]; /* of blocks, a bit a byte: AVX2 */
    uint16_t line[CHUNK_BYTES + BLOCK_BYTES];             /* tokens that are line feeds: AVX2 */
    uint32_t seen[SHAPE_SEEN];
    uint64_t generation;
    uint32_t way;    /* to replace next */
    uint32_t levels; /* of the longest path */
    /* Sets of paths by the first byte of their key at a level. */
    uint16_t by_first[JSON_PATH_KEYS_MAX][256];
    struct json_live live;
    struct json_colons colons;
    uint64_t hash
        [JSON_SHAPES_MAX]; /* of the kinds of a shape; apart, since all of a set are looked at */
    struct json_shape shape[JSON_SHAPES_MAX];
};

static_assert(JSON_SHAPES_MAX % SHAPE_WAYS == 0, "sets are whole");

/** Marks the bytes from off on, one block of them. */
INLINE void tape_mark(struct json_tape *t, uint32_t off, uint8_t what)
{
    const uint32_t first = (off - t->mark_base) / BLOCK_BYTES;

    ASSERT_HOT(off >= t->mark_base && first + 1 < TAPE_MARKS);
    t->marked = true;
    t->mark[first] |= what;
    t->mark[first + 1] |= what;
}

/** All marks that touch the bytes from..to, both included; from may lie in front of the marks. */
INLINE uint8_t tape_marks(const struct json_tape *t, uint32_t from, uint32_t to)
{
    uint8_t what = 0;
    uint32_t i = 0;

    if (from < t->mark_base)
        what = t->carried;
    else
        i = (from - t->mark_base) / BLOCK_BYTES;
    if (!t->marked || to < t->mark_base)
        return what;
    for (; i <= (to - t->mark_base) / BLOCK_BYTES; i++)
        what |= t->mark[i];
    return what;
}

/** Checks the numbers and literals in plain[]: marks what is wrong, and lists what is far. */
void json_check_plain(struct json_vectors *v);

/** Checks escapes of the buffer that is read, those in escape[first, end): marks what is wrong. */
void json_check_escapes(struct json_vectors *v, uint32_t first, uint32_t end);

/** Reads the tape's bytes of buffer i. */
INLINE void tape_enter(struct json_vectors *v, uint32_t i)
{
    struct json_tape *t = &v->tape;

    ASSERT_HOT(i < v->n_placed);
    t->buf = v->placed[i].base;
    t->start = v->placed[i].from;
    t->len = v->placed[i].to;
}

/** What a vector variant needs. Alloc: yes. @return NULL without memory. */
struct json_vectors *json_vectors_create(const struct json_paths *paths);

/** Frees it. NULL is allowed. */
void json_vectors_destroy(struct json_vectors *v);

/** What json_vectors_create() takes. */
size_t json_vectors_bytes(void);

/**
 * Finds the live keys and the picked members of a valid event.
 * @return false when there were too many colons.
 */
bool json_live_find(struct json_parser *p, uint32_t first, uint32_t n_tokens,
                    const struct json_colons *colons);

/** Learns the shape of the event in v->live, if it has been seen before. @return it, or NULL. */
struct json_shape *json_shape_learn(struct json_parser *p, uint64_t hash, uint32_t first,
                                    uint32_t n_tokens);

/** As shape_keys(), for what is behind the first 16 bytes. */
bool json_shape_full(const struct json_vectors *v, const struct json_shape *shape, uint32_t first);

#endif
