/*
 * Bounded little-endian cursors over byte runs, for records, frames and headers. A read past the
 * end sets `bad` and gives zeros; a write past the end is our mistake and asserts.
 *
 * Thread: any.  Alloc: none.
 */
#ifndef PENSTOCK_DELIVERY_BYTES_H
#define PENSTOCK_DELIVERY_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#include "dataplane/base/compiler.h"

struct byte_reader {
    const uint8_t *p;
    size_t left;
    bool bad;
};

struct byte_writer {
    uint8_t *p;
    size_t left;
};

/** The next n bytes, or NULL when there are not so many. */
static inline const uint8_t *get_bytes(struct byte_reader *r, size_t n)
{
    const uint8_t *at = r->p;

    if (r->bad || n > r->left) {
        r->bad = true;
        return NULL;
    }
    r->p += n;
    r->left -= n;
    return at;
}

/** Takes 8 bytes, little-endian; 0 once the reader has failed. Thread: any. */
static inline uint64_t get_u64(struct byte_reader *r)
{
    const uint8_t *at = get_bytes(r, 8);
    uint64_t v = 0;

    if (at != NULL)
        memcpy(&v, at, 8);
    return le64toh(v);
}

/** Takes 4 bytes. Thread: any. */
static inline uint32_t get_u32(struct byte_reader *r)
{
    const uint8_t *at = get_bytes(r, 4);
    uint32_t v = 0;

    if (at != NULL)
        memcpy(&v, at, 4);
    return le32toh(v);
}

/** Takes 2 bytes. Thread: any. */
static inline uint16_t get_u16(struct byte_reader *r)
{
    const uint8_t *at = get_bytes(r, 2);
    uint16_t v = 0;

    if (at != NULL)
        memcpy(&v, at, 2);
    return le16toh(v);
}

/** Takes a byte. Thread: any. */
static inline uint8_t get_u8(struct byte_reader *r)
{
    const uint8_t *at = get_bytes(r, 1);

    return at == NULL ? 0 : *at;
}

/** Appends len bytes; fails the writer when they do not fit. Thread: any. */
static inline void put_bytes(struct byte_writer *w, const void *src, size_t n)
{
    ASSERT(n <= w->left);
    if (n > 0)
        memcpy(w->p, src, n);
    w->p += n;
    w->left -= n;
}

/** Appends 8 bytes, little-endian. Thread: any. */
static inline void put_u64(struct byte_writer *w, uint64_t v)
{
    v = htole64(v);
    put_bytes(w, &v, sizeof(v));
}

/** Appends 4 bytes. Thread: any. */
static inline void put_u32(struct byte_writer *w, uint32_t v)
{
    v = htole32(v);
    put_bytes(w, &v, sizeof(v));
}

/** Appends 2 bytes. Thread: any. */
static inline void put_u16(struct byte_writer *w, uint16_t v)
{
    v = htole16(v);
    put_bytes(w, &v, sizeof(v));
}

/** Appends a byte. Thread: any. */
static inline void put_u8(struct byte_writer *w, uint8_t v)
{
    put_bytes(w, &v, sizeof(v));
}

#endif
