/*
 * HOT. The head of a request, in one pass from left to right. The first fault decides, and it is
 * found as soon as its byte is there: so any prefix of a head gives either -EAGAIN or the answer
 * that the whole head gives, and a head that arrives in pieces is judged as if it had come at once.
 *
 * Refused because two servers could read it in two ways (RFC 9112, 11.2): bare CR or LF, folded
 * lines, space before a colon, two lengths (even equal ones), a length beside a transfer coding,
 * more than one transfer coding, a transfer coding in HTTP/1.0, several hosts.
 */
#include "dataplane/input/http_internal.h"

#include <errno.h>

#define T HTTP_CLASS_TOKEN
#define G HTTP_CLASS_TARGET
#define V HTTP_CLASS_VALUE
#define H HTTP_CLASS_HOST

const uint8_t http_class[256] = {
    ['\t'] = V,
    [' '] = V,
    ['!'] = T | G | V | H,
    ['"'] = V,
    ['#'] = T | V,
    ['$' ... '\''] = T | G | V | H, /* $ % & ' */
    ['(' ... ')'] = G | V | H,
    ['*' ... '+'] = T | G | V | H,
    [','] = G | V | H,
    ['-' ... '.'] = T | G | V | H,
    ['/'] = G | V,
    ['0' ... '9'] = T | G | V | H,
    [':'] = G | V,
    [';'] = G | V | H,
    ['<'] = V,
    ['='] = G | V | H,
    ['>'] = V,
    ['?' ... '@'] = G | V,
    ['A' ... 'Z'] = T | G | V | H,
    ['['] = G | V,
    ['\\'] = V,
    [']'] = G | V,
    ['^'] = T | V,
    ['_'] = T | G | V | H,
    ['`'] = T | V,
    ['a' ... 'z'] = T | G | V | H,
    ['{'] = V,
    ['|'] = T | V,
    ['}'] = V,
    ['~'] = T | G | V | H,
    [0x80 ... 0xff] = V,
};

#undef T
#undef G
#undef V
#undef H

/* Fields of which a head may hold one; bits of head_state.seen. */
enum {
    SEEN_HOST = 1,
    SEEN_LENGTH = 2,
    SEEN_TRANSFER = 4,
    SEEN_TYPE = 8,
    SEEN_AUTHORIZATION = 16,
    SEEN_ENCODING = 32, /* may come again, and is then a coding that is not taken */
    SEEN_CLOSE = 64,
    SEEN_KEEP_ALIVE = 128,
    SEEN_ORIGIN = 256,
};

struct head_state {
    const char *at;
    const char *end;
    uint32_t seen;
    struct http_request *out;
};

/* Whether s is the text lower in any case. lower is made of letters, digits, '-' and '/'; s holds
 * no controls. */
static bool equal_nocase(struct span s, const char *lower)
{
    size_t n = strlen(lower);

    if (s.len != n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if ((s.ptr[i] | 0x20) != lower[i])
            return false;
    }
    return true;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static struct span trim(const char *from, const char *to)
{
    while (from < to && is_space(*from))
        from++;
    while (from < to && is_space(to[-1]))
        to--;
    return (struct span){.ptr = from, .len = (size_t)(to - from)};
}

/* Takes the next member of a comma-separated list off *rest, trimmed; may be empty. */
static struct span list_next(struct span *rest)
{
    const char *end = rest->ptr + rest->len;
    const char *comma = memchr(rest->ptr, ',', rest->len);
    struct span member = trim(rest->ptr, comma != NULL ? comma : end);

    rest->ptr = comma != NULL ? comma + 1 : end;
    rest->len = (size_t)(end - rest->ptr);
    return member;
}

static bool once(struct head_state *h, uint32_t bit)
{
    bool first = (h->seen & bit) == 0;

    h->seen |= bit;
    return first;
}

/* ---- Request line ---- */

static int take_crlf(struct head_state *h)
{
    if (h->at == h->end)
        return -EAGAIN;
    if (h->at[0] != '\r')
        return -EINVAL;
    if (h->at + 1 == h->end)
        return -EAGAIN;
    if (h->at[1] != '\n')
        return -EINVAL;
    h->at += 2;
    return 0;
}

/* Takes one or more bytes of a class and the delimiter after them. */
static int take_word(struct head_state *h, uint8_t mask, char delimiter, struct span *word)
{
    const char *p = h->at;

    while (p < h->end && http_is(*p, mask))
        p++;
    if (p == h->end)
        return -EAGAIN;
    if (*p != delimiter || p == h->at)
        return -EINVAL;
    *word = (struct span){.ptr = h->at, .len = (size_t)(p - h->at)};
    h->at = p + 1;
    return 0;
}

static enum http_method method_of(struct span name)
{
    static const struct {
        const char *name;
        enum http_method method;
    } methods[] = {
        {"POST", HTTP_METHOD_POST},     {"GET", HTTP_METHOD_GET},
        {"HEAD", HTTP_METHOD_HEAD},     {"PUT", HTTP_METHOD_PUT},
        {"DELETE", HTTP_METHOD_DELETE}, {"OPTIONS", HTTP_METHOD_OPTIONS},
    };

    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        if (span_equal(name, span_of(methods[i].name)))
            return methods[i].method;
    }
    return HTTP_METHOD_OTHER;
}

