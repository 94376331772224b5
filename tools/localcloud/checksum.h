// CRC-32C (Castagnoli) and MD5, as Cloud Storage reports them. Own code on purpose: the sender has
// its own, so one mistake cannot hide at both ends. Thread: any (the CRC table is built by
// lc_crc32c_init).
#ifndef LOCALCLOUD_CHECKSUM_H
#define LOCALCLOUD_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/** Running MD5. Zero-initialise through lc_md5_init. */
struct lc_md5 {
    uint32_t state[4];
    uint64_t bytes;
    uint8_t block[64];
};

/** Builds the tables; call once before any other thread starts. Thread: init. */
void lc_crc32c_init(void);

/** Continues crc (0 at the start) over n bytes. @return the new CRC-32C. */
uint32_t lc_crc32c(uint32_t crc, const void *p, size_t n);

/** Starts a digest. */
void lc_md5_init(struct lc_md5 *m);

/** Adds n bytes. */
void lc_md5_add(struct lc_md5 *m, const void *p, size_t n);

/** Ends the digest and writes its 16 bytes. */
void lc_md5_end(struct lc_md5 *m, uint8_t out[16]);

#endif
