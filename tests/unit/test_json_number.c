/*
 * Goal: json_int64() and json_double() take exactly the grammar of JSON numbers, at any length, and
 * are exact. Method: tables; round trips of random doubles (seed printed), also under a locale
 * whose decimal point is a comma, which is made here; halfway cases that need every digit,
 * powers of ten and random digits against strtod().
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "dataplane/json/walk.h"

static void test_int64(void **state)
{
    static const struct {
        const char *text;
        int rc;
        int64_t value;
    } table[] = {
        {"0", 0, 0},
        {"-0", 0, 0},
        {"1", 0, 1},
        {"-1", 0, -1},
        {"42", 0, 42},
        {"9223372036854775807", 0, INT64_MAX},
        {"-9223372036854775808", 0, INT64_MIN},
        {"9223372036854775808", -ERANGE, 0},
        {"-9223372036854775809", -ERANGE, 0},
        {"9999999999999999999", -ERANGE, 0},
        {"18446744073709551616", -ERANGE, 0},
        {"18446744073709551617", -ERANGE, 0},
        {"100000000000000000000000000000000", -ERANGE, 0},
        {"1.0", 0, 1},
        {"1e3", 0, 1000},
        {"1E+3", 0, 1000},
        {"1000e-3", 0, 1},
        {"1.5e1", 0, 15},
        {"123.4500e2", 0, 12345},
        {"0.00001e5", 0, 1},
        {"0e99999999999999999999999", 0, 0},
        {"0.000", 0, 0},
        {"-0.0e-5", 0, 0},
        {"9223372036854775807.000", 0, INT64_MAX},
        {"9.223372036854775807e18", 0, INT64_MAX},
        {"-922337203685477580800000e-5", 0, INT64_MIN},
        {"1e18", 0, INT64_C(1000000000000000000)},
        {"1e19", -ERANGE, 0},
        {"1e99999999999999999999999", -ERANGE, 0},
        {"1e-99999999999999999999999", -EINVAL, 0},
        {"0.5", -EINVAL, 0},
        {"1.5", -EINVAL, 0},
        {"15e-1", -EINVAL, 0},
        {"100000000000000000000000000000000.5", -EINVAL, 0},
        {"", -EINVAL, 0},
        {"-", -EINVAL, 0},
        {"+1", -EINVAL, 0},
        {"01", -EINVAL, 0},
        {"-01", -EINVAL, 0},
        {"00", -EINVAL, 0},
        {"1.", -EINVAL, 0},
        {".1", -EINVAL, 0},
        {"1e", -EINVAL, 0},
        {"1e+", -EINVAL, 0},
        {"1e1.0", -EINVAL, 0},
        {" 1", -EINVAL, 0},
        {"1 ", -EINVAL, 0},
        {"1x", -EINVAL, 0},
        {"0x10", -EINVAL, 0},
        {"1,000", -EINVAL, 0},
        {"nan", -EINVAL, 0},
        {"--1", -EINVAL, 0},
        {"\"1\"", -EINVAL, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        int64_t v = 77;
        const int rc = json_int64(span_of(table[i].text), &v);

        if (rc != table[i].rc)
            print_error("%s: %d\n", table[i].text, rc);
        assert_int_equal(rc, table[i].rc);
        assert_true(v == (rc == 0 ? table[i].value : 77));
    }
    assert_int_equal(json_int64((struct span){0}, &(int64_t){0}), -EINVAL);
}

static void test_uint64(void **state)
{
    static const struct {
        const char *text;
        int rc;
        uint64_t value;
    } table[] = {
        {"0", 0, 0},
        {"-0", 0, 0},
        {"-0.0", 0, 0},
        {"12345678", 0, 12345678},
        {"1234567890123456789", 0, UINT64_C(1234567890123456789)},
        {"9223372036854775808", 0, UINT64_C(9223372036854775808)},
        {"18446744073709551615", 0, UINT64_MAX},
        {"18446744073709551615.00", 0, UINT64_MAX},
        {"1844674407370955161.5e1", 0, UINT64_MAX},
        {"1.8446744073709551615e19", 0, UINT64_MAX},
        {"1e19", 0, UINT64_C(10000000000000000000)},
        {"18446744073709551616", -ERANGE, 0},
        {"18446744073709551620", -ERANGE, 0},
        {"99999999999999999999", -ERANGE, 0},
        {"1844674407370955162e1", -ERANGE, 0},
        {"1e20", -ERANGE, 0},
        {"-1", -ERANGE, 0},
        {"-18446744073709551615", -ERANGE, 0},
        {"1234567/", -EINVAL, 0},
        {"1234567:", -EINVAL, 0},
        {"12345678.", -EINVAL, 0},
        {"012345678", -EINVAL, 0},
        {"0.1", -EINVAL, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        uint64_t v = 77;
        const int rc = json_uint64(span_of(table[i].text), &v);

        if (rc != table[i].rc)
            print_error("%s: %d\n", table[i].text, rc);
        assert_int_equal(rc, table[i].rc);
        assert_true(v == (rc == 0 ? table[i].value : 77));
    }
}

static bool same_double(double a, double b)
{
    return memcmp(&a, &b, sizeof(a)) == 0;
}

static void test_double(void **state)
{
    static const struct {
        const char *text;
        int rc;
        double value;
    } table[] = {
        {"0", 0, 0.0},
        {"-0", 0, -0.0},
        {"-0.0e5", 0, -0.0},
        {"1", 0, 1.0},
        {"1.5", 0, 1.5},
        {"-1.5e-3", 0, -1.5e-3},
        {"0.1", 0, 0.1},
        {"123456789.123456789", 0, 123456789.123456789},
        {"9007199254740993", 0, 9007199254740992.0},
        {"9007199254740992", 0, 9007199254740992.0},
        {"9007199254740991e22", 0, 9007199254740991e22},
        {"1e23", 0, 1e23},
        {"8.5e-23", 0, 8.5e-23},
        {"0.17146103711725114", 0, 0.17146103711725114},
        {"1.7976931348623157e308", 0, DBL_MAX},
        {"1.7976931348623158e308", 0, DBL_MAX},
        {"1.7976931348623159e308", -ERANGE, 0},
        {"1e309", -ERANGE, 0},
        {"-1e400", -ERANGE, 0},
        {"1e99999999999999999999", -ERANGE, 0},
        {"0e99999999999999999999", 0, 0.0},
        {"1e-99999999999999999999", 0, 0.0},
        {"-1e-400", 0, -0.0},
        {"4.9406564584124654e-324", 0, 4.9406564584124654e-324},
        {"2.4703282292062327e-324", 0, 0.0},
        {"2.4703282292062328e-324", 0, 4.9406564584124654e-324},
        {"2.2250738585072011e-308", 0, 2.2250738585072011e-308},
        {"2.2250738585072014e-308", 0, DBL_MIN},
        {"0.000000000000000000000000000000001e33", 0, 1.0},
        {"1.", -EINVAL, 0},
        {"01.5", -EINVAL, 0},
        {".5", -EINVAL, 0},
        {"1,5", -EINVAL, 0},
        {"0x1p3", -EINVAL, 0},
        {"inf", -EINVAL, 0},
        {"NaN", -EINVAL, 0},
        {"1e5 ", -EINVAL, 0},
        {"", -EINVAL, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        double v = 77;
        const int rc = json_double(span_of(table[i].text), &v);

        if (rc != table[i].rc || (rc == 0 && !same_double(v, table[i].value)))
            print_error("%s: %d %a\n", table[i].text, rc, v);
        assert_int_equal(rc, table[i].rc);
        assert_true(same_double(v, rc == 0 ? table[i].value : 77));
    }
}

/* 1 + 2^-53 is halfway between two doubles: the last digit of a very long number decides. */
static void test_double_long(void **state)
{
    static const char halfway[] = "1.00000000000000011102230246251565404236316680908203125";
    static char text[100000];
    const size_t n = sizeof(halfway) - 1;
    double v = 0;

    (void)state;
    memset(text, '0', sizeof(text));
    memcpy(text, halfway, n);
    assert_int_equal(json_double((struct span){text, sizeof(text)}, &v), 0);
    assert_true(same_double(v, 1.0));
    text[sizeof(text) - 1] = '1';
    assert_int_equal(json_double((struct span){text, sizeof(text)}, &v), 0);
    assert_true(same_double(v, 1.0 + DBL_EPSILON));
    text[n - 1] = '4';
    assert_int_equal(json_double((struct span){text, sizeof(text)}, &v), 0);
    assert_true(same_double(v, 1.0));
    memset(text, '0', sizeof(text)); /* 0.000...10e99991 and 1000...000e-99992 are 1 */
    text[1] = '.';
    memcpy(text + sizeof(text) - 8, "10e99991", 8);
    assert_int_equal(json_double((struct span){text, sizeof(text)}, &v), 0);
    assert_true(same_double(v, 1.0));
    memset(text, '0', sizeof(text));
    text[0] = '1';
    memcpy(text + sizeof(text) - 7, "e-99992", 7);
    assert_int_equal(json_double((struct span){text, sizeof(text)}, &v), 0);
    assert_true(same_double(v, 1.0));
    assert_int_equal(json_int64((struct span){text, sizeof(text)}, &(int64_t){0}), 0);
}

