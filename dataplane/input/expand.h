/*
 * Compressed bodies: gzip (RFC 1952) and zstd (RFC 8878) through zlib and libzstd, in steps, into
 * memory that the caller gives. Members and frames may follow one another; anything else behind them
 * is an error, and so is an end in the middle.
 *
 * All memory is taken at creation: an arena for zlib, and for zstd a workspace for windows of at most
 * EXPAND_WINDOW_MAX, which is what RFC 9659 allows in HTTP.
 *
 * Thread: a struct expander belongs to one; expander_create() and expander_destroy() at init and
 * control.
 */
#ifndef PENSTOCK_INPUT_EXPAND_H
#define PENSTOCK_INPUT_EXPAND_H

#include "dataplane/input/http_parser.h"

#define EXPAND_WINDOW_MAX (8u << 20)

struct expander;

/** What a step has come to. */
enum expand_result {
    EXPAND_DONE,
    EXPAND_MORE, /* out is full, or the input used up to the step's bound: go on */
    EXPAND_BAD,  /* corrupt, cut off, or followed by something else; see expand_error() */
};

/** Fixed memory. Thread: init. */
uint64_t expand_memory_bytes(void);

/** Takes it. Thread: init. @return 0 or -ENOMEM. */
int expander_create(struct expander **out) WARN_UNUSED;

/** mem_populate() for it; the worker may use it meanwhile. Thread: any. */
int expander_populate(struct expander *e, const _Atomic bool *stop) WARN_UNUSED;

/** Frees it. NULL is allowed. Thread: control. */
void expander_destroy(struct expander *e);

/** Begins a body: all of its compressed bytes, which stay the caller's until the last step. coding
 * is gzip or zstd. */
void expand_start(struct expander *e, enum http_coding coding, const char *in, size_t len);

/** The compressed bytes have moved. */
void expand_move(struct expander *e, const char *in);

/**
 * Expands at most room bytes more into out, and reads at most some 64 KiB of input: a step's time is
 * bounded.  Alloc: none after creation.
 * @param produced bytes written.
 */
enum expand_result expand_step(struct expander *e, char *out, size_t room, size_t *produced);

/** What is wrong, for people, after EXPAND_BAD. */
const char *expand_error(const struct expander *e);

#endif
