/* Any bytes as a time, a date and a number of seconds: what is taken is in range and survives being
 * written. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/event/timeval.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(int64_t us)
{
    char text[TIME_TEXT_BYTES], date[DATE_TEXT_BYTES];
    int64_t again;
    int32_t days;

    ASSERT(us >= TIME_US_MIN && us <= TIME_US_MAX);
    time_format(us, text);
    ASSERT(time_parse((struct span){text, sizeof(text)}, &again) == 0 && again == us);
    date_format(time_days(us), date);
    ASSERT(memcmp(date, text, sizeof(date)) == 0);
    ASSERT(date_parse((struct span){date, sizeof(date)}, &days) == 0 && days == time_days(us));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *exact = malloc(size > 0 ? size : 1);
    struct span text = {exact, size};
    int64_t us;
    int32_t days;
    int rc;

    ASSERT(exact != NULL);
    memcpy(exact, data, size);
    rc = time_parse(text, &us);
    ASSERT(rc == 0 || rc == -EINVAL || rc == -ERANGE);
    if (rc == 0)
        round_trip(us);
    rc = time_parse_seconds(text, &us);
    ASSERT(rc == 0 || rc == -EINVAL || rc == -ERANGE);
    if (rc == 0)
        round_trip(us);
    rc = date_parse(text, &days);
    ASSERT(rc == 0 || rc == -EINVAL || rc == -ERANGE);
    if (rc == 0)
        round_trip(days * INT64_C(86400000000));
    free(exact);
    return 0;
}
