/*
 * HOT. From a line to its row, in one walk beside the columns. What has a column is written to the
 * front of the output, what has none to its back, which then moves up into COLUMN_OVERFLOW. See
 * rows.h.
 *
 * Sizes, for a line of L bytes. A member has at least five bytes with its separator, and its column's
 * name is at most ROWS_NAME_GROWTH longer than its raw name; a number that becomes text has two more
 * bytes, a repeated key in a JSON value three. So the columns take at most L + 12/5 L, below 4 L; the
 * values set aside, whose keys are counted on their own, at most 2 L; those keys, with what is
 * written around them, 2 L + KEYS_BYTES, or the event's text is kept instead, which takes at most 2 L.
 * Beside that text are configured columns only, whose names do not grow.
 * Every write asserts that it stays inside.
 *
 * Time: one step a byte, times the depth (at most JSON_DEPTH_MAX), times the logarithm of the columns
 * for a name that does not come in the columns' order. Keys that must not repeat are looked up in a
 * table whose probes are bounded: past the bound, the event's text is kept.
 */
#include "dataplane/event/rows.h"

#include "dataplane/event/rows_internal.h"
#include "dataplane/event/text_internal.h"

#define SEEN_WORDS     (SCHEMA_FIELDS_MAX / 64 + SCHEMA_DEPTH_MAX + 1)
#define NO_INDEX       UINT32_MAX
#define INDEX_TEXT_MAX 12 /* "[4294967295]" */
#define KEYS_BYTES     4096
#define ENTRY_BYTES    8  /* around the key of a value set aside: quotes, colon, comma, "#99" */
#define ENDS_BYTES     64 /* what stands around the columns and around the overflow */
#define SLOTS          (2 * ROWS_KEYS_MAX)
#define PROBES_MAX     256

#define OVERFLOW_KEY "\"" COLUMN_OVERFLOW "\":"

static_assert((SLOTS & (SLOTS - 1)) == 0, "slots are chosen by a mask");
static_assert(ROWS_KEYS_MAX < UINT16_MAX, "a slot holds the number of a key, plus one");

/* Keys that have been written and may not come again: of the objects that are open, last ones last.
 * Empty between lines, so that it need not be cleared. */
static _Thread_local struct {
    uint32_t n;
    struct {
        const char *text; /* raw, in the output */
        uint32_t len, object, hash;
        uint16_t slot;
    } key[ROWS_KEYS_MAX];
    uint16_t slot[SLOTS];
} keys;

/* Walks over an event; the latter two only when its text is to be kept. */
enum pass {
    PASS_ROW,
    PASS_SHOWS, /* nothing is set aside: what is left to find is whether the version grows */
    PASS_BASE,  /* the configured columns only: they go beside the text, some may be REQUIRED */
};

/* A part of the output. */
struct part {
    char *start, *at, *end;
};

/* A RECORD that is open: for the paths of what is set aside. */
struct frame {
    struct span key; /* raw */
    uint32_t index;  /* of a REPEATED one, else NO_INDEX */
};

struct encoder {
    const struct rows *rows;
    const char *added;     /* the first byte that was added */
    const char *event_end; /* behind what belongs to the event */
    struct part columns, aside;
    size_t keys_room;
    bool grows;
    bool whole; /* the event's text is to be kept */
    enum pass pass;
    uint32_t objects; /* JSON objects so far; COLUMN_OVERFLOW is 0 */
    uint32_t n_frames, seen_used;
    uint32_t overflowed, normalized;
    struct frame frame[SCHEMA_DEPTH_MAX];
    uint64_t seen[SEEN_WORDS];
};

static inline void put(struct part *to, const char *from, size_t len)
{
    ASSERT((size_t)(to->end - to->at) >= len);
    memcpy(to->at, from, len);
    to->at += len;
}

static inline void put_char(struct part *to, char c)
{
    ASSERT(to->at < to->end);
    *to->at++ = c;
}

