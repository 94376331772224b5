/*
 * Values as people write them: "64MiB", "120s", "127.0.0.1:8080".
 * Thread: any. Alloc: none.
 */
#ifndef PENSTOCK_CONTROL_VALUES_H
#define PENSTOCK_CONTROL_VALUES_H

#include <stdint.h>
#include <sys/socket.h>

#include "dataplane/base/compiler.h"

#define VALUE_ADDRESS_BYTES 80

/** A whole number. @return 0; -EINVAL; -ERANGE. */
int value_count(const char *text, uint64_t *out) WARN_UNUSED;

/** Bytes: a number and B, KiB, MiB, GiB, TiB, KB, MB, GB, TB or nothing. @return 0; -EINVAL;
 * -ERANGE. */
int value_size(const char *text, uint64_t *out) WARN_UNUSED;

/** Microseconds: a number and us, ms, s, m, h or d; 0 needs no unit. @return 0; -EINVAL; -ERANGE.
 */
int value_duration(const char *text, uint64_t *out) WARN_UNUSED;

/** Parts per million: a decimal number from 0 to 1 with at most 6 places, such as 0.25. @return 0;
 * -EINVAL; -ERANGE. */
int value_fraction(const char *text, uint64_t *out) WARN_UNUSED;

/** true, false, yes, no, on, off. @return 0 or -EINVAL. */
int value_bool(const char *text, bool *out) WARN_UNUSED;

/** host:port with a numeric IPv4 host, [IPv6] or localhost. @return 0 or -EINVAL. */
int value_address(const char *text, struct sockaddr_storage *out) WARN_UNUSED;

/** Writes an address as host:port (VALUE_ADDRESS_BYTES). */
void value_address_format(const struct sockaddr_storage *a, char *out);

/** Bytes that bind() and connect() want for an address. */
socklen_t value_address_len(const struct sockaddr_storage *a);

#endif
