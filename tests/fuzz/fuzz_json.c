/*
 * Goal: the scanner agrees with an independent validator on error and offset; events, walks and
 * picks agree with each other; nothing is read past the padding. Method: the first byte of the
 * input chooses the framing, the rest is the buffer. The validator below is slow, recursive and
 * shares no code with the product. The copy that is scanned ends exactly JSON_PADDING_BYTES after
 * the input, so AddressSanitizer sees any read beyond; the padding is hostile on purpose. Canary:
 * with -DFUZZ_CANARY the validator takes leading zeros for valid, which the fuzzer has to find.
 */
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

static const char *const path_texts[] = {
    "a", "b", "a.b", "a.a.a.a", "event_type", "a.event_type", "\xC3\xA9", "a.b.c"};

/* The slow validator: reads one byte at a time, -1 at the end. */

struct slow {
    const unsigned char *s;
    size_t len;
    size_t pos;
    int depth;
    enum json_error error;
    size_t error_pos;
};

static int at(const struct slow *v, size_t i)
{
    return i < v->len ? v->s[i] : -1;
}

static size_t slow_utf8(const struct slow *v, size_t i)
{
    static const struct {
        int first_min, first_max, second_min, second_max;
        size_t len;
    } rows[] = {
        /* table 3-7 of the Unicode standard */
        {0x00, 0x7F, 0, 0, 1},       {0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3},
        {0xE1, 0xEC, 0x80, 0xBF, 3}, {0xED, 0xED, 0x80, 0x9F, 3}, {0xEE, 0xEF, 0x80, 0xBF, 3},
        {0xF0, 0xF0, 0x90, 0xBF, 4}, {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4}};

    for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
        bool fits = at(v, i) >= rows[r].first_min && at(v, i) <= rows[r].first_max;

        if (rows[r].len > 1)
            fits = fits && at(v, i + 1) >= rows[r].second_min && at(v, i + 1) <= rows[r].second_max;
        for (size_t k = 2; k < rows[r].len; k++)
            fits = fits && at(v, i + k) >= 0x80 && at(v, i + k) <= 0xBF;
        if (fits)
            return rows[r].len;
    }
    return 0;
}

static bool slow_fail(struct slow *v, size_t pos, enum json_error error)
{
    v->error = error;
    v->error_pos = pos;
    if (pos >= v->len && error != JSON_ERROR_SURROGATE)
        v->error = JSON_ERROR_TRUNCATED;
    else if (slow_utf8(v, pos) == 0)
        v->error = JSON_ERROR_UTF8;
    return false;
}

static void slow_space(struct slow *v)
{
    while (at(v, v->pos) == ' ' || at(v, v->pos) == '\t' || at(v, v->pos) == '\r' ||
           at(v, v->pos) == '\n')
        v->pos++;
}

static int slow_hex(int c)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    const char *p = c <= 0 ? NULL : strchr(digits, c);

    if (p == NULL)
        return -1;
    return p - digits < 16 ? (int)(p - digits) : (int)(p - digits) - 6;
}

/* pos is at the u of an escape. */
static bool slow_unicode(struct slow *v)
{
    const size_t backslash = v->pos - 1;
    int unit = 0;

    for (size_t i = v->pos + 1; i < v->pos + 5; i++) {
        if (slow_hex(at(v, i)) < 0)
            return slow_fail(v, i, JSON_ERROR_STRING);
        unit = unit * 16 + slow_hex(at(v, i));
    }
    v->pos += 5;
    if (unit < 0xD800 || unit > 0xDFFF)
        return true;
    if (unit > 0xDBFF)
        return slow_fail(v, backslash, JSON_ERROR_SURROGATE);
    for (size_t i = 0; i < 6; i++) {
        static const char *const allowed[] = {
            "\\", "u", "dD", "cdefCDEF", "0123456789abcdefABCDEF", "0123456789abcdefABCDEF"};
        const int c = at(v, v->pos + i);

        if (c < 0)
            return slow_fail(v, v->len, JSON_ERROR_TRUNCATED);
        if (c == 0 || strchr(allowed[i], c) == NULL)
            return slow_fail(v, backslash, JSON_ERROR_SURROGATE);
    }
    v->pos += 6;
    return true;
}

