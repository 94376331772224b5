/*
 * Times: every form that is taken and refused, golden values, ranges, and round trips over the
 * whole calendar against an independent day count.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "dataplane/event/timeval.h"
#include "dataplane/event/timeval_internal.h"

#define DAY INT64_C(86400000000)

static void times_that_parse(void **state)
{
    static const struct {
        const char *text;
        int64_t us;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01", 0},
        {"1970-01-01 00:00", 0},
        {"1970-01-01t00:00:01", 1000000},
        {"1970-01-01T00:00:00.1Z", 100000},
        {"1970-01-01T00:00:00.12Z", 120000},
        {"1970-01-01T00:00:00.123Z", 123000},
        {"1970-01-01T00:00:00.1234Z", 123400},
        {"1970-01-01T00:00:00.12345Z", 123450},
        {"1970-01-01T00:00:00.123456Z", 123456},
        {"1970-01-01T00:00:00.1234567Z", 123456},
        {"1970-01-01T00:00:00.12345678Z", 123456},
        {"1970-01-01T00:00:00.123456789Z", 123456},
        {"1970-01-01T00:00:00.000001Z", 1},
        {"1969-12-31T23:59:59.999999Z", -1},
        {"1969-12-31", -DAY},
        {"2026-11-21T07:42:14.123456Z", INT64_C(1795246934123456)},
        {"2026-11-21 07:42:14 UTC", INT64_C(1795246934000000)},
        {"2026-11-21T07:42:14", INT64_C(1795246934000000)},
        {"2026-11-21T09:42:14+02:00", INT64_C(1795246934000000)},
        {"2026-11-21T09:42:14+0200", INT64_C(1795246934000000)},
        {"2026-11-21T09:42:14+02", INT64_C(1795246934000000)},
        {"2026-11-21T02:12:14-05:30", INT64_C(1795246934000000)},
        {"2026-11-21T07:42+00:00", INT64_C(1795246920000000)},
        {"2026-11-21T07:42Z", INT64_C(1795246920000000)},
        {"2026-11-21T21:42:14+14:00", INT64_C(1795246934000000)},
        {"2000-02-29T00:00:00Z", INT64_C(951782400000000)},
        {"2024-02-29T12:00:00Z", INT64_C(1709208000000000)},
        {"1900-03-01T00:00:00Z", INT64_C(-2203891200000000)},
        {"0001-01-01T00:00:00Z", TIME_US_MIN},
        {"9999-12-31T23:59:59.999999Z", TIME_US_MAX},
        {"0001-01-01T01:00:00+01:00", TIME_US_MIN},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t us = 42;

        if (time_parse(span_of(cases[i].text), &us) != 0 || us != cases[i].us)
            fail_msg("%s: %lld, expected %lld", cases[i].text, (long long)us,
                     (long long)cases[i].us);
    }
}

static void times_that_do_not(void **state)
{
    static const struct {
        const char *text;
        int rc;
    } cases[] = {
        {"", -EINVAL},
        {"2026", -EINVAL},
        {"2026-11-2", -EINVAL},
        {"2026-1-21", -EINVAL},
        {"2026-11-21T", -EINVAL},
        {"2026-11-21X07:42:14", -EINVAL},
        {"2026-11-21T7:42:14", -EINVAL},
        {"2026-11-21T07:4", -EINVAL},
        {"2026-11-21T07:42:", -EINVAL},
        {"2026-11-21T07:42:1", -EINVAL},
        {"2026-11-21T07:42:14.", -EINVAL},
        {"2026-11-21T07:42:14.Z", -EINVAL},
        {"2026-11-21T07:42:14.1234567890Z", -EINVAL},
        {"2026-11-21T07:42:14z", -EINVAL},
        {"2026-11-21T07:42:14ZZ", -EINVAL},
        {"2026-11-21T07:42:14UTC", -EINVAL},
        {"2026-11-21T07:42:14 utc", -EINVAL},
        {"2026-11-21T07:42:14 ", -EINVAL},
        {"2026-11-21T07:42:14+", -EINVAL},
        {"2026-11-21T07:42:14+2", -EINVAL},
        {"2026-11-21T07:42:14+020", -EINVAL},
        {"2026-11-21T07:42:14+02:0", -EINVAL},
        {"2026-11-21T07:42:14+02:60", -EINVAL},
        {"2026-11-21T07:42:14+15:00", -EINVAL},
        {"2026-11-21T07:42:14+14:01", -EINVAL},
        {"2026-11-21T07:42:14+0a:00", -EINVAL},
        {"2026-11-21T24:00:00Z", -EINVAL},
        {"2026-11-21T23:60:00Z", -EINVAL},
        {"2026-12-31T23:59:60Z", -EINVAL},
        {"2026/11/21 07:42:14", -EINVAL},
        {"-026-11-21T07:42:14Z", -EINVAL},
        {" 2026-11-21T07:42:14Z", -EINVAL},
        {"2O26-11-21T07:42:14Z", -EINVAL},
        {"1795246934", -EINVAL},
        {"0000-01-01T00:00:00Z", -ERANGE},
        {"2026-00-21T07:42:14Z", -ERANGE},
        {"2026-13-21T07:42:14Z", -ERANGE},
        {"2026-11-00T07:42:14Z", -ERANGE},
        {"2026-11-31T07:42:14Z", -ERANGE},
        {"2026-02-29", -ERANGE},
        {"1900-02-29", -ERANGE},
        {"2100-02-29T00:00:00Z", -ERANGE},
        {"0001-01-01T00:00:00+00:01", -ERANGE},
        {"9999-12-31T23:59:59-00:01", -ERANGE},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t us;
        int rc = time_parse(span_of(cases[i].text), &us);

        if (rc != cases[i].rc)
            fail_msg("%s: %d, expected %d", cases[i].text, rc, cases[i].rc);
    }
}

static void forms_are_told(void **state)
{
    static const struct {
        const char *text;
        unsigned form;
    } cases[] = {
        {"2026-11-21", TIME_FORM_DATE_ONLY},
        {"2026-11-21 07:42:14.123456", 0},
        {"2026-11-21T07:42", TIME_FORM_NO_SECONDS},
        {"2026-11-21T07:42:14Z", TIME_FORM_ZONE},
        {"2026-11-21t07:42:14", TIME_FORM_LOWER_T},
        {"2026-11-21T07:42:14+01:00", TIME_FORM_ZONE},
        {"2026-11-21T07:42:14+0100", TIME_FORM_ZONE | TIME_FORM_COMPACT_OFFSET},
        {"2026-11-21T07:42:14.1234567", TIME_FORM_NANOS},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        unsigned form;
        int64_t us;

        assert_int_equal(time_parse_form(span_of(cases[i].text), &us, &form), 0);
        assert_int_equal(form, cases[i].form);
    }
}

static void seconds(void **state)
{
    static const struct {
        const char *text;
        int rc;
        int64_t us;
    } cases[] = {
        {"0", 0, 0},
        {"-0", 0, 0},
        {"1795246934", 0, INT64_C(1795246934000000)},
        {"1795246934.123456", 0, INT64_C(1795246934123456)},
        {"1795246934.1234569", 0, INT64_C(1795246934123456)},
        {"1.795246934123456E9", 0, INT64_C(1795246934123456)},
        {"1795246934123456e-6", 0, INT64_C(1795246934123456)},
        {"0.000001", 0, 1},
        {"-0.000001", 0, -1},
        {"-1.5", 0, -1500000},
        {"1e-99999999999999999999", 0, 0},
        {"0e99999999999999999999", 0, 0},
        {"0.00000000000000000000000000001e29", 0, 1000000},
        {"-62135596800", 0, TIME_US_MIN},
        {"253402300799.999999", 0, TIME_US_MAX},
        {"-62135596800.000001", -ERANGE, 0},
        {"253402300800", -ERANGE, 0},
        {"1795246934123", -ERANGE, 0},
        {"1e18", -ERANGE, 0},
        {"1e999999999999", -ERANGE, 0},
        {"123456789012345678901234567890", -ERANGE, 0},
        {"", -EINVAL, 0},
        {"-", -EINVAL, 0},
        {"01", -EINVAL, 0},
        {"1.", -EINVAL, 0},
        {".5", -EINVAL, 0},
        {"1e", -EINVAL, 0},
        {"1e+", -EINVAL, 0},
        {"1x", -EINVAL, 0},
        {"+1", -EINVAL, 0},
        {"2026-11-21", -EINVAL, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t us = 0;
        int rc = time_parse_seconds(span_of(cases[i].text), &us);

        if (rc != cases[i].rc || us != cases[i].us)
            fail_msg("%s: %d %lld", cases[i].text, rc, (long long)us);
    }
}

static void dates(void **state)
{
    static const struct {
        const char *text;
        int rc;
        int32_t days;
    } cases[] = {
        {"1970-01-01", 0, 0},        {"1970-1-1", 0, 0},         {"1970-1-02", 0, 1},
        {"1970-01-2", 0, 1},         {"2026-11-21", 0, 20778},   {"1969-12-31", 0, -1},
        {"0001-01-01", 0, -719162},  {"9999-12-31", 0, 2932896}, {"2024-2-29", 0, 19782},
        {"2023-2-29", -ERANGE, 0},   {"2026-11-31", -ERANGE, 0}, {"0000-1-1", -ERANGE, 0},
        {"2026-13-1", -ERANGE, 0},   {"2026-0-1", -ERANGE, 0},   {"", -EINVAL, 0},
        {"2026-11", -EINVAL, 0},     {"2026-1-", -EINVAL, 0},    {"2026--1-1", -EINVAL, 0},
        {"2026-1-1x", -EINVAL, 0},   {"26-11-21", -EINVAL, 0},   {"2026-111-1", -EINVAL, 0},
        {"2026-11-21 ", -EINVAL, 0}, {"2026/11/21", -EINVAL, 0}, {"2026-1-1-1", -EINVAL, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int32_t days = 0;
        int rc = date_parse(span_of(cases[i].text), &days);

        if (rc != cases[i].rc || days != cases[i].days)
            fail_msg("%s: %d %d", cases[i].text, rc, days);
    }
}

static int days_of(int year, int month)
{
    static const int days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    if (month == 2 && (year % 400 == 0 || (year % 4 == 0 && year % 100 != 0)))
        return 29;
    return days[month - 1];
}

/* Counts through every day from 0001-01-01 to 9999-12-31. */
static void every_day_round_trips(void **state)
{
    int32_t expected = -719162;

    (void)state;
    for (int year = 1; year <= 9999; year++) {
        for (int month = 1; month <= 12; month++) {
            for (int day = 1; day <= days_of(year, month); day++, expected++) {
                char text[16], back[DATE_TEXT_BYTES];
                int32_t days;

                text[0] = (char)('0' + year / 1000);
                text[1] = (char)('0' + year / 100 % 10);
                text[2] = (char)('0' + year / 10 % 10);
                text[3] = (char)('0' + year % 10);
                text[4] = text[7] = '-';
                text[5] = (char)('0' + month / 10);
                text[6] = (char)('0' + month % 10);
                text[8] = (char)('0' + day / 10);
                text[9] = (char)('0' + day % 10);
                if (date_parse((struct span){text, 10}, &days) != 0 || days != expected)
                    fail_msg("%.10s: %d, expected %d", text, days, expected);
                date_format(days, back);
                assert_memory_equal(back, text, DATE_TEXT_BYTES);
            }
        }
    }
    assert_int_equal(expected, 2932897);
}

