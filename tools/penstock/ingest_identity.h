/*
 * Which session a file belongs to: a function of its first 64 KiB of documents, so that a file that
 * was renamed or moved is the same, and one that has grown continues.
 *
 * A file that ends within the first 64 KiB may grow later. So there are candidates: one for the end
 * of each document in there, as if the file had ended with it; the longest one that the daemon knows
 * is the file's. When a file is sent again on purpose, its session has a further generation.
 *
 * Thread: any.
 */
#ifndef PENSTOCK_TOOLS_INGEST_IDENTITY_H
#define PENSTOCK_TOOLS_INGEST_IDENTITY_H

#include "control/ingest_protocol.h"
#include "dataplane/base/compiler.h"

#define IDENTITY_BYTES 65536

/** A session as the daemon knows it. */
struct known_session {
    uint8_t id[INGEST_SESSION_BYTES];
    uint64_t seq, note;
};

/** What the first documents of a file say. */
struct identity {
    uint8_t (*base)[32]; /* candidates, shortest first; the last one is the file as it is now */
    uint32_t n;
    bool in_array; /* its documents are elements of an array */
};

/**
 * Reads the first documents of a file.
 * Alloc: yes.  Owner: caller, until identity_free().
 * @return 0; -errno with one sentence. A file without documents has no candidates.
 */
int identity_read(const char *path, struct identity *out, char *error,
                  size_t error_len) WARN_UNUSED;

/** The only candidate of a name that the user gave. @return 0 or -ENOMEM. */
int identity_of_name(const char *name, struct identity *out) WARN_UNUSED;

/** Frees it. */
void identity_free(struct identity *i);

/** The session of a candidate's generation. */
void identity_session(const struct identity *i, uint32_t candidate, uint32_t generation,
                      uint8_t out[INGEST_SESSION_BYTES]);

/**
 * The session that a file continues: the newest generation of the longest candidate among those
 * known, or a new one. again: the generation behind it.
 * @param known sorted by id.
 */
void identity_choose(const struct identity *i, const struct known_session *known, size_t n_known,
                     bool again, uint8_t out[INGEST_SESSION_BYTES]);

/** Reads the answer of ingest-sessions. Owner: caller frees *out, which is sorted by id. @return 0;
 * -EBADMSG; -ENOMEM. */
int identity_parse_known(const char *text, struct known_session **out, size_t *n) WARN_UNUSED;

#endif