static bool slow_string(struct slow *v)
{
    v->pos++;
    for (;;) {
        const int c = at(v, v->pos);
        const size_t n = c < 0 ? 0 : slow_utf8(v, v->pos);

        if (c < 0x20 || n == 0) /* the end too */
            return slow_fail(v, v->pos, JSON_ERROR_STRING);
        v->pos += n;
        if (c == '"')
            return true;
        if (c != '\\')
            continue;
        if (at(v, v->pos) == 'u') {
            if (!slow_unicode(v))
                return false;
        } else if (at(v, v->pos) <= 0 || strchr("\"\\/bfnrt", at(v, v->pos)) == NULL) {
            return slow_fail(v, v->pos, JSON_ERROR_STRING);
        } else {
            v->pos++;
        }
    }
}

static bool slow_digits(struct slow *v)
{
    if (at(v, v->pos) < '0' || at(v, v->pos) > '9')
        return slow_fail(v, v->pos, JSON_ERROR_NUMBER);
    while (at(v, v->pos) >= '0' && at(v, v->pos) <= '9')
        v->pos++;
    return true;
}

static bool slow_number(struct slow *v)
{
    if (at(v, v->pos) == '-')
        v->pos++;
#ifndef FUZZ_CANARY
    if (at(v, v->pos) == '0' && at(v, v->pos + 1) >= '0' && at(v, v->pos + 1) <= '9')
        return slow_fail(v, v->pos + 1, JSON_ERROR_NUMBER);
#endif
    if (!slow_digits(v))
        return false;
    if (at(v, v->pos) == '.') {
        v->pos++;
        if (!slow_digits(v))
            return false;
    }
    if (at(v, v->pos) != 'e' && at(v, v->pos) != 'E')
        return true;
    v->pos++;
    if (at(v, v->pos) == '+' || at(v, v->pos) == '-')
        v->pos++;
    return slow_digits(v);
}

static bool slow_word(struct slow *v, const char *word)
{
    for (; *word != '\0'; word++, v->pos++) {
        if (at(v, v->pos) != *word)
            return slow_fail(v, v->pos, JSON_ERROR_LITERAL);
    }
    return true;
}

static bool slow_value(struct slow *v);

static bool slow_container(struct slow *v)
{
    const bool object = at(v, v->pos) == '{';
    const int close = object ? '}' : ']';

    if (v->depth == JSON_DEPTH_MAX)
        return slow_fail(v, v->pos, JSON_ERROR_DEPTH);
    v->depth++;
    v->pos++;
    slow_space(v);
    if (at(v, v->pos) == close) {
        v->pos++;
        v->depth--;
        return true;
    }
    for (;;) {
        if (object) {
            if (at(v, v->pos) != '"')
                return slow_fail(v, v->pos, JSON_ERROR_SYNTAX);
            if (!slow_string(v))
                return false;
            slow_space(v);
            if (at(v, v->pos) != ':')
                return slow_fail(v, v->pos, JSON_ERROR_SYNTAX);
            v->pos++;
            slow_space(v);
        }
        if (!slow_value(v))
            return false;
        slow_space(v);
        if (at(v, v->pos) == close)
            break;
        if (at(v, v->pos) != ',')
            return slow_fail(v, v->pos, JSON_ERROR_SYNTAX);
        v->pos++;
        slow_space(v);
    }
    v->pos++;
    v->depth--;
    return true;
}

static bool slow_value(struct slow *v)
{
    const int c = at(v, v->pos);

    if (c == '"')
        return slow_string(v);
    if (c == '{' || c == '[')
        return slow_container(v);
    if (c == '-' || (c >= '0' && c <= '9'))
        return slow_number(v);
    if (c == 't')
        return slow_word(v, "true");
    if (c == 'f')
        return slow_word(v, "false");
    if (c == 'n')
        return slow_word(v, "null");
    if (c == '+' || c == '.')
        return slow_fail(v, v->pos, JSON_ERROR_NUMBER);
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return slow_fail(v, v->pos, JSON_ERROR_LITERAL);
    return slow_fail(v, v->pos, JSON_ERROR_SYNTAX);
}

static enum json_error slow_validate(const char *s, size_t len, size_t *offset)
{
    struct slow v = {.s = (const unsigned char *)s, .len = len};

