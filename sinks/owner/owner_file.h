/*
 * DATA_DIR/owner: where this data directory is, and as whom it last claimed to be the only one of its
 * kind. A file of 8 KiB that is never replaced: its inode tells the directory from a copy. Two slots of
 * text, written in turn, each with a check: whoever reads it needs no tool, a torn write costs nothing,
 * and a full disk does not matter.
 *
 * Thread: one at a time: init, then the sink thread that claims.
 */
#ifndef PENSTOCK_OWNER_FILE_H
#define PENSTOCK_OWNER_FILE_H

#include <stdint.h>

#include "dataplane/base/compiler.h"

#define OWNER_TOKEN_BYTES  33 /* 32 hex digits and a NUL */
#define OWNER_CLAIMS_MAX   8 /* starts that are killed one after the other, each with an answer due */
#define OWNER_CLAIMS_BYTES (OWNER_CLAIMS_MAX * OWNER_TOKEN_BYTES) /* with commas between */
#define OWNER_BUCKET_BYTES 224
#define OWNER_NODE_BYTES   128
#define OWNER_ID_BYTES     65

/** What the file says. Texts hold no white space. */
struct owner_record {
    uint64_t seq;
    uint64_t inode;  /* of the file itself, when it was written */
    int64_t born_ns; /* of the file itself; 0: unknown */
    char machine[OWNER_ID_BYTES];
    char node
        [OWNER_NODE_BYTES]; /* in the name of the object in the bucket: the first one, for ever */
    char log[OWNER_TOKEN_BYTES];     /* the delivery log that the tokens are of */
    char bucket[OWNER_BUCKET_BYTES]; /* the bucket that the tokens are in */
    char token[OWNER_TOKEN_BYTES];   /* of the last claim that is known to have held, or "-" */
    char next[OWNER_CLAIMS_BYTES]; /* of claims that may have been made, the oldest first, or "-" */
    char before_bucket[OWNER_BUCKET_BYTES]; /* the same of the bucket before this one */
    char before_token[OWNER_TOKEN_BYTES];
    char before_next[OWNER_CLAIMS_BYTES];
};

struct owner_file;

/**
 * Opens DATA_DIR/owner, or makes it, and looks whether it is where it was written, on this machine.
 * adopt: what is elsewhere than it was is accepted, from now on.
 * Owner: caller, until owner_file_close().
 * @return 0; -EXDEV when this is a copy, or another machine; -EUCLEAN for damage; -errno. error: one
 * sentence.
 */
int owner_file_open(const char *data_dir, const char *machine, bool adopt, struct owner_file **out,
                    char *error, size_t error_len) WARN_UNUSED;

/** Frees it. NULL is allowed. */
void owner_file_close(struct owner_file *f);

/** What it says; to be changed, and then written. */
struct owner_record *owner_file_record(struct owner_file *f);

/** Writes the record, durably. @return 0 or -errno; then the file still says what it said. */
int owner_file_write(struct owner_file *f) WARN_UNUSED;

/** Whether a token that the object shows is this directory's: held, or of a claim that may have been made. */
bool owner_record_knows(const struct owner_record *r, const char *token) WARN_UNUSED;

/** Adds a claim that is going to be made; of OWNER_CLAIMS_MAX the oldest is forgotten. */
void owner_record_claim(struct owner_record *r, const char *token);

/** Reads one slot's text (NUL-terminated). @return false when it is none, or its check does not hold. */
bool owner_record_read(const char *text, struct owner_record *out) WARN_UNUSED;

#endif
