// Role: helpers without state (see util.h).
#include "tools/localcloud/util.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static void *check_memory(void *p)
{
    if (!p) {
        fputs("localcloud: out of memory\n", stderr);
        abort();
    }
    return p;
}

void *lc_alloc(size_t size)
{
    return check_memory(calloc(1, size ? size : 1));
}

void *lc_realloc(void *p, size_t size)
{
    return check_memory(realloc(p, size ? size : 1));
}

char *lc_strndup(const char *s, size_t n)
{
    assert(s);
    char *out = lc_alloc(n + 1);
    memcpy(out, s, n);
    return out;
}

char *lc_strdup(const char *s)
{
    return lc_strndup(s, strlen(s));
}

static void buf_reserve(struct lc_buf *b, size_t extra)
{
    size_t need = b->n + extra + 1;
    if (need <= b->cap)
        return;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need)
        cap *= 2;
    b->p = lc_realloc(b->p, cap);
    b->cap = cap;
}

void lc_buf_add(struct lc_buf *b, const void *p, size_t n)
{
    buf_reserve(b, n);
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = 0;
}

void lc_buf_str(struct lc_buf *b, const char *s)
{
    lc_buf_add(b, s, strlen(s));
}

static void buf_vfmt(struct lc_buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    if (!fmt)
        abort();
    int n = vsnprintf(NULL, 0, fmt, ap);
    assert(n >= 0);
    buf_reserve(b, (size_t)n);
    vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
    va_end(again);
    b->n += (size_t)n;
}

void lc_buf_fmt(struct lc_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    buf_vfmt(b, fmt, ap);
    va_end(ap);
}

char *lc_format(const char *fmt, ...)
{
    struct lc_buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vfmt(&b, fmt, ap);
    va_end(ap);
    return lc_buf_take(&b);
}

void lc_buf_free(struct lc_buf *b)
{
    free(b->p);
    *b = (struct lc_buf){0};
}

char *lc_buf_take(struct lc_buf *b)
{
    buf_reserve(b, 0);
    char *p = b->p;
    p[b->n] = 0;
    *b = (struct lc_buf){0};
    return p;
}

bool lc_parse_i64(const char *s, int64_t *out)
{
    if (!s)
        return false;
    const char *digits = s + (*s == '-' || *s == '+');
    if (*digits < '0' || *digits > '9')
        return false;
    char *end;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (errno || *end)
        return false;
    *out = v;
    return true;
}

bool lc_starts_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

// Length of the well-formed sequence at s (RFC 3629: no overlong forms, no surrogates), 0 when
// there is none.
static size_t utf8_step(const unsigned char *s, size_t n)
{
    unsigned c = s[0];
    if (c < 0x80)
        return 1;
    size_t len = c >= 0xf0 && c <= 0xf4  ? 4
                 : c >= 0xe0 && c < 0xf0 ? 3
                 : c >= 0xc2 && c < 0xe0 ? 2
                                         : 0;
    if (!len || len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool bad = (c == 0xe0 && s[1] < 0xa0) || (c == 0xed && s[1] > 0x9f) ||
               (c == 0xf0 && s[1] < 0x90) || (c == 0xf4 && s[1] > 0x8f);
    return bad ? 0 : len;
}

bool lc_utf8_valid(const char *s, size_t n)
{
    const unsigned char *u = (const unsigned char *)s;
    for (size_t i = 0; i < n;) {
        size_t len = utf8_step(u + i, n - i);
        if (!len)
            return false;
        i += len;
    }
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

char *lc_percent_decode(const char *s, size_t n, bool plus)
{
    char *out = lc_alloc(n + 1);
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] != '%') {
            out[k++] = plus && s[i] == '+' ? ' ' : s[i];
            continue;
        }
        int hi = i + 2 < n ? hex_digit(s[i + 1]) : -1;
        int lo = hi >= 0 ? hex_digit(s[i + 2]) : -1;
        if (lo < 0 || (hi == 0 && lo == 0)) {
            free(out);
            return NULL;
        }
        out[k++] = (char)(hi * 16 + lo);
        i += 2;
    }
    return out;
}

void lc_percent_encode(struct lc_buf *b, const char *s)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     c == '-' || c == '_' || c == '.' || c == '~';
        if (plain)
            lc_buf_add(b, s, 1);
        else
            lc_buf_fmt(b, "%%%02X", c);
    }
}

char *lc_base64(const void *p, size_t n)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *s = p;
    char *out = lc_alloc((n + 2) / 3 * 4 + 1);
    char *o = out;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)s[i] << 16;
        v |= i + 1 < n ? (uint32_t)s[i + 1] << 8 : 0;
        v |= i + 2 < n ? s[i + 2] : 0;
        *o++ = digit[v >> 18];
        *o++ = digit[v >> 12 & 63];
        *o++ = i + 1 < n ? digit[v >> 6 & 63] : '=';
        *o++ = i + 2 < n ? digit[v & 63] : '=';
    }
    return out;
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

bool lc_base64_decode(const char *s, size_t n, uint8_t **out, size_t *out_n)
{
    size_t digits = n;
    while (digits && n - digits < 2 && s[digits - 1] == '=')
        digits--;
    if ((n != digits && n % 4) || digits % 4 == 1)
        return false;
    uint8_t *o = lc_alloc(digits / 4 * 3 + 3);
    size_t k = 0;
    uint32_t v = 0;
    for (size_t i = 0; i < digits; i++) {
        int d = base64_digit(s[i]);
        if (d < 0) {
            free(o);
            return false;
        }
        v = v << 6 | (uint32_t)d;
        if (i % 4 != 0)
            o[k++] = (uint8_t)(v >> (6 - 2 * (i % 4)));
    }
    *out = o;
    *out_n = k;
    return true;
}

int64_t lc_now_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void lc_sleep_ms(int64_t ms)
{
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    while (ms > 0 && nanosleep(&ts, &ts) && errno == EINTR)
        ;
}

char *lc_rfc3339(int64_t us, char out[40])
{
    time_t sec = (time_t)(us / 1000000);
    struct tm tm;
    gmtime_r(&sec, &tm);
    size_t n = strftime(out, 40, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out + n, 40 - n, ".%03dZ", (int)(us / 1000 % 1000));
    return out;
}

char *lc_random_hex(char *out, size_t n_bytes)
{
    uint8_t raw[16];
    assert(n_bytes <= sizeof raw);
    if (getrandom(raw, n_bytes, 0) != (ssize_t)n_bytes)
        abort();
    for (size_t i = 0; i < n_bytes; i++)
        snprintf(out + 2 * i, 3, "%02x", raw[i]);
    return out;
}

char *lc_double_text(double d, char out[40])
{
    if (isnan(d) || isinf(d)) {
        snprintf(out, 40, "%s", isnan(d) ? "NaN" : d > 0 ? "Infinity" : "-Infinity");
        return out;
    }
    for (int precision = 15; precision <= 17; precision++) {
        snprintf(out, 40, "%.*g", precision, d);
        if (strtod(out, NULL) == d)
            break;
    }
    if (!strpbrk(out, ".eE"))
        strncat(out, ".0", 3);
    return out;
}