    slow_space(&v);
    if (v.pos == len) {
        *offset = len;
        return JSON_ERROR_EMPTY;
    }
    if (slow_value(&v)) {
        slow_space(&v);
        if (v.pos < len)
            slow_fail(&v, v.pos, JSON_ERROR_TRAILING);
    }
    *offset = v.error_pos;
    return v.error;
}

/* Walks. */

/* Every value of a valid document. @return the number of values. */
static size_t walk_all(struct json_value v, int depth)
{
    struct json_walk w;
    struct json_member m;
    struct json_value e;
    const char *last = v.ptr;
    size_t n = 1;
    size_t offset;

    CHECK(v.type != JSON_ABSENT && v.len > 0);
    CHECK(depth <= JSON_DEPTH_MAX);
    if (depth < 3) /* each value is a document of its own, quadratic in the depth */
        CHECK(slow_validate(v.ptr, v.len, &offset) == JSON_ERROR_NONE);
    if (v.type != JSON_OBJECT && v.type != JSON_ARRAY)
        return n;
    CHECK(v.ptr[v.len - 1] == (v.type == JSON_OBJECT ? '}' : ']'));
    json_walk_init(&w, v);
    for (;;) {
        if (v.type == JSON_OBJECT) {
            if (!json_walk_member(&w, &m))
                break;
            CHECK(m.key.ptr[-1] == '"' && m.key.ptr[m.key.len] == '"');
            CHECK(m.key.ptr > last && m.key.ptr + m.key.len < m.value.ptr);
            CHECK(m.key_escaped == (m.key.len > 0 && memchr(m.key.ptr, '\\', m.key.len) != NULL));
            e = m.value;
        } else if (!json_walk_element(&w, &e)) {
            break;
        }
        CHECK(e.ptr > last && e.ptr + e.len < v.ptr + v.len);
        last = e.ptr + e.len - 1;
        n += walk_all(e, depth + 1);
    }
    return n;
}

/* Values counted without the walker: one for the root, one for each comma, one for each container
 * not empty. */
static size_t count_values(const char *s, size_t len)
{
    size_t n = 1;
    bool in_string = false;

    for (size_t i = 0; i < len; i++) {
        if (in_string) {
            if (s[i] == '\\')
                i++;
            else
                in_string = s[i] != '"';
            continue;
        }
        in_string = s[i] == '"';
        if (s[i] == ',')
            n++;
        if (s[i] == '{' || s[i] == '[') {
            size_t k = i + 1;

            while (s[k] == ' ' || s[k] == '\t' || s[k] == '\r' || s[k] == '\n')
                k++;
            n += s[k] != '}' && s[k] != ']';
        }
    }
    return n;
}

/* What json_find() makes of a dotted path. */
static bool find_path(struct json_value v, const char *path, struct json_value *out)
{
    for (;;) {
        const size_t len = strcspn(path, ".");

        if (v.type != JSON_OBJECT || !json_find(v, (struct span){path, len}, out))
            return false;
        if (path[len] == '\0')
            return true;
        v = *out;
        path += len + 1;
    }
}

static void check_strings(struct json_value v)
{
    struct span body;
    char *text;
    char *again;
    size_t n;

    if (v.type != JSON_STRING)
        return;
    body = json_string_body(v);
    text = malloc(body.len + 1);
    n = json_unescape(body, text);
    CHECK(n <= body.len);
    CHECK(json_key_equal(body, memchr(v.ptr, '\\', v.len) != NULL, (struct span){text, n}));
    again = malloc(6 * n + 1);
    body = (struct span){again, json_escape((struct span){text, n}, again)};
    CHECK(json_key_equal(body, true, (struct span){text, n}));
    free(again);
    free(text);
}

static void check_event(const struct json_event *ev)
{
    size_t offset = 0;
    struct json_value v;
    struct json_value doc;

    CHECK(slow_validate(ev->ptr, ev->len, &offset) == ev->error);
    if (ev->error != JSON_ERROR_NONE) {
        CHECK(ev->error_offset == offset);
        for (int i = 0; i < (int)ARRAY_LEN(path_texts); i++)
            CHECK(ev->field[i].type == JSON_ABSENT);
        return;
    }
    doc = json_value_at(ev->ptr, ev->len);
    CHECK(doc.ptr == ev->ptr && doc.len == ev->len && doc.type == ev->type);
    CHECK(walk_all(doc, 0) == count_values(ev->ptr, ev->len));
    check_strings(doc);
    for (int i = 0; i < (int)ARRAY_LEN(path_texts); i++) {
        if (!find_path(doc, path_texts[i], &v)) {
            CHECK(ev->field[i].type == JSON_ABSENT);
            continue;
        }
        CHECK(ev->field[i].type == v.type);
        CHECK(ev->ptr + ev->field[i].offset == v.ptr && ev->field[i].len == v.len);
        check_strings(v);
    }
}