static uint64_t next_random(uint64_t *seed)
{
    uint64_t z = *seed += UINT64_C(0x9E3779B97F4A7C15);

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* Any double printed with 17 digits comes back; likewise any int64. */
static void round_trips(uint64_t seed, int count)
{
    char text[64];

    print_message("seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < count; i++) {
        const uint64_t bits = next_random(&seed);
        int64_t integer = 0;
        double want;
        double got = 0;

        memcpy(&want, &bits, sizeof(want));
        if (i % 2 == 0) /* as events have them */
            want = (double)(int64_t)(bits % 10000000000) / 100.0;
        if (!isfinite(want))
            continue;
        snprintf(text, sizeof(text), i % 2 == 0 ? "%.2f" : "%.16e", want);
        for (char *comma = text; *comma != '\0'; comma++)
            *comma = *comma == ',' ? '.' : *comma;
        assert_int_equal(json_double(span_of(text), &got), 0);
        if (!same_double(got, want))
            print_error("%s\n", text);
        assert_true(same_double(got, want));
        snprintf(text, sizeof(text), "%lld", (long long)bits);
        assert_int_equal(json_int64(span_of(text), &integer), 0);
        assert_true(integer == (int64_t)bits);
    }
}

static uint64_t test_seed(void)
{
    const char *fixed = getenv("TEST_SEED");

    return fixed != NULL ? strtoull(fixed, NULL, 0) : (uint64_t)time(NULL);
}

static void test_round_trips(void **state)
{
    (void)state;
    round_trips(test_seed(), 200000);
}

/* What strtod() makes of it, which glibc rounds correctly from all digits. */
static void as_strtod(const char *text)
{
    const double want = strtod(text, NULL);
    double got = 77;
    const int rc = json_double(span_of(text), &got);

    if (rc != (isinf(want) ? -ERANGE : 0) || (rc == 0 && !same_double(got, want)))
        fail_msg("%s: %d %a instead of %a", text, rc, got, want);
}

static double random_double(uint64_t *seed)
{
    uint64_t bits = next_random(seed);
    double v;

    if (bits % 8 == 0) /* below the normal ones, or just above */
        bits &= UINT64_C(0x801FFFFFFFFFFFFF);
    memcpy(&v, &bits, sizeof(v));
    return isfinite(v) ? v : 0.5;
}

/* Between two doubles, exactly (a long double holds it), and a little off: cut off after so many
 * digits, and with a digit more at the end. */
static void test_halfway(void **state)
{
    char text[1200], *e, tail[16];
    uint64_t seed = test_seed();

    (void)state;
    print_message("seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < 20000; i++) {
        const double low = random_double(&seed);
        const long double middle = ((long double)low + nextafter(low, INFINITY)) / 2;

        if (isinf((double)middle))
            continue;
        for (int digits = 15; digits < 22; digits++) {
            snprintf(text, sizeof(text), "%.*Le", digits, middle);
            as_strtod(text);
        }
        if (i % 16 != 0)
            continue;
        snprintf(text, sizeof(text), "%.800Le", middle); /* no middle has more digits */
        as_strtod(text);
        e = strchr(text, 'e');
        snprintf(tail, sizeof(tail), "1%s", e);
        memcpy(e, tail, strlen(tail) + 1);
        as_strtod(text);
    }
}

/* Any digits with any exponent, also past both ends of the range. */
static void test_any_digits(void **state)
{
    char text[128];
    uint64_t seed = test_seed() + 1;

    (void)state;
    for (int i = 0; i < 300000; i++) {
        const unsigned n = 1 + (unsigned)(next_random(&seed) % 24);
        const unsigned point = (unsigned)(next_random(&seed) % (n + 3));
        size_t len = 0;

        if (next_random(&seed) % 4 == 0)
            text[len++] = '-';
        text[len++] = (char)('1' + next_random(&seed) % 9);
        for (unsigned d = 1; d < n; d++) {
            if (d == point)
                text[len++] = '.';
            text[len++] = (char)('0' + next_random(&seed) % 10);
        }
        text[len] = '\0';
        if (next_random(&seed) % 2 == 0)
            snprintf(text + len, sizeof(text) - len, "e%d", (int)(next_random(&seed) % 700) - 370);
        as_strtod(text);
    }
}

/* The double of each power of ten and its neighbours, with few and with many digits. */
static void test_powers(void **state)
{
    static const char *const digits[] = {"1",
                                         "9",
                                         "17976931348623157",
                                         "17976931348623158",
                                         "4503599627370497.5",
                                         "9007199254740993",
                                         "18446744073709551615",
                                         "18446744073709551616",
                                         "99999999999999999999",
                                         "2.2250738585072012",
                                         "4.9406564584124654",
                                         "2.4703282292062327",
                                         "7.2057594037927933"};
    char text[64];

    (void)state;
    for (int power = -400; power < 400; power++) {
        for (size_t i = 0; i < ARRAY_LEN(digits); i++) {
            snprintf(text, sizeof(text), "%se%d", digits[i], power);
            as_strtod(text);
        }
    }
}

/* What localedef makes of decimal_point "," and nothing else: 6 entries, then where each of them is. */
static const uint32_t comma_numeric[] = {
    0x20031114, 6,          32, 34,  36,  40, 44,
    48,         0x002E002C, 0,  ',', '.', 0 /* the name of its charset: "" */};

/* A locale with a comma, made here: no package has to be installed for it. */
static void locale_start(void)
{
    static const char dir[] = "/tmp/penstock-locale-XXXXXX";
    char root[sizeof(dir)], path[sizeof(dir) + 32];
    FILE *file;

    memcpy(root, dir, sizeof(dir));
    assert_non_null(mkdtemp(root));
    snprintf(path, sizeof(path), "%s/comma", root);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof(path), "%s/comma/LC_NUMERIC", root);
    file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(comma_numeric, sizeof(comma_numeric), 1, file), 1);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(setenv("LOCPATH", root, 1), 0);
    assert_non_null(setlocale(LC_NUMERIC, "comma"));
    unlink(path);
    *strrchr(path, '/') = '\0';
    rmdir(path);
    rmdir(root);
}

static void test_locale(void **state)
{
    char text[8];
    double v = 0;

    (void)state;
    locale_start();
    snprintf(text, sizeof(text), "%.1f", 1.5);
    assert_string_equal(text, "1,5"); /* the C library does follow it */
    assert_int_equal(json_double(span_of("0.17146103711725114"), &v), 0);
    assert_true(same_double(v, 0.17146103711725114));
    /* Just above halfway: this one goes to strtod(). */
    assert_int_equal(
        json_double(span_of("1.000000000000000111022302462515654042363166809082031251"), &v), 0);
    assert_true(same_double(v, 1.0 + DBL_EPSILON));
    assert_int_equal(json_double(span_of("0,5"), &v), -EINVAL);
    round_trips(test_seed(), 20000);
    setlocale(LC_NUMERIC, "C");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_int64),       cmocka_unit_test(test_uint64),
        cmocka_unit_test(test_double),      cmocka_unit_test(test_double_long),
        cmocka_unit_test(test_round_trips), cmocka_unit_test(test_halfway),
        cmocka_unit_test(test_any_digits),  cmocka_unit_test(test_powers),
        cmocka_unit_test(test_locale),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