static inline void put_value(struct part *to, struct json_value v)
{
    put(to, v.ptr, v.len);
}

/* ---- Keys that must not repeat ---- */

static uint32_t key_hash(uint32_t object, struct span raw)
{
    uint32_t h = (2166136261u ^ object) * 16777619u;
    struct text_iter it;
    int c;

    text_iter_init(&it, raw);
    while ((c = text_iter_next(&it)) != TEXT_END)
        h = (h ^ (uint32_t)c) * 16777619u;
    return h ^ h >> 15;
}

enum key_result { KEY_NEW, KEY_REPEATED, KEY_NO_ROOM };

/* Adds a key of an object unless it is there. */
static enum key_result keys_add(uint32_t object, struct span raw)
{
    uint32_t hash = key_hash(object, raw);

    if (keys.n == ROWS_KEYS_MAX)
        return KEY_NO_ROOM;
    for (uint32_t i = 0; i < PROBES_MAX; i++) {
        uint32_t slot = (hash + i) & (SLOTS - 1), k = keys.slot[slot];

        if (k == 0) {
            keys.slot[slot] = (uint16_t)(keys.n + 1);
            keys.key[keys.n].text = raw.ptr;
            keys.key[keys.n].len = (uint32_t)raw.len;
            keys.key[keys.n].object = object;
            keys.key[keys.n].hash = hash;
            keys.key[keys.n].slot = (uint16_t)slot;
            keys.n++;
            return KEY_NEW;
        }
        k--;
        if (keys.key[k].hash == hash && keys.key[k].object == object &&
            text_equal((struct span){keys.key[k].text, keys.key[k].len}, raw))
            return KEY_REPEATED;
    }
    return KEY_NO_ROOM;
}

/* Forgets the keys past n: the last ones first, so that no probe misses one that is left. */
static void keys_forget(uint32_t n)
{
    ASSERT_HOT(n <= keys.n);
    while (keys.n > n)
        keys.slot[keys.key[--keys.n].slot] = 0;
}

/*
 * Ends a key whose raw text has been written from `start` on: with "#2", "#3" and so on when the
 * object has it already, then with its quote. @return false, and the event's text is to be kept, when
 * there is no room.
 */
static bool end_key(struct encoder *e, struct part *to, char *start, uint32_t object)
{
    char *plain = to->at;
    enum key_result result;

    for (unsigned n = 2;; n++) {
        result = keys_add(object, (struct span){start, (size_t)(to->at - start)});
        if (result != KEY_REPEATED)
            break;
        if (n > ROWS_SUFFIX_MAX)
            break;
        to->at = plain;
        put_char(to, '#');
        if (n > 9)
            put_char(to, (char)('0' + n / 10));
        put_char(to, (char)('0' + n % 10));
    }
    if (result != KEY_NEW) {
        e->whole = true;
        return false;
    }
    e->normalized += to->at != plain ? 1 : 0;
    put_char(to, '"');
    return true;
}

/* ---- JSON values: their bytes, but no key twice and no number that would be rounded ---- */

static const char *string_end(const char *p, const char *end)
{
    for (p++; p < end && *p != '"'; p++) {
        if (*p == '\\')
            p++;
    }
    ASSERT(p < end);
    return p + 1;
}

static void put_number(struct encoder *e, struct part *to, struct span number)
{
    bool text = rows_number(number) == ROWS_NUMBER_TEXT;

    if (unlikely(text)) {
        e->normalized++;
        put_char(to, '"');
    }
    put(to, number.ptr, number.len);
    if (unlikely(text))
        put_char(to, '"');
}

