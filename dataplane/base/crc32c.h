/* CRC-32C (Castagnoli), as GCS and the journal use it. Vectors: crc32c("123456789") = 0xE3069283.
 */
#ifndef PENSTOCK_BASE_CRC32C_H
#define PENSTOCK_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/**
 * Extends crc (0 at the start) by len bytes.
 * Folds 256 bytes at a time with AVX-512 and VPCLMULQDQ; without these, the SSE4.2 instruction,
 * three streams at a time.
 * Thread: any.  Alloc: none.
 */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);

/**
 * The CRC of A followed by B, from the CRCs of both and B's length.
 * Thread: any.  Alloc: none.
 */
uint32_t crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t len_b);

#endif
