/* HOT. See timeval.h. Calendar arithmetic is proleptic Gregorian, as BigQuery's. */
#include "dataplane/event/timeval.h"

#include <errno.h>

#include "dataplane/event/decimal_internal.h"
#include "dataplane/event/timeval_internal.h"

#define OFFSET_MAX \
    (14 * 60)                 /* minutes: no zone is farther from UTC, and BigQuery takes no more \
                               */
#define DAYS_TO_MIN (-719162) /* 0001-01-01 */
#define DAYS_TO_MAX 2932896   /* 9999-12-31 */

static_assert(TIME_US_MIN == DAYS_TO_MIN * DAY_US, "0001-01-01T00:00:00Z");
static_assert(TIME_US_MAX == DAYS_TO_MAX * DAY_US + DAY_US - 1, "9999-12-31T23:59:59.999999Z");

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Two digits as a number, or -1. */
static int two_digits(const char *p)
{
    if (!is_digit(p[0]) || !is_digit(p[1]))
        return -1;
    return (p[0] - '0') * 10 + (p[1] - '0');
}

static int four_digits(const char *p)
{
    int high = two_digits(p);
    int low = two_digits(p + 2);

    return high < 0 || low < 0 ? -1 : high * 100 + low;
}

/* Days since the epoch; years are counted from 1 March, in eras of 400 years. */
static int32_t days_from_civil(int year, int month, int day)
{
    int y = month <= 2 ? year - 1 : year;
    int era = y / 400; /* y is never negative here */
    int yoe = y - era * 400;
    int doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;

    return era * 146097 + doe - 719468;
}

static void civil_from_days(int32_t days, int *year, int *month, int *day)
{
    int32_t z = days + 719468; /* positive in BigQuery's range */
    int era = z / 146097;
    int doe = z - era * 146097;
    int yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int mp = (5 * doy + 2) / 153;

    *day = doy - (153 * mp + 2) / 5 + 1;
    *month = mp < 10 ? mp + 3 : mp - 9;
    *year = yoe + era * 400 + (*month <= 2 ? 1 : 0);
}

static int days_in_month(int year, int month)
{
    static const uint8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

    return month == 2 && leap ? 29 : days[month - 1];
}

static int checked_days(int year, int month, int day, int32_t *days)
{
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
        return -ERANGE;
    *days = days_from_civil(year, month, day);
    return 0;
}

/* YYYY-MM-DD at the start of text. */
static int full_date(struct span text, int32_t *days)
{
    const char *p = text.ptr;
    int year, month, day;

    if (text.len < DATE_TEXT_BYTES || p[4] != '-' || p[7] != '-')
        return -EINVAL;
    year = four_digits(p);
    month = two_digits(p + 5);
    day = two_digits(p + 8);
    if (year < 0 || month < 0 || day < 0)
        return -EINVAL;
    return checked_days(year, month, day, days);
}

/* One or two digits from *pos on; -1 if there are none. */
static int short_number(struct span text, size_t *pos)
{
    int v = -1;

    for (int n = 0; n < 2 && *pos < text.len && is_digit(text.ptr[*pos]); n++)
        v = (v < 0 ? 0 : v * 10) + (text.ptr[(*pos)++] - '0');
    return v;
}

int date_parse(struct span text, int32_t *days)
{
    size_t pos = 5;
    int year, month, day;

    ASSERT_HOT(days != NULL);
    if (text.len == DATE_TEXT_BYTES)
        return full_date(text, days);
    if (text.len < 8 || text.len > DATE_TEXT_BYTES || text.ptr[4] != '-')
        return -EINVAL;
    year = four_digits(text.ptr);
    month = short_number(text, &pos);
    if (pos == text.len || text.ptr[pos] != '-')
        return -EINVAL;
    pos++;
    day = short_number(text, &pos);
    if (year < 0 || month < 0 || day < 0 || pos != text.len)
        return -EINVAL;
    return checked_days(year, month, day, days);
}

/* ".f{1,9}" at the start of text: microseconds, further digits cut off; -1 for another form. */
static int32_t fraction(struct span text, size_t *used, unsigned *form)
{
    int32_t us = 0;
    size_t n = 0;

    for (; n + 1 < text.len && is_digit(text.ptr[n + 1]); n++) {
        if (n < 6)
            us = us * 10 + (text.ptr[n + 1] - '0');
    }
    if (n == 0 || n > 9)
        return -1;
    if (n > 6)
        *form |= TIME_FORM_NANOS;
    *used = n + 1;
    for (; n < 6; n++)
        us *= 10;
    return us;
}

