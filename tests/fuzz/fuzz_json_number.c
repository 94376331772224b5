/*
 * Goal: json_int64(), json_uint64() and json_double() agree with strtoll(), strtoull() and
 * strtod() on every number, and refuse the rest. Method: an own check of the grammar, then the C
 * library on the whole text. Numbers with fraction or exponent become plain digits first, so that
 * strtoll() can judge whether they are integers. Canary: with -DFUZZ_CANARY the check takes a
 * number that ends with a point for valid.
 */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/json/walk.h"

#define CHECK(c)                                                            \
    do {                                                                    \
        if (!(c)) {                                                         \
            fprintf(stderr, "check failed: %s at line %d\n", #c, __LINE__); \
            abort();                                                        \
        }                                                                   \
    } while (0)

#define EXPONENT_MAX 200 /* past it the text is not written out */

static const char *digits_after(const char *p)
{
    if (!isdigit((unsigned char)*p))
        return NULL;
    while (isdigit((unsigned char)*p))
        p++;
    return p;
}

/* Whether the whole of text, len bytes and a NUL, is a JSON number. */
static bool is_number(const char *text, size_t len)
{
    const char *p = text + (*text == '-');

    if (p[0] == '0' && isdigit((unsigned char)p[1]))
        return false;
    p = digits_after(p);
#ifdef FUZZ_CANARY
    if (p != NULL && *p == '.' && p[1] == '\0')
        return true;
#endif
    if (p != NULL && *p == '.')
        p = digits_after(p + 1);
    if (p != NULL && (*p == 'e' || *p == 'E')) {
        p++;
        p = digits_after(p + (*p == '+' || *p == '-'));
    }
    return p == text + len;
}

/* Writes a number out as "digits" and "digits of the fraction". @return false when it is too long
 * for that. */
static bool write_out(const char *text, char *whole, char *fraction, size_t room)
{
    const char *e = strpbrk(text, "eE");
    const long exponent = e == NULL ? 0 : strtol(e + 1, NULL, 10);
    const size_t mantissa_len = e == NULL ? strlen(text) : (size_t)(e - text);
    long point;
    size_t n = 0;
    char *digits = calloc(1, mantissa_len + 2 * EXPONENT_MAX + 2);

    if (exponent > EXPONENT_MAX || exponent < -EXPONENT_MAX ||
        mantissa_len + 2 * EXPONENT_MAX + 2 > room) {
        free(digits);
        return false;
    }
    memset(digits, '0', EXPONENT_MAX);
    n = EXPONENT_MAX;
    point = -1;
    for (size_t i = text[0] == '-'; i < mantissa_len; i++) {
        if (text[i] == '.')
            point = (long)n;
        else
            digits[n++] = text[i];
    }
    if (point < 0)
        point = (long)n;
    memset(digits + n, '0', EXPONENT_MAX);
    point += exponent;
    memcpy(whole, digits, (size_t)point);
    whole[point] = '\0';
    memcpy(fraction, digits + point, n + EXPONENT_MAX - (size_t)point);
    fraction[n + EXPONENT_MAX - (size_t)point] = '\0';
    free(digits);
    return true;
}

/* digits: text written out as a whole number. */
static void check_uint64(const char *text, size_t len, const char *digits)
{
    uint64_t got = 0;
    const int rc = json_uint64((struct span){text, len}, &got);
    unsigned long long want;

    if (digits[0] == '-') {
        CHECK(rc == (digits[1 + strspn(digits + 1, "0")] == '\0' ? 0 : -ERANGE) && got == 0);
        return;
    }
    errno = 0;
    want = strtoull(digits, NULL, 10);
    CHECK(rc == (errno == ERANGE ? -ERANGE : 0));
    CHECK(rc != 0 || got == want);
}

static void check_int64(const char *text, size_t len)
{
    static char whole[1 << 16];
    static char fraction[1 << 16];
    char *digits;
    int64_t got = 0;
    const int rc = json_int64((struct span){text, len}, &got);
    long long want;

    CHECK(rc == 0 || rc == -EINVAL || rc == -ERANGE);
    if (!write_out(text, whole + 1, fraction, sizeof(whole) - 1))
        return;
    if (fraction[strspn(fraction, "0")] != '\0') {
        CHECK(rc == -EINVAL);
        return;
    }
    digits = whole + 1;
    if (text[0] == '-') {
        digits = whole;
        digits[0] = '-';
    }
    errno = 0;
    want = strtoll(digits, NULL, 10);
    CHECK(rc == (errno == ERANGE ? -ERANGE : 0));
    CHECK(rc != 0 || got == want);
    check_uint64(text, len, digits);
}

static void check_double(const char *text, size_t len)
{
    double got = 0;
    const int rc = json_double((struct span){text, len}, &got);
    const double want = strtod(text, NULL);

    CHECK(rc == (isinf(want) ? -ERANGE : 0));
    CHECK(rc != 0 || memcmp(&got, &want, sizeof(got)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *exact = malloc(size + 1); /* no byte may be read behind the number */
    char *text = malloc(size + 1);
    int64_t integer = 0;
    uint64_t natural = 0;
    double real = 0;
    size_t offset;
    bool number;

    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    number = is_number(text, size);
    exact = realloc(exact, size > 0 ? size : 1);
    if (size > 0)
        memcpy(exact, data, size);
    CHECK((json_double((struct span){exact, size}, &real) != -EINVAL) == number);
    CHECK(number || json_int64((struct span){exact, size}, &integer) == -EINVAL);
    CHECK(number || json_uint64((struct span){exact, size}, &natural) == -EINVAL);
    if (number) {
        char *padded = calloc(1, size + JSON_PADDING_BYTES);

        memcpy(padded, data, size);
        CHECK(json_validate(padded, size, &offset) == JSON_ERROR_NONE);
        free(padded);
        check_int64(text, size);
        check_double(text, size);
    }
    free(text);
    free(exact);
    return 0;
}