/* Reads "HTTP/d.d" into *version as 10 * major + minor. */
static int take_version(struct head_state *h, unsigned *version)
{
    static const char form[] = "HTTP/d.d";
    const size_t form_len = sizeof(form) - 1;
    size_t n = (size_t)(h->end - h->at);

    for (size_t i = 0; i < form_len && i < n; i++) {
        char c = h->at[i];

        if (form[i] == 'd' ? c < '0' || c > '9' : c != form[i])
            return -EINVAL;
    }
    if (n < form_len)
        return -EAGAIN;
    *version = (unsigned)(h->at[5] - '0') * 10 + (unsigned)(h->at[7] - '0');
    h->at += form_len;
    return 0;
}

/* RFC 9110, 7.2: uri-host [ ":" port ]. A '@' is in no class here, so user names are refused. */
static bool is_host(struct span s)
{
    const char *p = s.ptr;
    const char *end = s.ptr + s.len;

    if (p < end && *p == '[') {
        for (p++; p < end && (http_hex_digit(*p) >= 0 || *p == ':' || *p == '.'); p++)
            ;
        if (p == end || *p++ != ']')
            return false;
    } else {
        while (p < end && http_is(*p, HTTP_CLASS_HOST))
            p++;
    }
    if (p == end)
        return true;
    if (*p++ != ':')
        return false;
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p == end;
}

static void split_path(struct http_request *out, struct span target)
{
    const char *mark = memchr(target.ptr, '?', target.len);
    const char *end = target.ptr + target.len;

    out->path = (struct span){.ptr = target.ptr, .len = target.len};
    out->query = (struct span){.ptr = end, .len = 0};
    if (mark != NULL) {
        out->path.len = (size_t)(mark - target.ptr);
        out->query = (struct span){.ptr = mark + 1, .len = (size_t)(end - mark - 1)};
    }
}

/* "http://host:port/path?query". The authority is checked; the service does not depend on it. */
static int split_absolute(struct http_request *out, struct span target)
{
    static const char *const schemes[] = {"http://", "https://"};
    const char *end = target.ptr + target.len;

    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        struct span scheme = {.ptr = target.ptr, .len = strlen(schemes[i])};
        const char *host = scheme.ptr + scheme.len;
        const char *p = host;

        /* ':' and '/' have bit 5 set, as equal_nocase() needs it. */
        if (target.len <= scheme.len || !equal_nocase(scheme, schemes[i]))
            continue;
        while (p < end && *p != '/' && *p != '?')
            p++;
        if (p == host || *host == ':' || !is_host((struct span){host, (size_t)(p - host)}))
            return -EINVAL;
        split_path(out, (struct span){p, (size_t)(end - p)});
        if (out->path.len == 0) /* an empty path is "/": the slash in front of the host will do */
            out->path = (struct span){.ptr = host - 1, .len = 1};
        return 0;
    }
    return -EINVAL;
}

static int parse_target(struct http_request *out, struct span target)
{
    ASSERT_HOT(target.len > 0);
    if (target.ptr[0] == '/') {
        split_path(out, target);
        return 0;
    }
    if (target.ptr[0] == '*') {
        split_path(out, target);
        return target.len == 1 && out->method == HTTP_METHOD_OPTIONS ? 0 : -EINVAL;
    }
    return split_absolute(out, target);
}