int64_t time_of_day(struct span text, size_t *used, unsigned *form)
{
    const char *p = text.ptr;
    int hour, minute, second;
    int32_t us = 0;
    size_t n = 0;

    if (text.len < 5 || p[2] != ':')
        return -EINVAL;
    hour = two_digits(p);
    minute = two_digits(p + 3);
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59)
        return -EINVAL;
    *used = 5;
    if (text.len == 5 || p[5] != ':') {
        *form |= TIME_FORM_NO_SECONDS;
        return (hour * 60 + minute) * MINUTE_US;
    }
    second = text.len >= 8 ? two_digits(p + 6) : -1;
    if (second < 0 || second > 59)
        return -EINVAL;
    *used = 8;
    if (text.len > 8 && p[8] == '.') {
        us = fraction((struct span){p + 8, text.len - 8}, &n, form);
        if (us < 0)
            return -EINVAL;
        *used += n;
    }
    return (hour * 60 + minute) * MINUTE_US + second * SECOND_US + us;
}

/* Everything behind the time of day: nothing, 'Z', " UTC" or an offset, which goes to *minutes. */
static int zone(struct span text, int *minutes, unsigned *form)
{
    const char *p = text.ptr;
    int hour, minute = 0;

    *minutes = 0;
    if (text.len == 0)
        return 0;
    *form |= TIME_FORM_ZONE;
    if (text.len == 1 && p[0] == 'Z')
        return 0;
    if (text.len == 4 && memcmp(p, " UTC", 4) == 0)
        return 0;
    if ((p[0] != '+' && p[0] != '-') || text.len < 3)
        return -EINVAL;
    hour = two_digits(p + 1);
    if (text.len == 6 && p[3] == ':')
        minute = two_digits(p + 4);
    else if (text.len == 5)
        minute = two_digits(p + 3);
    else if (text.len != 3)
        return -EINVAL;
    if (text.len != 6)
        *form |= TIME_FORM_COMPACT_OFFSET;
    if (hour < 0 || minute < 0 || minute > 59 || hour * 60 + minute > OFFSET_MAX)
        return -EINVAL;
    *minutes = p[0] == '-' ? -(hour * 60 + minute) : hour * 60 + minute;
    return 0;
}

/* Eight bytes of text. */
static inline uint64_t load_text(const char *p)
{
    uint64_t w;

    memcpy(&w, p, sizeof(w));
    return w;
}

#define EVERY_BYTE(b) (UINT64_C(0x0101010101010101) * (b))
#define CLASS(a, b, c, d, e, f, g, h)                                                 \
    ((uint64_t)(a) | (uint64_t)(b) << 8 | (uint64_t)(c) << 16 | (uint64_t)(d) << 24 | \
     (uint64_t)(e) << 32 | (uint64_t)(f) << 40 | (uint64_t)(g) << 48 | (uint64_t)(h) << 56)

/*
 * Takes a word apart whose bytes are digits, but for those in `others`, which must be as in `text`
 * (digits are '0' there). *pairs receives at each byte the number that it and the next one make.
 */
static inline bool digit_pairs(uint64_t w, uint64_t text, uint64_t others, uint64_t *pairs)
{
    uint64_t v =
        w ^ text; /* a digit's value, and 0 for the others: of '0' to '9' only these bits differ */

    if (((v + (EVERY_BYTE(0x76) | others)) | v) &
        EVERY_BYTE(0x80)) /* above 9; above 0 for others */
        return false;
    *pairs = v * 10 + (v >> 8);
    return true;
}

static inline unsigned byte_of(uint64_t w, unsigned i)
{
    return (unsigned)(w >> (8 * i)) & 0xFF;
}

