/* COLD. See gen_malform.h. Works on the finished text: simple, and the hot encoder knows nothing of
 * it. */
#include "tools/gen/gen_malform.h"

#include <stdbool.h>
#include <string.h>

#include "tools/gen/gen_assert.h"

/* Text of an event while it is edited in place. */
struct edit {
    char *text;
    size_t bytes;
};

/* A part of the text: from where, how many bytes. */
struct span {
    size_t at;
    size_t bytes;
};

static void replace(struct edit *e, struct span old, const char *with, size_t with_bytes)
{
    size_t tail_at = old.at + old.bytes;
    GEN_ASSERT(tail_at <= e->bytes);
    GEN_ASSERT(e->bytes - old.bytes + with_bytes < GEN_EVENT_BYTES_MAX);
    memmove(e->text + old.at + with_bytes, e->text + tail_at, e->bytes - tail_at);
    memcpy(e->text + old.at, with, with_bytes);
    e->bytes += with_bytes - old.bytes;
}

static size_t find(const struct edit *e, const char *what)
{
    const char *at = memmem(e->text, e->bytes, what, strlen(what));
    GEN_ASSERT(at != NULL);
    return (size_t)(at - e->text);
}

/* End of the value that starts at `at`: our own compact JSON, no escapes in strings. */
static size_t value_end(const struct edit *e, size_t at)
{
    int depth = 0;
    bool in_string = false;
    for (; at < e->bytes; at++) {
        char c = e->text[at];
        if (c == '"') {
            in_string = !in_string;
        } else if (in_string) {
            continue;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if ((c == ',' || c == '}' || c == ']') && depth == 0) {
            break;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return at;
}

/* The value of top-level member key, given with quotes and colon. */
static struct span value_of(const struct edit *e, const char *key)
{
    size_t at = find(e, key) + strlen(key);
    return (struct span){at, value_end(e, at) - at};
}

static void set_value(struct edit *e, const char *key, const char *value)
{
    replace(e, value_of(e, key), value, strlen(value));
}

/* Removes a member with the comma after it, or the one before it when it is the last. */
static void remove_member(struct edit *e, const char *key)
{
    size_t at = find(e, key);
    size_t end = value_end(e, at + strlen(key));
    GEN_ASSERT(end < e->bytes);
    if (e->text[end] == ',') {
        end++;
    } else {
        at--;
    }
    replace(e, (struct span){at, end - at}, "", 0);
}

static void break_json(struct edit *e, struct gen_rng *r)
{
    switch (gen_rng_below(r, 7)) {
    case 0: /* cut off: the object is never closed */
        e->bytes = 2 + gen_rng_below(r, (uint32_t)e->bytes - 2);
        break;
    case 1: /* no colon */
        e->text[find(e, ":")] = ' ';
        break;
    case 2: /* no comma */
        e->text[find(e, ",")] = ' ';
        break;
    case 3: /* comma before the end */
        replace(e, (struct span){e->bytes - 1, 0}, ",", 1);
        break;
    case 4: /* a bare word as value */
        set_value(e, "\"event_type\":", "order");
        break;
    case 5: /* one brace too many */
        replace(e, (struct span){e->bytes, 0}, "}", 1);
        break;
    default: /* a control character inside a string */
        replace(e, (struct span){find(e, "\":\"") + 3, 0}, "\x01", 1);
        break;
    }
}

/* Bytes that UTF-8 does not allow, put at the start of the event's first free string value. */
static void break_utf8(struct edit *e, enum gen_type type, struct gen_rng *r)
{
    static const char *const targets[GEN_TYPES] = {"\"street\":\"", "\"reason\":\"",
                                                   "\"user_agent\":\""};
    static const char *const bad[] = {
        "\xff",             /* never a byte of UTF-8 */
        "\x80",             /* continuation without a start */
        "\xc3",             /* start without a continuation */
        "\xc0\xaf",         /* overlong */
        "\xed\xa0\x80",     /* surrogate */
        "\xf4\x90\x80\x80", /* beyond U+10FFFF */
    };
    const char *bytes = bad[gen_rng_below(r, sizeof(bad) / sizeof(bad[0]))];
    size_t at = find(e, targets[type]) + strlen(targets[type]);
    replace(e, (struct span){at, 0}, bytes, strlen(bytes));
}

struct wrong_value {
    const char *key;
    const char *value;
};

enum { CHOICES = 4 };

static const struct wrong_value wrong_values[GEN_TYPES][CHOICES] = {
    [GEN_ORDER] = {{"\"total_amount\":", "\"a lot\""},
                   {"\"items\":", "7"},
                   {"\"shipping_address\":", "\"unknown\""},
                   {"\"customer_id\":", "{\"id\":1}"}},
    [GEN_INVENTORY] = {{"\"quantity_change\":", "\"many\""},
                       {"\"quantity_change\":", "{}"},
                       {"\"product_id\":", "[1,2]"},
                       {"\"warehouse_id\":", "{\"region\":\"east\"}"}},
    [GEN_USER_ACTIVITY] = {{"\"activity_type\":", "{\"name\":\"login\"}"},
                           {"\"user_id\":", "[\"a\",\"b\"]"},
                           {"\"ip_address\":", "{\"v\":4}"},
                           {"\"user_agent\":", "[\"curl\"]"}},
};

/* None is REPEATED: a missing array is an empty one, and valid. */
static const char *const required_keys[GEN_TYPES][CHOICES] = {
    [GEN_ORDER] = {"\"total_amount\":", "\"customer_id\":", "\"status\":", "\"shipping_address\":"},
    [GEN_INVENTORY] = {"\"product_id\":", "\"warehouse_id\":", "\"quantity_change\":",
                       "\"reason\":"},
    [GEN_USER_ACTIVITY] = {"\"user_id\":", "\"activity_type\":", "\"ip_address\":",
                           "\"user_agent\":"},
};

size_t gen_malform(char *text, size_t bytes, struct gen_event_info info, struct gen_rng *r)
{
    struct edit e = {text, bytes};
    uint32_t choice = gen_rng_below(r, CHOICES);
    switch ((enum gen_kind)info.kind) {
    case GEN_BROKEN_JSON:
        break_json(&e, r);
        break;
    case GEN_BAD_UTF8:
        break_utf8(&e, info.type, r);
        break;
    case GEN_MISSING_TYPE:
        remove_member(&e, "\"event_type\":");
        break;
    case GEN_WRONG_TYPE:
        set_value(&e, wrong_values[info.type][choice].key, wrong_values[info.type][choice].value);
        break;
    case GEN_MISSING_FIELD:
        remove_member(&e, required_keys[info.type][choice]);
        break;
    case GEN_GOOD:
    case GEN_LATE:
    case GEN_KINDS_COUNT:
    default:
        GEN_ASSERT(info.kind >= GEN_KIND_MALFORMED_FIRST);
        break;
    }
    return e.bytes;
}
