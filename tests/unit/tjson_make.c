/*
 * Makes events of a given shape with random values, and events that are nearly right. What decides the
 * order of structural characters comes from the shape alone, so that two events of one shape have the same
 * skeleton whatever their values are: that is what a parser which remembers skeletons has to be tried with.
 * In odd shapes a key is a value too now and then: one skeleton with the wanted members at ever other
 * places. Escaped keys and exponents, which a parser may choose not to learn, are only in some shapes.
 */
#include <stdio.h>
#include <string.h>

#include "tests/unit/tjson.h"

const char *const tjson_paths[] = {"event_type", "user.id",  "ts",  "a.b.c.d",
                                   "a",          "\xC3\xA9", "meta"};
const int tjson_n_paths = (int)ARRAY_LEN(tjson_paths);

#define VALUE_BYTES_MAX 320 /* the longest scalar with its key, escaped */
#define DEPTH_MAX       7

struct maker {
    struct tjson_rng shape;
    struct tjson_rng *values;
    char *out;
    size_t n, room;
    const char *colon, *comma;
    bool moving; /* keys are values now and then */
    bool odd;    /* with exponents and escaped keys */
};

static void put(struct maker *m, const char *text, size_t len)
{
    ASSERT(m->n + len <= m->room);
    memcpy(m->out + m->n, text, len);
    m->n += len;
}

static void put_text(struct maker *m, const char *text)
{
    put(m, text, strlen(text));
}

#define PICK(rng, list) ((list)[tjson_below(rng, (uint32_t)ARRAY_LEN(list))])

/* Keys that a path names, and those that a hasty look takes for them. */
static void make_key(struct maker *m)
{
    static const char *const plain[] = {
        "event_type",
        "event_typf",
        "event_ty",
        "event_t",
        "event_type_that_goes_on_for_quite_a_while_behind_what_a_vector_of_sixty_four_bytes_holds",
        "user",
        "use",
        "id",
        "ts",
        "tS",
        "a",
        "b",
        "c",
        "d",
        "meta",
        "",
        "\xC3\xA9",
        "k{[,:",
        "items",
        "sku",
        "a.b",
    };
    static const char *const escaped[] = {"event_typ\\u0065", "i\\u0064", "\\u0061", "meta\\n",
                                          "\\u00e9",          "x\\\"",    "\\\\"};
    struct tjson_rng *from = &m->shape;

    if (m->moving && tjson_below(m->values, 16) == 0)
        from = m->values;
    put_text(m, "\"");
    if (m->odd && tjson_below(from, 4) == 0)
        put_text(m, PICK(from, escaped));
    else
        put_text(m, PICK(from, plain));
    put_text(m, "\"");
}

static void make_string(struct maker *m)
{
    static const char *const parts[] = {"a",
                                        "order",
                                        " ",
                                        "0123456789abcdef",
                                        "\\\"",
                                        "\\\\",
                                        "\\n",
                                        "\\u00e9",
                                        "\\/",
                                        "\\ud83d\\ude00",
                                        "\xC3\xA9",
                                        "\xE2\x82\xAC",
                                        "\xF0\x9F\x98\x80",
                                        "{",
                                        "}]",
                                        ",",
                                        ":",
                                        "\\u0000",
                                        "\x7F",
                                        "true",
                                        "purchase_completed",
                                        "2026-11-21T14:25:56Z",
                                        "'",
                                        "//"};
    const uint32_t n =
        tjson_below(m->values, 4) == 0 ? tjson_below(m->values, 12) : tjson_below(m->values, 3);

    put_text(m, "\"");
    for (uint32_t i = 0; i < n; i++)
        put_text(m, PICK(m->values, parts));
    put_text(m, "\"");
}