/* The microseconds of a fraction of three or six digits that ends at p[at]. */
static inline bool usual_fraction(const char *p, size_t at, int64_t *micros)
{
    uint64_t pairs;

    if (at == 26) {
        if (!digit_pairs(load_text(p + 18), CLASS(p[18], '.', '0', '0', '0', '0', '0', '0'),
                         CLASS(9, 9, 0, 0, 0, 0, 0, 0), &pairs))
            return false;
        *micros = byte_of(pairs, 2) * 10000 + byte_of(pairs, 4) * 100 + byte_of(pairs, 6);
        return true;
    }
    if (at != 23 ||
        !digit_pairs(load_text(p + 15), CLASS(p[15], p[16], p[17], p[18], '.', '0', '0', '0'),
                     CLASS(9, 9, 9, 9, 9, 0, 0, 0), &pairs))
        return false;
    *micros = byte_of(pairs, 5) * 10000 + byte_of(pairs, 7) * 100;
    return true;
}

/* The day of YYYY-MM-DD. Nearly all events are of a few days. */
static inline bool usual_date(const char *p, int32_t *days)
{
    static _Thread_local struct recent {
        uint64_t text;
        uint16_t text_end;
        int32_t days;
    } kept[DAYS_KEPT];
    uint64_t text = load_text(p), date, rest;
    unsigned year, month, day;
    struct recent *recent;
    uint16_t text_end;

    memcpy(&text_end, p + 8, sizeof(text_end));
    recent = &kept[day_place(text_end)];
    if (likely(text == recent->text && text_end == recent->text_end)) {
        *days = recent->days;
        return true;
    }
    if (!digit_pairs(text, CLASS('0', '0', '0', '0', '-', '0', '0', '-'),
                     CLASS(0, 0, 0, 0, 9, 0, 0, 9), &date) ||
        !digit_pairs(load_text(p + 2), CLASS('0', '0', '-', '0', '0', '-', '0', '0'),
                     CLASS(0, 0, 9, 0, 0, 9, 0, 0), &rest))
        return false;
    year = byte_of(date, 0) * 100 + byte_of(date, 2);
    month = byte_of(date, 5);
    day = byte_of(rest, 6);
    if (year < 2 || year > 9998 || month - 1 > 11 || day == 0 ||
        day > (unsigned)days_in_month((int)year, (int)month))
        return false; /* in the years at the ends a zone may lead out of the range */
    *days = days_from_civil((int)year, (int)month, (int)day);
    *recent = (struct recent){.text = text, .text_end = text_end, .days = *days};
    return true;
}

/*
 * The form that nearly all times have: YYYY-MM-DDTHH:MM:SS, no fraction or three or six digits, then
 * Z or +hh:mm; read by words. @return false for any other text, and for what needs a closer look.
 */
static inline bool usual_time(struct span text, int64_t *us)
{
    const char *p = text.ptr;
    uint64_t clock;
    int64_t micros = 0, seconds;
    unsigned hour, minute, second;
    int32_t days;
    int zone_minutes = 0;
    size_t at = text.len - 1;

    if (text.len < 20 || text.len > 32)
        return false;
    if (p[at] != 'Z') {
        int hours = two_digits(p + text.len - 5), minutes = two_digits(p + text.len - 2);

        at = text.len - 6;
        if (at < 19 || (p[at] != '+' && p[at] != '-') || p[text.len - 3] != ':' || hours < 0 ||
            hours > 13 || minutes < 0 || minutes > 59)
            return false;
        zone_minutes = p[at] == '-' ? -(hours * 60 + minutes) : hours * 60 + minutes;
    }
    if (at != 19 && !usual_fraction(p, at, &micros))
        return false;
    if (p[10] != 'T' || !usual_date(p, &days) ||
        !digit_pairs(load_text(p + 11), CLASS('0', '0', ':', '0', '0', ':', '0', '0'),
                     CLASS(0, 0, 9, 0, 0, 9, 0, 0), &clock))
        return false;
    hour = byte_of(clock, 0);
    minute = byte_of(clock, 3);
    second = byte_of(clock, 6);
    if (hour > 23 || minute > 59 || second > 59)
        return false;
    seconds =
        days * INT64_C(86400) + ((int)(hour * 60 + minute) - zone_minutes) * INT64_C(60) + second;
    *us = seconds * SECOND_US + micros;
    return true;
}