static int parse_request_line(struct head_state *h)
{
    struct span method;
    struct span target;
    unsigned version;
    int rc;

    /* RFC 9112, 2.2: one empty line before a request is forgiven, old clients add it to a body. */
    if (h->at < h->end && *h->at == '\r' && (rc = take_crlf(h)) != 0)
        return rc;
    if ((rc = take_word(h, HTTP_CLASS_TOKEN, ' ', &method)) != 0)
        return rc;
    if ((rc = take_word(h, HTTP_CLASS_TARGET, ' ', &target)) != 0)
        return rc;
    if ((rc = take_version(h, &version)) != 0)
        return rc;
    if ((rc = take_crlf(h)) != 0)
        return rc;
    /* Before the target: the preface of HTTP/2, "PRI * HTTP/2.0", shall hear about the version. */
    if (version != 10 && version != 11)
        return -EPROTONOSUPPORT;
    h->out->minor = (uint8_t)(version - 10);
    h->out->method = method_of(method);
    return parse_target(h->out, target);
}

/* ---- Fields that matter ---- */

static int field_host(struct head_state *h, struct span value)
{
    return once(h, SEEN_HOST) && is_host(value) ? 0 : -EINVAL;
}

static int field_length(struct head_state *h, struct span value)
{
    uint64_t length = 0;

    if (!once(h, SEEN_LENGTH) || (h->seen & SEEN_TRANSFER) != 0 || value.len == 0)
        return -EINVAL;
    for (size_t i = 0; i < value.len; i++) {
        unsigned digit = (unsigned)(uint8_t)value.ptr[i] - '0';

        /* Up to INT64_MAX, so that sums with a buffer's length cannot wrap. */
        if (digit > 9 || length > ((uint64_t)INT64_MAX - digit) / 10)
            return -EINVAL;
        length = length * 10 + digit;
    }
    h->out->content_length = length;
    h->out->has_length = true;
    return 0;
}

static int field_transfer(struct head_state *h, struct span value)
{
    if (!once(h, SEEN_TRANSFER) || (h->seen & SEEN_LENGTH) != 0 || h->out->minor == 0)
        return -EINVAL;
    if (value.len == 0)
        return -EINVAL;
    if (!equal_nocase(value, "chunked"))
        return -ENOSYS;
    h->out->chunked = true;
    return 0;
}

static int field_type(struct head_state *h, struct span value)
{
    static const char *const ndjson[] = {"application/x-ndjson", "application/ndjson",
                                         "application/jsonl", "application/x-jsonlines",
                                         "text/x-ndjson"};
    const char *semicolon = memchr(value.ptr, ';', value.len);
    struct span media = trim(value.ptr, semicolon != NULL ? semicolon : value.ptr + value.len);

    if (!once(h, SEEN_TYPE))
        return -EINVAL;
    h->out->media = HTTP_MEDIA_OTHER;
    if (equal_nocase(media, "application/json")) {
        h->out->media = HTTP_MEDIA_JSON;
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(ndjson); i++) {
        if (equal_nocase(media, ndjson[i]))
            h->out->media = HTTP_MEDIA_NDJSON;
    }
    return 0;
}

static enum http_coding coding_of(struct span name)
{
    if (name.len == 0 || equal_nocase(name, "identity"))
        return HTTP_CODING_IDENTITY;
    if (equal_nocase(name, "gzip") || equal_nocase(name, "x-gzip"))
        return HTTP_CODING_GZIP;
    return equal_nocase(name, "zstd") ? HTTP_CODING_ZSTD : HTTP_CODING_OTHER;
}

/* Codings on top of each other, in one field or in several, are not taken. */
static int field_coding(struct head_state *h, struct span value)
{
    h->out->coding = once(h, SEEN_ENCODING) ? coding_of(value) : HTTP_CODING_OTHER;
    return 0;
}

static int field_authorization(struct head_state *h, struct span value)
{
    h->out->authorization = value;
    return once(h, SEEN_AUTHORIZATION) ? 0 : -EINVAL;
}

static int field_origin(struct head_state *h, struct span value)
{
    h->out->origin = value;
    return once(h, SEEN_ORIGIN) ? 0 : -EINVAL;
}

static int field_connection(struct head_state *h, struct span value)
{
    while (value.len > 0) {
        struct span option = list_next(&value);

        if (equal_nocase(option, "close"))
            h->seen |= SEEN_CLOSE;
        else if (equal_nocase(option, "keep-alive"))
            h->seen |= SEEN_KEEP_ALIVE;
    }
    return 0;
}

/* RFC 9110, 10.1.1: HTTP/1.0 clients do not wait for a 100; expectations that we do not know are
 * ignored. */
static int field_expect(struct head_state *h, struct span value)
{
    if (h->out->minor == 1 && equal_nocase(value, "100-continue"))
        h->out->expect_continue = true;
    return 0;
}

