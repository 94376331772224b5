/* HOT in text_iter_next(), COLD otherwise. See text_internal.h. */
#include "dataplane/event/text_internal.h"

void text_iter_init(struct text_iter *it, struct span raw)
{
    it->_p = raw.ptr;
    it->_end = raw.ptr + raw.len;
    it->_n_pending = 0;
    it->_next = 0;
}

static unsigned hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    return (unsigned)((c | 0x20) - 'a' + 10);
}

static uint32_t hex4(const char *p)
{
    return (uint32_t)(hex_digit(p[0]) << 12 | hex_digit(p[1]) << 8 | hex_digit(p[2]) << 4 |
                      hex_digit(p[3]));
}

/* Encodes a code point into the pending bytes and returns the first. */
static int push_code(struct text_iter *it, uint32_t c)
{
    uint8_t *b = it->_pending;

    it->_next = 1;
    if (c < 0x80) {
        it->_n_pending = 1;
        return (int)c;
    }
    if (c < 0x800) {
        it->_n_pending = 2;
        b[0] = (uint8_t)(0xC0 | c >> 6);
    } else if (c < 0x10000) {
        it->_n_pending = 3;
        b[0] = (uint8_t)(0xE0 | c >> 12);
    } else {
        it->_n_pending = 4;
        b[0] = (uint8_t)(0xF0 | c >> 18);
    }
    for (unsigned i = 1; i < it->_n_pending; i++)
        b[i] = (uint8_t)(0x80 | ((c >> (6 * (it->_n_pending - 1u - i))) & 0x3F));
    return b[0];
}

/* it->_p stands behind a backslash. */
static COLD_PATH int next_escape(struct text_iter *it)
{
    char c = *it->_p++;
    uint32_t code;

    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'u':
        ASSERT_HOT(it->_end - it->_p >= 4);
        code = hex4(it->_p);
        it->_p += 4;
        if (code >= 0xD800 && code < 0xDC00) {
            ASSERT_HOT(it->_end - it->_p >= 6);
            code = 0x10000 + ((code - 0xD800) << 10) + (hex4(it->_p + 2) - 0xDC00);
            it->_p += 6;
        }
        return push_code(it, code);
    default:
        return (unsigned char)c;
    }
}

int text_iter_next(struct text_iter *it)
{
    if (it->_next < it->_n_pending)
        return it->_pending[it->_next++];
    if (it->_p == it->_end)
        return TEXT_END;
    if (*it->_p != '\\')
        return (unsigned char)*it->_p++;
    it->_p++;
    return next_escape(it);
}

bool text_equal(struct span a, struct span b)
{
    struct text_iter ia, ib;
    int c;

    if (span_equal(a, b))
        return true;
    if (memchr(a.ptr, '\\', a.len) == NULL && memchr(b.ptr, '\\', b.len) == NULL)
        return false;
    text_iter_init(&ia, a);
    text_iter_init(&ib, b);
    do {
        c = text_iter_next(&ia);
        if (c != text_iter_next(&ib))
            return false;
    } while (c != TEXT_END);
    return true;
}

size_t text_utf8_length(const char *p, size_t left)
{
    const unsigned char *b = (const unsigned char *)p;
    size_t n = b[0] < 0x80   ? 1
               : b[0] < 0xC2 ? 0
               : b[0] < 0xE0 ? 2
               : b[0] < 0xF0 ? 3
               : b[0] < 0xF5 ? 4
                             : 0;

    ASSERT_HOT(left > 0);
    if (n <= 1)
        return n;
    if (n > left)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((b[i] & 0xC0) != 0x80)
            return 0;
    }
    if ((b[0] == 0xE0 && b[1] < 0xA0) ||
        (b[0] == 0xED && b[1] > 0x9F)) /* too long a form; surrogates */
        return 0;
    if ((b[0] == 0xF0 && b[1] < 0x90) ||
        (b[0] == 0xF4 && b[1] > 0x8F)) /* too long a form; past U+10FFFF */
        return 0;
    return n;
}