int time_parse_form(struct span text, int64_t *us, unsigned *form)
{
    struct span rest;
    int32_t days;
    int64_t clock;
    size_t used;
    int minutes, rc;

    ASSERT_HOT(us != NULL && form != NULL);
    *form = TIME_FORM_ZONE;
    if (likely(usual_time(text, us)))
        return 0;
    *form = 0;
    rc = full_date(text, &days);
    if (rc == -EINVAL)
        return rc;
    if (text.len == DATE_TEXT_BYTES) {
        *form = TIME_FORM_DATE_ONLY;
        if (rc == 0)
            *us = days * DAY_US;
        return rc;
    }
    if (text.ptr[10] == 't')
        *form |= TIME_FORM_LOWER_T;
    else if (text.ptr[10] != 'T' && text.ptr[10] != ' ')
        return -EINVAL;
    rest = (struct span){text.ptr + 11, text.len - 11};
    clock = time_of_day(rest, &used, form);
    if (clock < 0)
        return -EINVAL;
    if (zone((struct span){rest.ptr + used, rest.len - used}, &minutes, form) != 0)
        return -EINVAL;
    if (rc != 0)
        return rc;
    clock += days * DAY_US - minutes * MINUTE_US;
    if (clock < TIME_US_MIN || clock > TIME_US_MAX)
        return -ERANGE;
    *us = clock;
    return 0;
}

int time_parse(struct span text, int64_t *us)
{
    unsigned form;

    return time_parse_form(text, us, &form);
}

int time_parse_seconds(struct span number, int64_t *us)
{
    struct decimal d;
    int64_t v = 0, power;
    size_t n;

    ASSERT_HOT(us != NULL);
    if (decimal_read(number, &d) != 0)
        return -EINVAL;
    n = d.whole.len + d.fraction.len;
    power =
        (int64_t)d.whole.len - 1 + d.exponent + 6; /* of ten in microseconds, of the next digit */
    for (size_t i = 0; i < n && power >= 0; i++, power--) {
        v = v * 10 + decimal_digit(&d, i);
        if (v > TIME_US_MAX)
            return -ERANGE;
    }
    for (; power >= 0 && v != 0; power--) {
        v *= 10;
        if (v > TIME_US_MAX)
            return -ERANGE;
    }
    if (d.negative)
        v = -v;
    if (v < TIME_US_MIN || v > TIME_US_MAX)
        return -ERANGE;
    *us = v;
    return 0;
}

int64_t time_pack_clock(int64_t us_of_day)
{
    int64_t seconds = us_of_day / SECOND_US;

    ASSERT_HOT(us_of_day >= 0 && us_of_day < DAY_US);
    return (seconds / 3600 << 12 | seconds / 60 % 60 << 6 | seconds % 60) << 20 |
           us_of_day % SECOND_US;
}

int64_t time_pack_civil(int64_t us)
{
    int32_t days = time_days(us);
    int year, month, day;

    ASSERT_HOT(us >= TIME_US_MIN && us <= TIME_US_MAX);
    civil_from_days(days, &year, &month, &day);
    return ((int64_t)year << 26 | (int64_t)month << 22 | (int64_t)day << 17) << 20 |
           time_pack_clock(us - days * DAY_US);
}

static void put_two(char *out, int v)
{
    out[0] = (char)('0' + v / 10);
    out[1] = (char)('0' + v % 10);
}

void date_format(int32_t days, char *out)
{
    int year, month, day;

    ASSERT_HOT(days >= DAYS_TO_MIN && days <= DAYS_TO_MAX);
    civil_from_days(days, &year, &month, &day);
    put_two(out, year / 100);
    put_two(out + 2, year % 100);
    out[4] = '-';
    put_two(out + 5, month);
    out[7] = '-';
    put_two(out + 8, day);
}

void time_format(int64_t us, char *out)
{
    int32_t days = time_days(us);
    int64_t of_day = us - days * DAY_US;
    int32_t seconds = (int32_t)(of_day / SECOND_US);
    int32_t micros = (int32_t)(of_day % SECOND_US);

    ASSERT_HOT(us >= TIME_US_MIN && us <= TIME_US_MAX);
    date_format(days, out);
    out[10] = 'T';
    put_two(out + 11, seconds / 3600);
    out[13] = ':';
    put_two(out + 14, seconds / 60 % 60);
    out[16] = ':';
    put_two(out + 17, seconds % 60);
    out[19] = '.';
    put_two(out + 20, micros / 10000);
    put_two(out + 22, micros / 100 % 100);
    put_two(out + 24, micros % 100);
    out[26] = 'Z';
}
