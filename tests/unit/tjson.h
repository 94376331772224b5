/*
 * What the proofs of the JSON parser share, unit tests and fuzz targets alike: a comparison of all
 * variants that this CPU has with each other and with an independent parser (jansson), memory that ends
 * where it must not be read further, and makers of events and of nearly right events.
 */
#ifndef PENSTOCK_TEST_TJSON_H
#define PENSTOCK_TEST_TJSON_H

#include "dataplane/json/json.h"

#define TJSON_ISAS_MAX 3

/* ---- random numbers: the same ones for the same seed, everywhere ---- */

struct tjson_rng {
    uint64_t state;
};

uint64_t tjson_next(struct tjson_rng *r);

/** One of 0..n-1; n is not 0. */
uint32_t tjson_below(struct tjson_rng *r, uint32_t n);

/* ---- all variants at once ---- */

/** What a shape was seen to stand for. */
struct tjson_shape {
    uint64_t shape;
    uint64_t kinds; /* hash of the kinds of its tokens */
    uint32_t n_tokens;
};

/** One parser for each variant that can run here; the scalar one is the first. */
struct tjson {
    int n;
    enum json_isa isa[TJSON_ISAS_MAX];
    struct json_parser *parser[TJSON_ISAS_MAX];
    struct json_paths paths;
    struct tjson_shape shapes[TJSON_ISAS_MAX][JSON_SHAPES_MAX];
    unsigned turn;
    char what[512]; /* the first difference, for people */
};

#define TJSON_ORACLE 0x01 /* compare with jansson as well; slow */

/** Makes new parsers with n_paths dotted paths (texts are borrowed). Ends the program when it cannot. */
void tjson_init(struct tjson *t, const char *const *paths, int n_paths);
void tjson_fini(struct tjson *t);

/**
 * Reads buf with every variant and compares all they say about every document, and, but for lines, about the
 * whole; the parsers keep what they have learned for the next call. An array need not be valid, but then
 * jansson cannot be asked about its elements. buf is readable for JSON_PADDING_BYTES more.
 * @return the number of documents, or -1 with the difference in t->what.
 */
int tjson_check(struct tjson *t, const char *buf, size_t len, enum json_framing framing,
                unsigned flags);

/**
 * Reads n buffers as one stream with every variant, and compares with the scalar variant on each alone.
 * @return the number of documents, or -1 with the difference in t->what.
 */
int tjson_check_buffers(struct tjson *t, const struct json_buffer *buffer, uint32_t n);

/**
 * Lists len bytes of text as buffers, cut at lines' ends and anywhere, each in an allocation that ends with
 * its padding. Owner: the caller, until tjson_cut_free(). @return how many.
 */
uint32_t tjson_cut(struct tjson_rng *r, const char *text, size_t len, const char *padding,
                   struct json_buffer buffer[JSON_BUFFERS_MAX]);

/** Frees what tjson_cut() took. */
void tjson_cut_free(struct json_buffer *buffer, uint32_t n);

/* ---- memory between two pages that may not be touched ---- */

struct tjson_guard {
    char *map;
    char *low;  /* the first byte that may be touched */
    char *high; /* the first one behind that may not */
};

void tjson_guard_init(struct tjson_guard *g, size_t room_bytes);
void tjson_guard_fini(struct tjson_guard *g);

/** Copies text so that exactly JSON_PADDING_BYTES can be read behind it; they repeat padding. */
char *tjson_guard_end(const struct tjson_guard *g, const char *text, size_t len,
                      const char *padding);

/** Copies text to where nothing can be read in front of it. */
char *tjson_guard_start(const struct tjson_guard *g, const char *text, size_t len,
                        const char *padding);

/* ---- events ---- */

/**
 * Writes one event without line end. Order and nesting follow from shape, values from r, keys from shape
 * and, when it is odd, now and then from r. It has the members of tjson_paths now and then.
 * @return its length, at most cap, which is 4096 or more.
 */
size_t tjson_event(uint64_t shape, struct tjson_rng *r, char *out, size_t cap);

/**
 * Changes text in one place as a careless or hostile producer might: brackets swapped, a colon for a
 * comma, a quote moved, a number cut, a key renamed, bytes flipped, a token doubled or left out.
 * @return the new length, at most cap.
 */
size_t tjson_mutate(struct tjson_rng *r, char *text, size_t len, size_t cap);

/**
 * Writes some events of a shape, one a line, and changes about half of them. @return the length, at most
 * cap, which is 8192 or more.
 */
size_t tjson_changed_events(struct tjson_rng *r, uint64_t shape, char *buf, size_t cap);

/** Hostile input of any size: head, then unit as often as there is room, then tail. */
struct tjson_growth {
    const char *name;
    const char *head, *unit, *tail;
};

extern const struct tjson_growth tjson_growths[];
extern const size_t tjson_n_growths;

/** Writes it, size bytes at most; only the head and the tail when that is more. @return its length. */
size_t tjson_grow(const struct tjson_growth *g, char *out, size_t size);

/** Paths that tjson_event() has members for. */
extern const char *const tjson_paths[];
extern const int tjson_n_paths;

#endif