static void make_number(struct maker *m)
{
    static const char *const plain[] = {
        "0",  "-0", "0.0", "12.50",           "-7", "100000000000000000000",
        "-1", "7",  "0.1", "9007199254740993"};
    static const char *const far[] = {"1e5", "-1.5E-7", "1E+2", "1e400", "0e0", "5e-324"};
    char text[48];

    if (m->odd && tjson_below(m->values, 4) == 0) {
        put_text(m, PICK(m->values, far));
    } else if (tjson_below(m->values, 3) == 0) {
        put_text(m, PICK(m->values, plain));
    } else {
        snprintf(text, sizeof(text), "%u",
                 tjson_below(m->values, 1u << tjson_below(m->values, 31)));
        put_text(m, text);
    }
}

static void make_scalar(struct maker *m)
{
    static const char *const literals[] = {"true", "false", "null"};
    const uint32_t fixed = tjson_below(&m->shape, 6);
    const uint32_t kind = fixed < 5 ? fixed : tjson_below(m->values, 5); /* 5: any, each time */

    if (kind < 2)
        make_string(m);
    else if (kind < 4)
        make_number(m);
    else
        put_text(m, PICK(m->values, literals));
}

static void make_value(struct maker *m, int depth);

/* Members or elements; the shape says how many, room permitting. */
static void make_container(struct maker *m, int depth)
{
    const bool object = depth == 0 || tjson_below(&m->shape, 3) > 0;
    const uint32_t n = depth == 0 ? 1 + tjson_below(&m->shape, 14) : tjson_below(&m->shape, 5);

    put_text(m, object ? "{" : "[");
    for (uint32_t i = 0; i < n; i++) {
        if (m->n + (size_t)(DEPTH_MAX - depth + 2) * VALUE_BYTES_MAX > m->room)
            break;
        if (i > 0)
            put_text(m, m->comma);
        if (object) {
            make_key(m);
            put_text(m, m->colon);
        }
        make_value(m, depth + 1);
    }
    put_text(m, object ? "}" : "]");
}

static void make_value(struct maker *m, int depth)
{
    if (depth < DEPTH_MAX && (depth == 0 || tjson_below(&m->shape, 4) == 0))
        make_container(m, depth);
    else
        make_scalar(m);
}

size_t tjson_event(uint64_t shape, struct tjson_rng *r, char *out, size_t cap)
{
    static const char *const colons[] = {":", ":", ":", ": ", " : ", ":\t"};
    static const char *const commas[] = {",", ",", ",", ", ", " ,  "};
    struct maker m = {.shape = {shape}, .values = r, .out = out, .room = cap};

    ASSERT(cap >= 4096);
    m.moving = shape % 2 == 1;
    m.odd = shape % 8 >= 6;
    m.colon = PICK(&m.shape, colons);
    m.comma = PICK(&m.shape, commas);
    make_value(&m, 0);
    return m.n;
}

/* ---- nearly right ---- */

static bool structural(char c)
{
    return c != '\0' && strchr("{}[]:,\"", c) != NULL;
}

/* Some place that holds one of chars, or any place when there is none. */
static size_t find_any(struct tjson_rng *r, const char *text, size_t len, const char *chars)
{
    const size_t from = tjson_below(r, (uint32_t)len);

    for (size_t i = 0; i < len; i++) {
        const size_t at = (from + i) % len;

        if (text[at] != '\0' && strchr(chars, text[at]) != NULL)
            return at;
    }
    return from;
}

static size_t remove_bytes(char *text, size_t len, size_t at, size_t n)
{
    memmove(text + at, text + at + n, len - at - n);
    return len - n;
}

static size_t insert_bytes(char *text, size_t len, size_t cap, size_t at, const char *what,
                           size_t n)
{
    char copy[64];

    if (n > sizeof(copy) || len + n > cap)
        return len;
    memcpy(copy, what, n); /* it may be of text itself */
    memmove(text + at + n, text + at, len - at);
    memcpy(text + at, copy, n);
    return len + n;
}

static void swap_bytes(char *text, size_t a, size_t b)
{
    const char c = text[a];

    text[a] = text[b];
    text[b] = c;
}

