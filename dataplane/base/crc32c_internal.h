/* Inside of CRC-32C: its variants, for crc32c.c and their test. All work on the state, which is the
 * CRC's complement. */
#ifndef PENSTOCK_BASE_CRC32C_INTERNAL_H
#define PENSTOCK_BASE_CRC32C_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRC32C_FOLD_BYTES 256u /* what one step of folding takes; at least two go in */

/** Whether this CPU can fold: carry-less products of 512 bits. */
bool crc32c_can_fold(void);

/**
 * Extends the state by len bytes, a multiple of CRC32C_FOLD_BYTES, at least two of them. One step
 * carries 256 bytes of state over 256 bytes; by_lane is x^(2048 + 32) and x^(2048 - 32) modulo the
 * polynomial, shifted left by one: what the two halves of 128 bits are multiplied with.
 * Only if crc32c_can_fold().
 */
uint32_t crc32c_fold(uint32_t state, const uint8_t *p, size_t len, const uint64_t by_lane[2]);

/** Extends the state with the SSE4.2 instruction: any length, any x86-64 of today. */
uint32_t crc32c_streams(uint32_t state, const uint8_t *p, size_t len);

#endif
