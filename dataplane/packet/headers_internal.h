/* What the files about headers share, for them only. HOT. */
#ifndef PENSTOCK_PACKET_HEADERS_INTERNAL_H
#define PENSTOCK_PACKET_HEADERS_INTERNAL_H

#include "dataplane/packet/headers.h"

#define PACKET_WORDS_BYTES 64      /* of a step */
#define PACKET_BYTES_MAX   0x10000 /* more than any packet has */

/** The sum of the 32-bit words of len bytes, whole steps of them, on a CPU with AVX2. Thread: any. */
uint64_t packet_words_avx2(const uint8_t *p, size_t len);

/** The sum of the 16-bit words of up to PACKET_BYTES_MAX bytes, on a CPU with AVX-512 VNNI. Thread: any. */
uint64_t packet_bytes_avx512(const uint8_t *p, size_t len);

#endif