static size_t mutate_token(struct tjson_rng *r, char *text, size_t len, size_t cap)
{
    static const char *const tokens[] = {
        "null", "tru",  "true", ",",    "{}", "[]", "\"\"", "\\",     "\\\\",         "\\u00",
        "\\\"", "\x1F", "\x80", "\xC3", "1e", "-",  "\n",   " ",      "\r\n",         "0",
        ".",    "]",    "}",    "{",    "[",  ":",  "\"",   "\"a\":", "\xEF\xBB\xBF", "/*",
        "1",    "\t"};
    const char *token = PICK(r, tokens);

    return insert_bytes(text, len, cap, find_any(r, text, len, "{}[]:,\""), token, strlen(token));
}

/* A run of bytes is left out, or comes twice. */
static size_t mutate_run(struct tjson_rng *r, char *text, size_t len, size_t cap)
{
    const size_t at = find_any(r, text, len, "{}[]:,\"");
    size_t n = 1 + tjson_below(r, 40);

    n = n < len - at ? n : len - at;
    if (tjson_below(r, 2) == 0)
        return remove_bytes(text, len, at, n);
    return insert_bytes(text, len, cap, tjson_below(r, (uint32_t)len + 1), text + at, n);
}

size_t tjson_mutate(struct tjson_rng *r, char *text, size_t len, size_t cap)
{
    static const char structurals[] = "{}[]:,\" \n\\";
    const uint32_t op = tjson_below(r, 14);
    size_t at;
    size_t other;

    if (len == 0)
        return insert_bytes(text, len, cap, 0, "{}", 2);
    at = find_any(r, text, len, op < 6 ? "{}[]:,\"" : op == 6 ? "0123456789" : "\"");
    switch (op) {
    case 0: /* one structural character for another */
    case 1:
        text[at] = PICK(r, structurals);
        return len;
    case 2: /* two of them change places */
        swap_bytes(text, at, find_any(r, text, len, "{}[]:,\""));
        return len;
    case 3: /* a colon and a comma */
        other = find_any(r, text, len, ",");
        swap_bytes(text, find_any(r, text, len, ":"), other);
        return len;
    case 4:
        return remove_bytes(text, len, at, 1);
    case 5: /* a bracket of the other kind */
        at = find_any(r, text, len, "{}[]");
        text[at] = structural(text[at]) ? (char)(text[at] ^ ('{' ^ '[')) : text[at];
        return len;
    case 6: /* in a number */
        text[at] = "tfn\"-.eE+ 0"[tjson_below(r, 11)];
        return len;
    case 7: /* a quote moves */
        swap_bytes(text, at, at + 1 < len ? at + 1 : 0);
        return len;
    case 8: /* the byte behind a quote: a key or string becomes another */
        text[at + 1 < len ? at + 1 : 0] ^= (char)(1 << tjson_below(r, 8));
        return len;
    case 9: /* any byte becomes any other */
        text[tjson_below(r, (uint32_t)len)] = (char)tjson_below(r, 256);
        return len;
    case 10:
        text[tjson_below(r, (uint32_t)len)] ^= (char)(1 << tjson_below(r, 8));
        return len;
    case 11:
        return tjson_below(r, 4) == 0 ? tjson_below(r, (uint32_t)len) : len; /* cut off */
    case 12:
        return mutate_run(r, text, len, cap);
    default:
        return mutate_token(r, text, len, cap);
    }
}

size_t tjson_changed_events(struct tjson_rng *r, uint64_t shape, char *buf, size_t cap)
{
    const unsigned lines = 3 + tjson_below(r, 6);
    size_t len = 0;

    for (unsigned i = 0; i < lines && len + 5000 < cap; i++) {
        size_t n = tjson_event(shape, r, buf + len, 4096);

        if (i > 0 && tjson_below(r, 2) == 0) {
            for (unsigned k = tjson_below(r, 3); k < 3; k++)
                n = tjson_mutate(r, buf + len, n, 4900);
        }
        len += n;
        len +=
            (size_t)snprintf(buf + len, cap - len, "\n%*s", tjson_below(r, 2) == 0 ? 0 : 200, "");
    }
    return len;
}

/* ---- hostile input ---- */

#define FIVE(x)  x x x x x
#define MANY(x)  FIVE(FIVE(FIVE(x x)))
#define WORSE(x) FIVE(x x x x x x x x x x)