static bool is_number_byte(char c)
{
    return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

/* Containers of a JSON value that are open. */
struct nest {
    uint32_t depth;
    uint32_t object[JSON_DEPTH_MAX]; /* its number, or 0 for an array */
    uint32_t mark[JSON_DEPTH_MAX];   /* keys.n before it */
    bool key;                        /* a string that comes now is a key */
};

static void open_container(struct encoder *e, struct nest *n, char c)
{
    ASSERT(n->depth < JSON_DEPTH_MAX);
    n->mark[n->depth] = keys.n;
    n->object[n->depth++] = c == '{' ? ++e->objects : 0;
    n->key = c == '{';
}

static void close_container(struct nest *n)
{
    ASSERT(n->depth > 0);
    keys_forget(n->mark[--n->depth]);
    n->key = false;
}

/* A string of a JSON value at p. @return its end, or NULL when the event's text is to be kept. */
static const char *put_string(struct encoder *e, struct part *to, const struct nest *n,
                              const char *p, const char *end)
{
    const char *past = string_end(p, end);
    char *start = to->at + 1;

    if (!n->key) {
        put(to, p, (size_t)(past - p));
        return past;
    }
    put(to, p, (size_t)(past - p) - 1);
    return end_key(e, to, start, n->object[n->depth - 1]) ? past : NULL;
}

/* @return false when the event's text is to be kept. */
static bool put_json(struct encoder *e, struct part *to, struct json_value v)
{
    struct nest n = {0};
    const char *p = v.ptr, *end = v.ptr + v.len, *start;

    while (p < end) {
        switch (*p) {
        case '"':
            p = put_string(e, to, &n, p, end);
            if (p == NULL)
                return false;
            n.key = false;
            continue;
        case '{':
        case '[':
            open_container(e, &n, *p);
            break;
        case '}':
        case ']':
            close_container(&n);
            break;
        case ',':
            n.key = n.object[n.depth - 1] != 0;
            break;
        default:
            if (*p != '-' && (*p < '0' || *p > '9'))
                break;
            for (start = p; p < end && is_number_byte(*p); p++)
                ;
            put_number(e, to, (struct span){start, (size_t)(p - start)});
            continue;
        }
        put_char(to, *p++);
    }
    ASSERT(n.depth == 0);
    return true;
}

/* ---- What is set aside ---- */

/* Takes the bytes of a key from what keys may take. */
static bool reserve_key(struct encoder *e, size_t len)
{
    if (len + ENTRY_BYTES > e->keys_room) {
        e->whole = true;
        return false;
    }
    e->keys_room -= len + ENTRY_BYTES;
    return true;
}

/* Writes "path.key":value. @return false when the event's text is to be kept. */
static COLD_PATH bool set_aside(struct encoder *e, struct span key, struct json_value v)
{
    struct part *to = &e->aside;
    size_t len = key.len;
    char *start;

    if (unlikely(e->pass != PASS_ROW))
        return true;
    for (uint32_t i = 0; i < e->n_frames; i++)
        len += e->frame[i].key.len + 1 + (e->frame[i].index != NO_INDEX ? INDEX_TEXT_MAX : 0);
    if (!reserve_key(e, len))
        return false;
    if (to->at > to->start)
        put_char(to, ',');
    put_char(to, '"');
    start = to->at;
    for (uint32_t i = 0; i < e->n_frames; i++) {
        char index[INDEX_TEXT_MAX];

        put(to, e->frame[i].key.ptr, e->frame[i].key.len);
        if (e->frame[i].index != NO_INDEX)
            put(to, index, text_index(index, e->frame[i].index));
        put_char(to, '.');
    }
    put(to, key.ptr, key.len);
    if (!end_key(e, to, start, 0))
        return false;
    put_char(to, ':');
    e->overflowed++;
    return put_json(e, to, v);
}

/* ---- Columns ---- */

static bool put_object(struct encoder *e, const struct rows_column *record,
                       struct json_value object);

static void put_integer(struct encoder *e, struct json_value v)
{
    bool quoted = v.type == JSON_NUMBER && !rows_integer_is_safe((struct span){v.ptr, v.len});

    if (unlikely(quoted))
        put_char(&e->columns, '"');
    put_value(&e->columns, v);
    if (unlikely(quoted))
        put_char(&e->columns, '"');
}

/* Writes text as the body of a JSON string: it has neither control characters nor invalid UTF-8 in it,
 * but for tabs between tokens. */
static void put_text(struct part *to, struct span text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];

        if (c == '"' || c == '\\' || c == '\t')
            put_char(to, '\\');
        put_char(to, c == '\t' ? 't' : c);
    }
}