/* ---- Fields ---- */

static int take_field(struct head_state *h, struct span name, struct span value)
{
    static const struct {
        const char *name;
        int (*take)(struct head_state *h, struct span value);
    } fields[][2] = {
        [4] = {{"host", field_host}},
        [6] = {{"expect", field_expect}, {"origin", field_origin}},
        [10] = {{"connection", field_connection}},
        [12] = {{"content-type", field_type}},
        [13] = {{"authorization", field_authorization}},
        [14] = {{"content-length", field_length}},
        [16] = {{"content-encoding", field_coding}},
        [17] = {{"transfer-encoding", field_transfer}},
    };

    /* Few names share a length: one look-up and at most two comparisons for a field that does not
     * matter. */
    if (name.len >= ARRAY_LEN(fields))
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(fields[0]) && fields[name.len][i].name != NULL; i++) {
        if (equal_nocase(name, fields[name.len][i].name))
            return fields[name.len][i].take(h, value);
    }
    return 0;
}

/*
 * The first byte from p that no field value holds, or end. Eight bytes a step: a byte is suspect
 * when it is below 0x20 or 0x7f; borrows only run upwards, so that the lowest mark is exact. Never
 * reads at or past end.
 */
static const char *value_end(const char *p, const char *end)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t tops = UINT64_C(0x8080808080808080);

    while (end - p >= 8) {
        uint64_t x;
        uint64_t del;
        uint64_t marks;

        memcpy(&x, p, sizeof(x));
        del = x ^ (ones * 0x7f);
        marks = (((x - ones * 0x20) & ~x) | ((del - ones) & ~del)) & tops;
        if (marks == 0) {
            p += 8;
            continue;
        }
        p += __builtin_ctzll(marks) / 8;
        if (*p != '\t')
            return p;
        p++;
    }
    while (p < end && http_is(*p, HTTP_CLASS_VALUE))
        p++;
    return p;
}

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
              "value_end() counts marks from the low end");

static int parse_fields(struct head_state *h)
{
    for (;;) {
        struct span name;
        const char *value;
        const char *value_stop;
        int rc;

        if (h->at == h->end)
            return -EAGAIN;
        if (*h->at == '\r')
            return take_crlf(h);
        /* A leading or trailing space of a name is no token byte: folds and "Name :" end here. */
        if ((rc = take_word(h, HTTP_CLASS_TOKEN, ':', &name)) != 0)
            return rc;
        value = h->at;
        value_stop = value_end(value, h->end);
        h->at = value_stop;
        if ((rc = take_crlf(h)) != 0)
            return rc;
        if ((rc = take_field(h, name, trim(value, value_stop))) != 0)
            return rc;
    }
}

int http_parse_head(const char *buf, size_t len, size_t head_max, struct http_request *out)
{
    struct head_state h = {.at = buf, .end = buf + (len < head_max ? len : head_max), .out = out};
    int rc;

    ASSERT_HOT(head_max <= UINT32_MAX);
    *out = (struct http_request){0};
    rc = parse_request_line(&h);
    if (rc == 0)
        rc = parse_fields(&h);
    if (rc == -EAGAIN && len >= head_max)
        return -EMSGSIZE;
    if (rc != 0)
        return rc;
    if (out->minor == 1 && (h.seen & SEEN_HOST) == 0)
        return -EINVAL;
    out->keep_alive =
        (h.seen & SEEN_CLOSE) == 0 && (out->minor == 1 || (h.seen & SEEN_KEEP_ALIVE) != 0);
    out->head_len = (uint32_t)(h.at - buf);
    ASSERT_HOT(!(out->chunked && out->has_length));
    return 0;
}

int http_decode_segment(struct span segment, char *out)
{
    size_t n = 0;

    ASSERT_HOT(segment.len <= INT32_MAX);
    for (size_t i = 0; i < segment.len; i++) {
        uint8_t byte = (uint8_t)segment.ptr[i];

        if (byte == '%') {
            int high = segment.len - i > 2 ? http_hex_digit(segment.ptr[i + 1]) : -1;
            int low = segment.len - i > 2 ? http_hex_digit(segment.ptr[i + 2]) : -1;

            if (high < 0 || low < 0)
                return -EINVAL;
            byte = (uint8_t)(high * 16 + low);
            i += 2;
        }
        if (byte < 0x20 || byte == 0x7f)
            return -EINVAL;
        out[n++] = (char)byte;
    }
    return (int)n;
}
