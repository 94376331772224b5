/*
 * The daemon's side of ingest_protocol.h: takes a connection of the CLI socket over, and stores the
 * documents that come.
 */
#ifndef PENSTOCK_CONTROL_CLI_INGEST_H
#define PENSTOCK_CONTROL_CLI_INGEST_H

#include "control/ingest_protocol.h"
#include "control/inject.h"
#include "control/textbuf.h"

enum ingest_request {
    INGEST_REQUEST_NONE,
    INGEST_REQUEST_SESSIONS,
    INGEST_REQUEST_OPEN,
    INGEST_REQUEST_BATCH
};

/** What an ingest-open asks for. */
struct ingest_open {
    uint8_t session[INGEST_SESSION_BYTES];
    char source[INGEST_NAME_BYTES_MAX + 8]; /* "file NAME" */
    char type[TYPE_NAME_BYTES_MAX];
    size_t type_len; /* 0: from the events */
};

/** Whether a line is a request with a body, which one, and how long. NONE for anything else. Thread: any. */
enum ingest_request ingest_parse_line(const char *line, size_t len, uint64_t *bytes);

/** Reads the body of an ingest-open. @return 0; -EINVAL with one sentence. Thread: any. */
int ingest_parse_open(const char *body, size_t len, struct ingest_open *out,
                      struct textbuf *error) WARN_UNUSED;

/**
 * Finds the documents of a batch in its body; they point into it.
 * Thread: any.  Alloc: none.
 * @return how many, at most max; -EINVAL for a body that is not whole documents with rising seq.
 */
int ingest_parse_batch(const char *body, size_t len, const struct ingest_open *open,
                       struct inject_doc *doc, uint32_t max) WARN_UNUSED;

/**
 * Serves a connection whose first request line is one of these, to its end.
 * Thread: the connection's.
 * @param line that line, without its end; more: what has been received behind it.
 */
void ingest_serve(struct daemon *d, int fd, const char *line, size_t len, const char *more,
                  size_t more_len);

#endif
