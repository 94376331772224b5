/*
 * The JSON documents of a file or of standard input, one after the other, in memory that does not
 * depend on the file's size. Plain, gzip or zstd (source.h). Three forms, told apart by content:
 *
 *     lines    NDJSON: each line stands alone; empty lines are passed over
 *     values   '[' first: the elements of an array, also pretty-printed, are the documents;
 *              '{' first, and the first line alone is the beginning of an object over several
 *              lines: objects one after the other, as `jq .` prints them
 *
 * A document is handed out as its bytes lie, white space trimmed, and need not be valid JSON: who
 * takes it judges it. In values, bytes that leave unclear where the next document begins (brackets
 * that do not match, a line break inside a string, no comma between elements, an early end) are an
 * error that ends the reading; what stood in front of them has been handed out.
 *
 * Thread: a reader belongs to one thread.
 */
#ifndef PENSTOCK_TOOLS_DOCUMENTS_H
#define PENSTOCK_TOOLS_DOCUMENTS_H

#include "dataplane/base/compiler.h"
#include "tools/penstock/source.h"

#define DOCUMENTS_BYTES_MAX (64u << 20) /* of one document, when the options name none */

struct documents;

/** How to read. Zero is fine. */
struct documents_options {
    size_t bytes_max; /* of a longer document only the head is kept */
    bool unfinished;  /* a last line without its end that is a beginning of JSON is still being
                         written: an error, like the other bytes that leave a document unclear */
};

/** One document. */
struct document {
    const char *ptr;  /* JSON_PADDING_BYTES readable behind it; valid until the next call */
    size_t len;       /* of what is kept */
    uint64_t whole;   /* its length; more than len: it is longer than bytes_max */
    uint64_t line;    /* where it begins, from 1, in the expanded text */
    uint64_t element; /* in an array, from 1; 0: not in an array */
    uint64_t end;     /* expanded bytes up to its last one */
    uint32_t crc32c;  /* of all those bytes */
};

/**
 * Opens path, or standard input for "-".
 * Thread: any.  Alloc: yes.  Owner: caller, until documents_close().
 * @return 0; -errno with one sentence, which does not name the path.
 */
int documents_open(const char *path, const struct documents_options *options,
                   struct documents **out, char *error, size_t error_len) WARN_UNUSED;

/** Frees it. NULL is allowed. Thread: its owner. */
void documents_close(struct documents *d);

/**
 * Hands out the next document.
 * Thread: its owner.  Alloc: none, but once for a document over bytes_max.
 * @return 1; 0 at the end; -errno with one sentence, with the line: -EBADMSG for the file's content.
 */
int documents_next(struct documents *d, struct document *out, char *error,
                   size_t error_len) WARN_UNUSED;

/** Whether the next document may have to be waited for, because a pipe is empty. Thread: its owner. */
bool documents_wait(const struct documents *d);

/** The bytes below, for progress and sizes. Thread: its owner. */
const struct source *documents_source(const struct documents *d);

/** The line that reading has come to, from 1. Thread: its owner. */
uint64_t documents_line(const struct documents *d);

#endif
