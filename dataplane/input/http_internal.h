/* Byte classes of RFC 9110/9112/3986 that the head parser and the chunk decoder share. One table
 * look-up a byte. */
#ifndef PENSTOCK_INPUT_HTTP_INTERNAL_H
#define PENSTOCK_INPUT_HTTP_INTERNAL_H

#include "dataplane/input/http_parser.h"

enum {
    HTTP_CLASS_TOKEN = 1,  /* tchar: methods and field names */
    HTTP_CLASS_TARGET = 2, /* what RFC 3986 allows in a URI, without '#' */
    HTTP_CLASS_VALUE = 4,  /* field values: HT, SP, visible, obs-text */
    HTTP_CLASS_HOST = 8,   /* reg-name */
};

extern const uint8_t http_class[256];

/** Whether byte c belongs to any class of mask. Thread: any. */
static inline bool http_is(char c, uint8_t mask)
{
    return (http_class[(uint8_t)c] & mask) != 0;
}

/** The value of a hex digit, or -1. Thread: any. */
static inline int http_hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    /* Setting bit 5 maps 'A'..'F' to 'a'..'f' and moves nothing else into that range. */
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

#endif
