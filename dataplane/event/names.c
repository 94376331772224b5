/* HOT in name_escape() (once per type and group), COLD otherwise. See names.h. */
#include "dataplane/event/names.h"

#include <errno.h>

static bool is_plain(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

static char hex_upper(unsigned v)
{
    return "0123456789ABCDEF"[v & 15];
}

/* The value of an upper-case hex digit, or -1. */
static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

size_t name_escape(struct span name, char *out)
{
    size_t n = 0;

    ASSERT(name.len <= TYPE_NAME_BYTES_MAX);
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.ptr[i];
        bool before_x = c == '_' && i + 1 < name.len && name.ptr[i + 1] == 'x';

        if (is_plain(c) && !before_x) {
            out[n++] = (char)c;
            continue;
        }
        out[n++] = '_';
        out[n++] = 'x';
        out[n++] = hex_upper(c >> 4);
        out[n++] = hex_upper(c);
    }
    ASSERT(n <= TYPE_ESCAPED_BYTES_MAX);
    out[n] = '\0';
    return n;
}

/* The byte that the "_xHH" at p stands for, or -1 when name_escape() would not have written it. */
static int escaped_byte(const char *p, size_t left)
{
    int high = left >= 4 ? hex_value(p[2]) : -1;
    int low = left >= 4 ? hex_value(p[3]) : -1;
    int c = high * 16 + low;

    if (high < 0 || low < 0)
        return -1;
    if (c == '_')
        return left >= 5 && p[4] == 'x' ? c : -1;
    return is_plain((unsigned char)c) ? -1 : c;
}

int name_unescape(struct span escaped, char *out)
{
    size_t i = 0;
    int n = 0;

    ASSERT(escaped.len <= INT32_MAX);
    while (i < escaped.len) {
        const char *p = escaped.ptr + i;
        size_t left = escaped.len - i;
        int c = (unsigned char)*p;

        if (!is_plain((unsigned char)c))
            return -EINVAL;
        if (c != '_' || left == 1 || p[1] != 'x') {
            out[n++] = (char)c;
            i++;
            continue;
        }
        c = escaped_byte(p, left);
        if (c < 0)
            return -EINVAL;
        out[n++] = (char)c;
        i += 4;
    }
    return n;
}
