/* HOT. See tokens.h: parsing is cold, tokens_find() and token_allows() run once a request. */
#include "dataplane/input/tokens.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#define LINE_BYTES_MAX 8192
#define WORDS_MAX      5

struct tokens {
    uint32_t n, room;
    struct token *token;
    uint32_t n_slots; /* of the index: a power of two, at least twice n */
    uint32_t *index;  /* line + 1; 0: empty */
    uint64_t key;     /* odd */
};

/* Where a line's mistake is told. */
struct problem {
    char *out;
    size_t room;
    unsigned line;
};

static int refuse(const struct problem *p, const char *what, struct span word)
{
    ASSERT(p->line > 0);
    snprintf(p->out, p->room, "line %u: %s%s%.*s%s", p->line, what, word.len > 0 ? ": \"" : "",
             (int)(word.len < 80 ? word.len : 80), word.len > 0 ? word.ptr : "",
             word.len > 0 ? "\"" : "");
    return -EINVAL;
}

/* ---- words ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Splits a line up to a '#'. @return words, or WORDS_MAX + 1. */
static uint32_t split(struct span line, struct span *word)
{
    uint32_t n = 0;
    size_t at = 0;

    ASSERT(line.len <= LINE_BYTES_MAX);
    for (;;) {
        while (at < line.len && is_blank(line.ptr[at]))
            at++;
        if (at == line.len || line.ptr[at] == '#')
            return n;
        if (n == WORDS_MAX)
            return WORDS_MAX + 1;
        word[n].ptr = line.ptr + at;
        while (at < line.len && !is_blank(line.ptr[at]))
            at++;
        word[n].len = (size_t)(line.ptr + at - word[n].ptr);
        n++;
    }
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool parse_digest(struct span word, uint8_t *out)
{
    if (word.len != 2 * TOKEN_DIGEST_BYTES)
        return false;
    for (size_t i = 0; i < TOKEN_DIGEST_BYTES; i++) {
        int high = hex_value(word.ptr[2 * i]), low = hex_value(word.ptr[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

/* A number a second: "5000", "2MiB", with or without "/s". */
static bool parse_rate(struct span word, uint64_t *out)
{
    static const struct {
        const char *unit;
        uint64_t factor;
    } units[] = {{"", 1},      {"KiB", 1 << 10}, {"MiB", 1 << 20},  {"GiB", 1 << 30},
                 {"KB", 1000}, {"MB", 1000000},  {"GB", 1000000000}};
    uint64_t v = 0;
    size_t at = 0;

    if (word.len > 2 && memcmp(word.ptr + word.len - 2, "/s", 2) == 0)
        word.len -= 2;
    for (; at < word.len && word.ptr[at] >= '0' && word.ptr[at] <= '9'; at++) {
        if (v > TOKEN_RATE_MAX)
            return false;
        v = v * 10 + (uint64_t)(word.ptr[at] - '0');
    }
    for (size_t i = 0; at > 0 && i < ARRAY_LEN(units); i++) {
        if (span_equal((struct span){word.ptr + at, word.len - at}, span_of(units[i].unit)) &&
            !__builtin_mul_overflow(v, units[i].factor, out))
            return *out > 0 && *out <= TOKEN_RATE_MAX;
    }
    return false;
}

bool token_name_valid(struct span name)
{
    if (name.len == 0 || name.len > TOKEN_NAME_BYTES_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '.' || c == '_' || c == '-'))
            return false;
    }
    return true;
}

/* ---- globs ---- */

/* Decodes one glob into out. @return false for a bad escape. */
static bool parse_glob(struct span text, char *out, size_t *len)
{
    size_t n = 0;

    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (c == '%') {
            int high = i + 2 < text.len ? hex_value(text.ptr[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_value(text.ptr[i + 2]) : -1;

            if (high < 0 || low < 0)
                return false;
            c = (char)(high * 16 + low);
            i += 2;
        }
        out[n++] = c;
    }
    *len = n;
    return n > 0;
}

/* One allocation: the spans, and their bytes behind them. */
static int parse_types(const struct problem *p, struct span list, struct token *out)
{
    struct span *glob = malloc(TOKEN_GLOBS_MAX * sizeof(*glob) + list.len + 1);
    char *bytes = (char *)(glob + TOKEN_GLOBS_MAX);
    const char *end = list.ptr + list.len;

    if (glob == NULL)
        return -ENOMEM;
    free(out->glob); /* named twice: refused below */
    out->glob = glob;
    for (const char *at = list.ptr;; at++) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        struct span one = {at, (size_t)((comma != NULL ? comma : end) - at)};

        if (out->n_globs == TOKEN_GLOBS_MAX)
            return refuse(p, "more than 64 types", (struct span){0});
        if (!parse_glob(one, bytes, &glob[out->n_globs].len))
            return refuse(p, "not a list of event types, such as order,cart.*", list);
        glob[out->n_globs].ptr = bytes;
        bytes += glob[out->n_globs++].len;
        if (comma == NULL)
            return 0;
        at = comma;
    }
}

/* Goes back to the last '*' when a byte does not fit: at most the product of both lengths. */
static bool glob_matches(struct span glob, struct span s)
{
    size_t g = 0, i = 0, star = SIZE_MAX, from = 0;

    while (i < s.len) {
        if (g < glob.len && glob.ptr[g] == '*') {
            star = g++;
            from = i;
        } else if (g < glob.len && (glob.ptr[g] == '?' || glob.ptr[g] == s.ptr[i])) {
            g++;
            i++;
        } else if (star != SIZE_MAX) {
            g = star + 1;
            i = ++from;
        } else {
            return false;
        }
    }
    while (g < glob.len && glob.ptr[g] == '*')
        g++;
    return g == glob.len;
}

bool token_allows(const struct token *t, struct span type)
{
    ASSERT_HOT(t->n_globs <= TOKEN_GLOBS_MAX);
    for (uint32_t i = 0; i < t->n_globs; i++) {
        if (glob_matches(t->glob[i], type))
            return true;
    }
    return t->n_globs == 0;
}

/* ---- lines ---- */

static int parse_right(const struct problem *p, struct span word, struct token *out)
{
    const char *equal = memchr(word.ptr, '=', word.len);
    struct span key = {word.ptr, equal != NULL ? (size_t)(equal - word.ptr) : 0};
    struct span value = {equal != NULL ? equal + 1 : NULL,
                         equal != NULL ? word.len - key.len - 1 : 0};

    ASSERT(word.len > 0);
    if (span_equal(key, span_of("types")) && out->n_globs == 0)
        return parse_types(p, value, out);
    if (span_equal(key, span_of("events")) && out->events_per_s == 0)
        return parse_rate(value, &out->events_per_s)
                   ? 0
                   : refuse(p, "not a number of events a second, such as events=5000", word);
    if (span_equal(key, span_of("bytes")) && out->bytes_per_s == 0)
        return parse_rate(value, &out->bytes_per_s)
                   ? 0
                   : refuse(p, "not a size a second, such as bytes=2MiB", word);
    return refuse(p, "allowed behind name and hash, once each: types=, events=, bytes=", word);
}

static int parse_line(const struct problem *p, struct span line, struct token *out)
{
    struct span word[WORDS_MAX];
    uint32_t n = split(line, word);
    int rc = 0;

    ASSERT(n > 0);
    if (n > WORDS_MAX || n < 2)
        return refuse(p, "allowed: NAME SHA256 [types=...] [events=...] [bytes=...]",
                      (struct span){0});
    if (!token_name_valid(word[0]))
        return refuse(p, "a name is 1 to 63 letters, digits, '.', '_' and '-'", word[0]);
    memcpy(out->name, word[0].ptr, word[0].len);
    if (!parse_digest(word[1], out->digest))
        return refuse(p, "the second word is the SHA-256 of the token, 64 hex digits",
                      (struct span){0}); /* what stands there may be a token */
    for (uint32_t i = 2; rc == 0 && i < n; i++)
        rc = parse_right(p, word[i], out);
    return rc;
}

static struct token *token_add(struct tokens *t)
{
    if (t->n == t->room) {
        uint32_t room = t->room > 0 ? 2 * t->room : 16;
        struct token *more = realloc(t->token, room * sizeof(*more));

        if (more == NULL)
            return NULL;
        t->token = more;
        t->room = room;
    }
    ASSERT(t->n < TOKENS_MAX);
    t->token[t->n] = (struct token){.slot = UINT32_MAX};
    return &t->token[t->n++];
}

static int parse_all(struct problem *p, struct span text, struct tokens *t)
{
    const char *end = text.ptr + text.len;
    int rc = 0;

    for (const char *at = text.ptr; rc == 0 && at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        struct span line = {at, (size_t)((stop != NULL ? stop : end) - at)};
        struct span unused[WORDS_MAX];
        struct token *token;

        p->line++;
        at += line.len + 1;
        if (line.len > LINE_BYTES_MAX)
            return refuse(p, "longer than 8192 bytes", (struct span){0});
        if (split(line, unused) == 0)
            continue;
        if (t->n == TOKENS_MAX)
            return refuse(p, "more than 10000 tokens", (struct span){0});
        token = token_add(t);
        rc = token != NULL ? parse_line(p, line, token) : -ENOMEM;
    }
    ASSERT(t->n <= TOKENS_MAX);
    return rc;
}

/* ---- the index ---- */

static uint32_t place_of(const struct tokens *t, const uint8_t *digest)
{
    uint64_t v;

    memcpy(&v, digest, sizeof(v));
    v = (v ^ (v >> 32)) * t->key;
    return (uint32_t)(v >> 32) & (t->n_slots - 1);
}

/* All bytes, whatever they are. */
static bool digests_equal(const uint8_t *a, const uint8_t *b)
{
    unsigned differ = 0;

    for (size_t i = 0; i < TOKEN_DIGEST_BYTES; i++)
        differ |= (unsigned)(a[i] ^ b[i]);
    return differ == 0;
}

const struct token *tokens_find(const struct tokens *t, const uint8_t *digest)
{
    const struct token *found = NULL;

    ASSERT_HOT(t->n < t->n_slots);
    for (uint32_t i = place_of(t, digest); t->index[i] != 0; i = (i + 1) & (t->n_slots - 1)) {
        const struct token *token = &t->token[t->index[i] - 1];

        found = digests_equal(token->digest, digest) ? token : found;
    }
    return found;
}

static int index_create(struct problem *p, struct tokens *t)
{
    t->n_slots = 16;
    while (t->n_slots < 2 * t->n)
        t->n_slots *= 2;
    if (getrandom(&t->key, sizeof(t->key), 0) != sizeof(t->key))
        return -EIO;
    t->key |= 1;
    t->index = calloc(t->n_slots, sizeof(*t->index));
    if (t->index == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < t->n; i++) {
        uint32_t at = place_of(t, t->token[i].digest);

        if (tokens_find(t, t->token[i].digest) != NULL) {
            snprintf(p->out, p->room, "%s has the hash of another line", t->token[i].name);
            return -EINVAL;
        }
        while (t->index[at] != 0)
            at = (at + 1) & (t->n_slots - 1);
        t->index[at] = i + 1;
    }
    ASSERT(t->n_slots > t->n);
    return 0;
}

int tokens_parse(const char *text, size_t len, struct tokens **out, char *error, size_t error_len)
{
    struct tokens *t = calloc(1, sizeof(*t));
    struct problem p = {.out = error, .room = error_len};
    int rc = -ENOMEM;

    ASSERT(error_len > 0);
    snprintf(error, error_len, "out of memory");
    if (t != NULL)
        rc = parse_all(&p, (struct span){text, len}, t);
    if (rc == 0)
        rc = index_create(&p, t);
    if (rc != 0) {
        tokens_destroy(t);
        return rc;
    }
    *out = t;
    return 0;
}

void tokens_destroy(struct tokens *t)
{
    if (t == NULL)
        return;
    for (uint32_t i = 0; i < t->n; i++)
        free(t->token[i].glob);
    free(t->token);
    free(t->index);
    free(t);
}

uint32_t tokens_count(const struct tokens *t)
{
    return t->n;
}

const struct token *tokens_at(const struct tokens *t, uint32_t i)
{
    ASSERT(i < t->n);
    return &t->token[i];
}

void tokens_set_slot(struct tokens *t, uint32_t i, uint32_t slot)
{
    ASSERT(i < t->n && slot < TOKENS_MAX);
    t->token[i].slot = slot;
}

struct span token_of_field(struct span authorization)
{
    static const char scheme[] = "bearer";
    const size_t n = sizeof(scheme) - 1;
    struct span token = {0};

    if (authorization.len <= n || authorization.ptr[n] != ' ')
        return token;
    for (size_t i = 0; i < n; i++) {
        if ((authorization.ptr[i] | 0x20) != scheme[i])
            return token;
    }
    token = (struct span){authorization.ptr + n, authorization.len - n};
    while (token.len > 0 && token.ptr[0] == ' ') {
        token.ptr++;
        token.len--;
    }
    return token;
}
