/* What the files about headers share, for them only. HOT. */
#ifndef PENSTOCK_PACKET_HEADERS_INTERNAL_H
#define PENSTOCK_PACKET_HEADERS_INTERNAL_H

#include "dataplane/packet/headers.h"

#define PACKET_WORDS_BYTES 64 /* of a step */

/** The sum of the 32-bit words of len bytes, whole steps of them, on a CPU with AVX2. Thread: any. */
uint64_t packet_words_avx2(const uint8_t *p, size_t len);

#endif