static struct json_paths paths;

/* One for all inputs: it knows shapes of earlier ones. */
static struct json_parser *parser_of(enum json_isa isa)
{
    static struct json_parser *parser[JSON_ISA_AVX512 + 1];

    if (parser[isa] == NULL) {
        for (size_t i = 0; i < ARRAY_LEN(path_texts); i++)
            CHECK(json_paths_add(&paths, path_texts[i]) == (int)i);
        CHECK(json_parser_create(&paths, isa, &parser[isa]) == 0);
    }
    return parser[isa];
}

/* The events of an invalid array stand for themselves: only their reading has to be safe. */
static void read_stream(const char *buf, size_t len, enum json_framing framing, bool check,
                        int batch, enum json_isa isa)
{
    struct json_parser *parser = parser_of(isa);
    struct json_event ev[7];
    struct json_stream s;
    const char *last = buf;
    int n;

    json_stream_init(&s, parser, buf, len, framing);
    while ((n = json_next(&s, ev, batch)) > 0) {
        CHECK(n <= batch);
        for (int i = 0; i < n; i++) {
            CHECK(ev[i].ptr >= last && ev[i].ptr + ev[i].len <= buf + len);
            CHECK(ev[i].error == JSON_ERROR_NONE || ev[i].error_offset <= ev[i].len);
            last = ev[i].ptr + ev[i].len;
            if (check)
                check_event(&ev[i]);
        }
    }
    CHECK(json_next(&s, ev, 1) == 0);
}

/* Lines that hold something, and events: the same number. */
static void check_line_count(const char *buf, size_t len, enum json_isa isa)
{
    struct json_event ev;
    struct json_stream s;
    size_t lines = 0;
    size_t events = 0;
    bool any = false;

    for (size_t i = 0; i <= len; i++) {
        if (i == len || buf[i] == '\n') {
            lines += any;
            any = false;
        } else if (buf[i] != ' ' && buf[i] != '\t' && buf[i] != '\r') {
            any = true;
        }
    }
    json_stream_init(&s, parser_of(isa), buf, len, JSON_FRAMING_LINES);
    while (json_next(&s, &ev, 1) == 1)
        events++;
    CHECK(lines == events);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char padding[] = "\"}]0\x80\\u";
    const uint8_t choice = size > 0 ? data[0] : 0;
    const size_t len = size > 0 ? size - 1 : 0;
    char *buf = malloc(len + JSON_PADDING_BYTES);
    size_t offset = 0;
    size_t slow_offset = 0;
    enum json_error error;
    enum json_framing detected;
    enum json_framing framing;
    bool valid_array;

    if (len > 0)
        memcpy(buf, data + 1, len);
    for (size_t i = 0; i < JSON_PADDING_BYTES; i++)
        buf[len + i] = padding[(choice / 8 + i) % (sizeof(padding) - 1)];
    error = json_validate(buf, len, &offset);
    CHECK(error == slow_validate(buf, len, &slow_offset));
    CHECK(error == JSON_ERROR_NONE || offset == slow_offset);
    detected = json_detect(buf, len);
    CHECK(detected != JSON_FRAMING_SINGLE || error == JSON_ERROR_NONE);
    framing = choice % 4 < 3 ? (enum json_framing)(choice % 4) : detected;
    valid_array = detected == JSON_FRAMING_ARRAY && error == JSON_ERROR_NONE;
    for (enum json_isa isa = JSON_ISA_SCALAR; isa <= JSON_ISA_AVX512; isa++) {
        if (!json_isa_usable(isa))
            continue;
        read_stream(buf, len, framing, framing != JSON_FRAMING_ARRAY || valid_array, 1 + choice % 7,
                    isa);
        check_line_count(buf, len, isa);
    }
    free(buf);
    return 0;
}