/* Of an event whose text is kept, a configured JSON column gets its value's text at worst. */
static bool put_json_column(struct encoder *e, struct json_value v)
{
    struct part *to = &e->columns;
    char *start = to->at;
    uint32_t mark = keys.n;

    if (likely(put_json(e, to, v)))
        return true;
    if (e->pass == PASS_ROW)
        return false;
    keys_forget(mark);
    to->at = start;
    put_char(to, '"');
    put_text(to, (struct span){v.ptr, v.len});
    put_char(to, '"');
    return true;
}

/* A value that fits its column, or one element of it. */
static bool put_one(struct encoder *e, const struct rows_column *c, struct json_value v,
                    struct span key, uint32_t index)
{
    bool kept;

    switch ((enum column_type)c->field->type) {
    case COLUMN_INTEGER:
        put_integer(e, v);
        return true;
    case COLUMN_JSON:
        return put_json_column(e, v);
    case COLUMN_RECORD:
        ASSERT(e->n_frames < SCHEMA_DEPTH_MAX);
        e->frame[e->n_frames++] = (struct frame){key, index};
        kept = put_object(e, c, v);
        e->n_frames--;
        return kept;
    default:
        put_value(&e->columns, v);
        return true;
    }
}

static bool put_array(struct encoder *e, const struct rows_column *c, struct json_value array,
                      struct span key)
{
    struct json_walk w;
    struct json_value v;

    put_char(&e->columns, '[');
    json_walk_init(&w, array);
    for (uint32_t i = 0; json_walk_element(&w, &v); i++) {
        if (i > 0)
            put_char(&e->columns, ',');
        if (!put_one(e, c, v, key, i))
            return false;
    }
    put_char(&e->columns, ']');
    return true;
}

/* Whether a value fits its column as a whole; the columns of a RECORD are looked at later. */
static bool fits(const struct rows_column *c, struct json_value v)
{
    struct json_walk w;
    struct json_value element;

    if (c->field->mode != COLUMN_REPEATED)
        return rows_fits(c, v);
    if (v.type != JSON_ARRAY)
        return false;
    json_walk_init(&w, v);
    while (json_walk_element(&w, &element)) {
        if (element.type == JSON_NULL || !rows_fits(c, element))
            return false;
    }
    return true;
}

static bool has_wide_integer(struct json_value v)
{
    struct json_walk w;
    struct json_value element;

    if (v.type != JSON_ARRAY)
        return !rows_integer_in_double((struct span){v.ptr, v.len});
    json_walk_init(&w, v);
    while (json_walk_element(&w, &element)) {
        if (!rows_integer_in_double((struct span){element.ptr, element.len}))
            return true;
    }
    return false;
}

/* A value that fits its column. */
static bool put_column(struct encoder *e, const struct rows_column *c, const struct json_member *m)
{
    if (e->columns.at[-1] != '{')
        put_char(&e->columns, ',');
    put_char(&e->columns, '"');
    put(&e->columns, c->field->name, c->field->name_len);
    put(&e->columns, "\":", 2);
    return c->field->mode == COLUMN_REPEATED ? put_array(e, c, m->value, m->key)
                                             : put_one(e, c, m->value, m->key, NO_INDEX);
}