const struct tjson_growth tjson_growths[] = {
    {"one string", "\"", "x", "\""},
    {"one string of \\u escapes", "\"", "\\u00e9", "\""},
    {"one string of surrogates", "\"", "\\ud83d\\ude00", "\""},
    {"one string of backslashes", "\"", "\\\\", "\""},
    {"one string of quotes", "\"", "\\\"", "\""},
    {"one string not of ASCII", "\"", "\xE2\x82\xAC", "\""},
    {"one line of a string", "{\"a\":\"", "x", "\"}"},
    {"one line of escapes", "{\"a\":\"", "\\u00e9", "\"}"},
    {"one line not of ASCII", "{\"a\":\"", "\xF0\x9F\x98\x80", "\"}"},
    {"numbers", "[0", ",0", "]"},
    {"exponents", "[0", ",1e5", "]"},
    {"literals", "[null", ",true", "]"},
    {"keys", "{\"k\":0", ",\"k\":0", "}"},
    {"escaped keys", "{\"k\":0", ",\"\\u006b\":0", "}"},
    {"wanted keys", "{\"a\":0", ",\"a\":{\"b\":1}", "}"},
    {"wanted keys, 250 a line", "", "{\"k\":0" MANY(",\"a\":{\"b\":1}") "}\n", ""},
    {"wanted keys, 250 a line, bad end", "", "{\"k\":0" MANY(",\"a\":{\"b\":1}") "]\n", ""},
    {"long keys, 50 a line", "", "{\"k\":0" WORSE(",\"event_type_and_more_of_it\":{}") "}\n", ""},
    {"objects", "[{}", ",{}", "]"},
    {"spaces", "[", " ", "]"},
    {"spaces in a line", "", "                                                 {}\n", ""},
    {"line feeds in an array", "[", "\n", "]"},
    {"carriage returns", "", "{\"a\":\r1}\n", ""},
    {"one number", "1", "0", ""},
    {"one small number", "0.", "0", "1"},
    {"one exponent", "1e", "9", ""},
    {"one number in an array", "[1", "0", "]"},
    {"open arrays", "", "[", ""},
    {"open objects", "", "{\"a\":", ""},
    {"arrays of depth 64", "",
     FIVE(FIVE("[[")) "["
                      "]" FIVE(FIVE("]]")) "\n",
     ""},
    {"closing brackets", "", "]", ""},
    {"quotes", "", "\"", ""},
    {"backslashes", "", "\\", ""},
    {"backslashes in a line", "{\"a\":\"", "\\", "\n{}"},
    {"empty events", "", "{}\n", ""},
    {"events of one byte", "", "0\n", ""},
    {"empty lines", "", "\n", ""},
    {"strings without commas", "", "\"\"", ""},
    {"commas", "", ",", ""},
    {"colons", "", ":", ""},
    {"bytes that are no UTF-8", "", "\xFF", ""},
    {"continuations", "", "\x80", ""},
    {"bad letters", "", "t\n", ""},
    {"bad UTF-8, a line each", "", "\xF0\n", ""},
    {"small events", "", "[[],{}]\n", ""},
    {"wanted members", "", "{\"a\":{\"b\":{\"c\":{\"d\":1}}}}\r\n", ""},
    {"surrogates in UTF-8", "", "{\"a\":\"\xED\xA0\x80\"}\n", ""},
    {"an open string a line", "", "{\"a\":\"\n", ""},
    {"a wrong bracket a line", "", "{\"a\":[1,2,3}}\n", ""},
};
const size_t tjson_n_growths = ARRAY_LEN(tjson_growths);

size_t tjson_grow(const struct tjson_growth *g, char *out, size_t size)
{
    const size_t head = strlen(g->head), unit = strlen(g->unit), tail = strlen(g->tail);
    size_t n = head;

    memcpy(out, g->head, head);
    for (; n + unit + tail <= size; n += unit)
        memcpy(out + n, g->unit, unit);
    memcpy(out + n, g->tail, tail);
    return n + tail;
}