/* Days of the same and of other months in turns: those that are remembered do not stand for others. */
static void days_in_turns(void **state)
{
    uint32_t random = 1;

    (void)state;
    for (uint32_t i = 0; i < 200000; i++) {
        char text[] = "2026-11-21T00:00:00Z";
        int32_t days, spread = i % 3 == 0 ? 40 : i % 3 == 1 ? 400 : 400000;
        int64_t us;

        random = random * 1103515245u + 12345u;
        days = 20778 + (int32_t)(random >> 8) % spread;
        date_format(days, text);
        assert_int_equal(time_parse(span_of(text), &us), 0);
        assert_true(us == days * DAY);
    }
}

static void times_are_written(void **state)
{
    static const struct {
        int64_t us;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000000Z"},
        {-1, "1969-12-31T23:59:59.999999Z"},
        {INT64_C(1795246934123456), "2026-11-21T07:42:14.123456Z"},
        {TIME_US_MIN, "0001-01-01T00:00:00.000000Z"},
        {TIME_US_MAX, "9999-12-31T23:59:59.999999Z"},
        {INT64_C(951825599000001), "2000-02-29T11:59:59.000001Z"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char out[TIME_TEXT_BYTES];
        int64_t us;

        time_format(cases[i].us, out);
        assert_memory_equal(out, cases[i].text, TIME_TEXT_BYTES);
        assert_int_equal(time_parse((struct span){out, TIME_TEXT_BYTES}, &us), 0);
        assert_true(us == cases[i].us);
    }
}

static void days_and_minutes_round_down(void **state)
{
    (void)state;
    assert_int_equal(time_days(0), 0);
    assert_int_equal(time_days(-1), -1);
    assert_int_equal(time_days(-DAY), -1);
    assert_int_equal(time_days(-DAY - 1), -2);
    assert_int_equal(time_days(DAY - 1), 0);
    assert_int_equal(time_days(DAY), 1);
    assert_int_equal(time_minute(-1), -1);
    assert_int_equal(time_minute(-60000000), -1);
    assert_int_equal(time_minute(59999999), 0);
    assert_int_equal(time_minute(60000000), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_that_parse),
        cmocka_unit_test(times_that_do_not),
        cmocka_unit_test(forms_are_told),
        cmocka_unit_test(seconds),
        cmocka_unit_test(dates),
        cmocka_unit_test(every_day_round_trips),
        cmocka_unit_test(days_in_turns),
        cmocka_unit_test(times_are_written),
        cmocka_unit_test(days_and_minutes_round_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
