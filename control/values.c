/* COLD. Values as people write them, see values.h. */
#include "control/values.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define HOST_BYTES    64
#define VALUE_MILLION UINT64_C(1000000)

struct unit {
    const char *name;
    uint64_t factor;
};

/* Reads decimal digits; *end is behind them. */
static int read_digits(const char *text, uint64_t *out, const char **end)
{
    uint64_t v = 0;
    const char *p = text;

    for (; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
            return -ERANGE;
    }
    *out = v;
    *end = p;
    return p == text ? -EINVAL : 0;
}

/* Reads a number with one of n units. */
static int read_unit(const char *text, const struct unit *units, size_t n, uint64_t *out)
{
    const char *end;
    uint64_t v;
    int rc = read_digits(text, &v, &end);

    ASSERT(n > 0);
    if (rc != 0)
        return rc;
    while (*end == ' ')
        end++;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(end, units[i].name) == 0)
            return __builtin_mul_overflow(v, units[i].factor, out) ? -ERANGE : 0;
    }
    if (v == 0 && *end == '\0') {
        *out = 0;
        return 0;
    }
    return -EINVAL;
}

int value_count(const char *text, uint64_t *out)
{
    const char *end;
    int rc;

    ASSERT(text != NULL);
    rc = read_digits(text, out, &end);
    return rc != 0 ? rc : *end == '\0' ? 0 : -EINVAL;
}

int value_size(const char *text, uint64_t *out)
{
    static const struct unit units[] = {
        {"", 1},
        {"B", 1},
        {"KiB", UINT64_C(1) << 10},
        {"MiB", UINT64_C(1) << 20},
        {"GiB", UINT64_C(1) << 30},
        {"TiB", UINT64_C(1) << 40},
        {"KB", UINT64_C(1000)},
        {"MB", UINT64_C(1000000)},
        {"GB", UINT64_C(1000000000)},
        {"TB", UINT64_C(1000000000000)},
    };

    ASSERT(text != NULL);
    return read_unit(text, units, ARRAY_LEN(units), out);
}

int value_duration(const char *text, uint64_t *out)
{
    static const struct unit units[] = {
        {"us", 1},
        {"ms", UINT64_C(1000)},
        {"s", UINT64_C(1000000)},
        {"m", UINT64_C(60000000)},
        {"h", UINT64_C(3600000000)},
        {"d", UINT64_C(86400000000)},
    };

    ASSERT(text != NULL);
    return read_unit(text, units, ARRAY_LEN(units), out);
}

int value_fraction(const char *text, uint64_t *out)
{
    uint64_t whole, scale = VALUE_MILLION;
    const char *p;
    int rc = read_digits(text, &whole, &p);

    ASSERT(out != NULL);
    if (rc != 0)
        return rc;
    if (whole > 1)
        return -ERANGE;
    *out = whole * VALUE_MILLION;
    if (*p == '.' && p[1] != '\0') {
        for (p++; *p >= '0' && *p <= '9'; p++) {
            if (scale == 1) /* finer than a millionth */
                return -ERANGE;
            scale /= 10;
            *out += (uint64_t)(*p - '0') * scale;
        }
    }
    if (*p != '\0')
        return -EINVAL;
    return *out > VALUE_MILLION ? -ERANGE : 0;
}

int value_bool(const char *text, bool *out)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};

    ASSERT(text != NULL);
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (strcmp(words[i], text) == 0) {
            *out = i % 2 == 1;
            return 0;
        }
    }
    return -EINVAL;
}

static int address_v6(const char *host, uint16_t port, struct sockaddr_storage *out)
{
    struct sockaddr_in6 *a = (struct sockaddr_in6 *)out;

    a->sin6_family = AF_INET6;
    a->sin6_port = htons(port);
    return inet_pton(AF_INET6, host, &a->sin6_addr) == 1 ? 0 : -EINVAL;
}

static int address_v4(const char *host, uint16_t port, struct sockaddr_storage *out)
{
    struct sockaddr_in *a = (struct sockaddr_in *)out;

    a->sin_family = AF_INET;
    a->sin_port = htons(port);
    return inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &a->sin_addr) ==
                   1
               ? 0
               : -EINVAL;
}

int value_address(const char *text, struct sockaddr_storage *out)
{
    const char *colon = strrchr(text, ':');
    char host[HOST_BYTES];
    uint64_t port;
    size_t len;

    ASSERT(out != NULL);
    *out = (struct sockaddr_storage){0};
    if (colon == NULL || value_count(colon + 1, &port) != 0 || port > UINT16_MAX)
        return -EINVAL;
    len = (size_t)(colon - text);
    if (len == 0 || len >= sizeof(host))
        return -EINVAL;
    memcpy(host, text, len);
    host[len] = '\0';
    if (host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = '\0';
        return address_v6(host + 1, (uint16_t)port, out);
    }
    return address_v4(host, (uint16_t)port, out);
}

void value_address_format(const struct sockaddr_storage *a, char *out)
{
    char host[INET6_ADDRSTRLEN] = "?";

    ASSERT(out != NULL);
    if (a->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;

        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
        snprintf(out, VALUE_ADDRESS_BYTES, "[%s]:%u", host, ntohs(v6->sin6_port));
    } else {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;

        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
        snprintf(out, VALUE_ADDRESS_BYTES, "%s:%u", host, ntohs(v4->sin_port));
    }
}

socklen_t value_address_len(const struct sockaddr_storage *a)
{
    ASSERT(a->ss_family == AF_INET || a->ss_family == AF_INET6);
    return a->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}
