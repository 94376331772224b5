/* HOT. See gen_text.h. */
#include "tools/gen/gen_text.h"

#include "tools/gen/gen_assert.h"

#define ROW(tens) \
    tens "0" tens "1" tens "2" tens "3" tens "4" tens "5" tens "6" tens "7" tens "8" tens "9"

const char gen_two_digits[201] =
    ROW("0") ROW("1") ROW("2") ROW("3") ROW("4") ROW("5") ROW("6") ROW("7") ROW("8") ROW("9");

#define SECONDS_A_DAY INT64_C(86400)

/* Days since 1970-01-01 to a civil date, counted from 0000-03-01 so that the leap day ends a year.
 */
void gen_day_cache_set(struct gen_day_cache *cache, int64_t day)
{
    const uint32_t days_a_cycle = 146097; /* 400 years */
    GEN_ASSERT(day >= 0 && day < 2932897);
    uint32_t since_march_0 = (uint32_t)(day + 719468);
    uint32_t cycle = since_march_0 / days_a_cycle;
    uint32_t in_cycle = since_march_0 % days_a_cycle;
    uint32_t year_in_cycle =
        (in_cycle - in_cycle / 1460 + in_cycle / 36524 - in_cycle / 146096) / 365;
    uint32_t day_of_year =
        in_cycle - (365 * year_in_cycle + year_in_cycle / 4 - year_in_cycle / 100);
    uint32_t shifted_month = (5 * day_of_year + 2) / 153;
    uint32_t month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
    uint32_t year = year_in_cycle + cycle * 400 + (month <= 2);

    char *out = cache->text;
    out = gen_put_2(out, year / 100);
    out = gen_put_2(out, year % 100);
    *out++ = '-';
    out = gen_put_2(out, month);
    *out++ = '-';
    out = gen_put_2(out, day_of_year - (153 * shifted_month + 2) / 5 + 1);
    GEN_ASSERT(out == cache->text + sizeof(cache->text));
    cache->day = day;
}

char *gen_put_time(char *out, int64_t unix_us, unsigned fraction_digits,
                   struct gen_day_cache *cache)
{
    uint64_t unix_s = (uint64_t)unix_us / 1000000;
    uint32_t fraction_us = (uint32_t)((uint64_t)unix_us % 1000000);
    int64_t day = (int64_t)(unix_s / SECONDS_A_DAY);
    uint32_t in_day_s = (uint32_t)(unix_s % SECONDS_A_DAY);
    if (day != cache->day) {
        gen_day_cache_set(cache, day);
    }
    memcpy(out, cache->text, sizeof(cache->text));
    out += sizeof(cache->text);
    *out++ = 'T';
    out = gen_put_2(out, in_day_s / 3600);
    *out++ = ':';
    out = gen_put_2(out, in_day_s / 60 % 60);
    *out++ = ':';
    out = gen_put_2(out, in_day_s % 60);
    if (fraction_digits > 0) {
        *out++ = '.';
        out = gen_put_3(out, fraction_us / 1000);
        if (fraction_digits == 6) {
            out = gen_put_3(out, fraction_us % 1000);
        }
    }
    *out++ = 'Z';
    return out;
}

char *gen_put_u64(char *out, uint64_t value)
{
    char reversed[20];
    size_t at = sizeof(reversed);
    while (value >= 100) {
        at -= 2;
        memcpy(&reversed[at], &gen_two_digits[value % 100 * 2], 2);
        value /= 100;
    }
    if (value >= 10) {
        at -= 2;
        memcpy(&reversed[at], &gen_two_digits[value * 2], 2);
    } else {
        reversed[--at] = (char)('0' + value);
    }
    memcpy(out, &reversed[at], sizeof(reversed) - at);
    return out + (sizeof(reversed) - at);
}

char *gen_put_cents(char *out, uint64_t cents)
{
    out = gen_put_u64(out, cents / 100);
    *out++ = '.';
    return gen_put_2(out, (uint32_t)(cents % 100));
}
