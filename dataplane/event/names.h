/*
 * Event type names in object paths and table names. One rule, which cannot collide: letters,
 * digits, '-' and '_' stand for themselves, but for '_' in front of 'x', which becomes "_x5F";
 * every other byte becomes "_xHH" (two upper-case hex digits). So user_activity stays as it is and
 * order.created becomes order_x2Ecreated. Thread: any. Alloc: none.
 */
#ifndef PENSTOCK_EVENT_NAMES_H
#define PENSTOCK_EVENT_NAMES_H

#include <stdint.h>

#include "dataplane/base/compiler.h"
#include "dataplane/base/span.h"

#define TYPE_NAME_BYTES_MAX    128                       /* raw bytes of an event type name */
#define TYPE_ESCAPED_BYTES_MAX (4 * TYPE_NAME_BYTES_MAX) /* escaped, without NUL */
#define OBJECT_NAME_BYTES_MAX \
    (2 * TYPE_ESCAPED_BYTES_MAX + 256) /* below GCS's 1024 for real names; checked */

/** Escapes name into out (TYPE_ESCAPED_BYTES_MAX + 1 bytes) and adds a NUL. @return the length. */
size_t name_escape(struct span name, char *out);

/** Undoes name_escape(); out holds escaped.len bytes. @return the length, or -EINVAL if it is not
 * escaped text. */
int name_unescape(struct span escaped, char *out) WARN_UNUSED;

#endif