/* A value, not null, of a known column. */
static bool put_member(struct encoder *e, const struct rows_column *c, const struct json_member *m)
{
    bool may_retype = !e->rows->fixed_types && !c->base;

    if (unlikely(!fits(c, m->value))) {
        if (may_retype && rows_shows(m->value, e->n_frames + 1) > 0)
            e->grows = true;
        return set_aside(e, m->key, m->value);
    }
    if (may_retype && c->field->type == COLUMN_INTEGER && !c->wide && has_wide_integer(m->value))
        e->grows = true;
    return put_column(e, c, m);
}

/* A value, not null, of a name that no column has. */
static bool put_unknown(struct encoder *e, const struct json_member *m)
{
    const struct rows *r = e->rows;

    if (!e->grows && r->n_columns < r->columns_max && rows_source_fits(m)) {
        uint32_t need = rows_shows(m->value, e->n_frames + 1);

        e->grows = need > 0 && r->n_columns + need <= r->columns_max;
    }
    return set_aside(e, m->key, m->value);
}

static bool put_members(struct encoder *e, const struct rows_column *record,
                        struct json_value object, uint64_t *seen)
{
    char buf[ROWS_RAW_NAME_MAX];
    uint32_t next = 0;
    struct json_walk w;
    struct json_member m;
    struct span source;

    json_walk_init(&w, object);
    while (json_walk_member(&w, &m) && m.key.ptr < e->added) {
        const struct rows_column *c =
            rows_source(&m, buf, &source) ? rows_find(record, source, &next) : NULL;
        bool kept = true;

        if (c != NULL) {
            uint32_t i = (uint32_t)(c - record->child);
            bool repeated = (seen[i / 64] >> (i % 64) & 1) != 0;

            seen[i / 64] |= UINT64_C(1) << (i % 64);
            if (m.value.type == JSON_NULL)
                continue;
            if (unlikely(e->pass == PASS_BASE))
                kept = repeated || !c->base || !fits(c, m.value) || put_column(e, c, &m);
            else
                kept = repeated ? set_aside(e, m.key, m.value) : put_member(e, c, &m);
        } else if (m.value.type != JSON_NULL && e->pass != PASS_BASE) {
            kept = put_unknown(e, &m);
        }
        if (unlikely(!kept))
            return false;
    }
    return true;
}

/* @return false when the event's text is to be kept. */
static bool put_object(struct encoder *e, const struct rows_column *record,
                       struct json_value object)
{
    uint64_t *seen = e->seen + e->seen_used;
    uint32_t words = (record->n + 63) / 64;
    bool kept;

    ASSERT(object.type == JSON_OBJECT && e->seen_used + words <= SEEN_WORDS);
    e->seen_used += words;
    for (uint32_t i = 0; i < words; i++)
        seen[i] = 0;
    put_char(&e->columns, '{');
    kept = put_members(e, record, object, seen);
    put_char(&e->columns, '}');
    e->seen_used -= words;
    return kept;
}

/* ---- The row ---- */

size_t rows_encoded_max(size_t line_len)
{
    return 8 * line_len + KEYS_BYTES + 4 * ENDS_BYTES;
}

static void encoder_init(struct encoder *e, const struct rows *r, size_t len, char *out)
{
    char *middle = out + 4 * len + 2 * ENDS_BYTES;

    e->rows = r;
    e->columns = (struct part){out, out, middle};
    e->aside = (struct part){middle, middle, out + rows_encoded_max(len)};
    e->keys_room = 2 * len + KEYS_BYTES;
    e->grows = e->whole = false;
    e->pass = PASS_ROW;
    e->objects = e->n_frames = e->seen_used = 0;
    e->overflowed = e->normalized = 0;
    ASSERT(keys.n == 0);
}

/*
 * What the dataplane added: its overflow, if the type had another rule when the event came, joins
 * ours and counts as a part of the event; the rest is returned.
 */
static struct span split_added(struct encoder *e, struct span line)
{
    static const char key[] = OVERFLOW_KEY;
    const char *p = e->added, *end = line.ptr + line.len;
    struct json_value overflow;
    struct json_walk w;
    struct json_member m;

