/*
 * An independent judge of rows: it knows the version only by its text and shares no code with
 * dataplane/event/rows*.c. Every value of the event must be in its column or, in the event's order,
 * in penstock_overflow; nothing else may be in the row; no key may repeat; the load's check must take
 * the row. Used by test_rows_random.c and by fuzz_rows.c.
 */
#ifndef TESTS_UNIT_TROWS_CHECK_H
#define TESTS_UNIT_TROWS_CHECK_H

#include "dataplane/event/rows.h"

/** Judges one row. event is the producer's object. @return NULL, or what is wrong. */
const char *trows_check(const struct rows *r, struct span event, struct span row);

/** Whether the load's check takes the row for this schema. @return NULL, or what is wrong. */
const char *trows_loads(const struct schema *s, struct span row);

/** Whether each column of `old` is in `new` with its source, unless it is inside a JSON column now. */
const char *trows_kept(const struct rows *old, const struct rows *new);

#endif