    while (p < end && (*p == ',' || *p == ' '))
        p++;
    if ((size_t)(end - p) < sizeof(key) || memcmp(p, key, sizeof(key) - 1) != 0)
        return (struct span){p, (size_t)(end - p)};
    p += sizeof(key) - 1;
    overflow = json_value_at(p, (size_t)(end - p));
    ASSERT(overflow.type == JSON_OBJECT);
    json_walk_init(&w, overflow);
    while (!e->whole && json_walk_member(&w, &m)) {
        if (!set_aside(e, m.key, m.value))
            break;
    }
    p = overflow.ptr + overflow.len;
    e->event_end = p;
    while (p < end && *p == ',')
        p++;
    return (struct span){p, (size_t)(end - p)};
}

/* Walks over the event once more, from the start. */
static void walk_again(struct encoder *e, enum pass pass, struct json_value object)
{
    bool kept;

    keys_forget(0);
    e->pass = pass;
    e->columns.at = e->columns.start;
    e->n_frames = e->seen_used = 0;
    kept = put_object(e, e->rows->_root, object);
    ASSERT(kept); /* nothing is set aside now */
    keys_forget(0);
}

/* The event's text, beside the configured columns. */
static COLD_PATH void put_whole(struct encoder *e, struct json_value object, struct span event)
{
    static const char open[] = OVERFLOW_KEY "{\"" ROWS_WHOLE_KEY "\":\"";
    struct part *to = &e->columns;

    walk_again(e, PASS_SHOWS, object);
    walk_again(e, PASS_BASE, object);
    to->at--; /* the brace */
    to->end = e->aside.end;
    if (to->at[-1] != '{')
        put_char(to, ',');
    put(to, open, sizeof(open) - 1);
    put_text(to, event);
    put(to, "}\"}", 3);
}

static void put_overflow(struct encoder *e)
{
    static const char open[] = OVERFLOW_KEY "{";
    struct part *to = &e->columns;

    if (e->aside.at == e->aside.start)
        return;
    if (to->at[-1] != '{')
        put_char(to, ',');
    put(to, open, sizeof(open) - 1);
    memmove(to->at, e->aside.start, (size_t)(e->aside.at - e->aside.start));
    to->at += e->aside.at - e->aside.start;
    *to->at++ = '}';
}

enum rows_result rows_encode_counted(const struct rows *r, struct span line, uint16_t added,
                                     char *out, size_t *out_len, struct rows_counts *counts)
{
    struct rows_line parts = rows_line_of(line, added);
    struct span object = {line.ptr, parts.object.len}, rest;
    struct part *to;
    struct encoder e;

    ASSERT(r != NULL && out != NULL && out_len != NULL);
    encoder_init(&e, r, line.len, out);
    e.added = e.event_end = parts.added;
    (void)put_object(&e, r->_root, parts.object);
    e.columns.at--; /* the brace: more may come */
    rest = split_added(&e, (struct span){object.ptr, object.len - 1});
    keys_forget(0);
    to = &e.columns;
    if (unlikely(e.whole))
        put_whole(&e, parts.object, (struct span){line.ptr, (size_t)(e.event_end - line.ptr)});
    else
        put_overflow(&e);
    to->end = out + rows_encoded_max(line.len);
    if (rest.len > 0 && to->at[-1] != '{')
        put_char(to, ',');
    put(to, rest.ptr, rest.len);
    put(to, "}\n", 2);
    *out_len = (size_t)(to->at - out);
    if (counts != NULL) {
        counts->overflowed += e.whole ? 1 : e.overflowed;
        counts->normalized += e.whole ? 0 : e.normalized;
        counts->whole += e.whole ? 1 : 0;
    }
    return e.grows ? ROWS_GROWS : ROWS_OK;
}
