/*
 * HOT. Walks an event beside the columns of a program, once: each member finds its column, each
 * column its value's form; when a row is wanted, its value is written on the way. See program.h.
 *
 * There are two ways to find a document's parts, and the walk is compiled for both. By tokens: the
 * parser has listed where every bracket, comma, colon, string, number and literal starts, so no
 * byte between is looked at but those of keys and of values that are wanted, and no step waits for
 * the one before. By bytes, where there are no tokens.
 *
 * Which column a key names is first guessed, as the one behind the last, and proved by comparing
 * its bytes; else a hash table tells. An event whose shape is known need not be walked at all: see
 * program_plan.c.
 *
 * Memory is bounded: the schema bounds the depth, and the bitmaps of the RECORDs that are open at
 * once belong to different RECORDs of the schema, whose columns together are at most
 * SCHEMA_FIELDS_MAX.
 */
#include <errno.h>

#include "dataplane/event/assemble.h"
#include "dataplane/event/check_internal.h"
#include "dataplane/event/program_put_internal.h"
#include "dataplane/event/program_run_internal.h"
#include "dataplane/event/text_internal.h"
#include "dataplane/event/timeval_internal.h"

#define RANGE_BYTES_MAX (2 * (1 + VARINT_BYTES_MAX))
#define PLAN_MISSES     16 /* events in a row that a plan is of no use to until there is another */
#define NAME_RAW_MAX    (6 * PROGRAM_NAME_MAX) /* each character written as \uXXXX */

/* How a walk is compiled. */
struct way {
    bool tokens; /* else by bytes */
    bool emit;   /* writes a row */
};

static const uint8_t type_of_first[256] = {
    ['"'] = JSON_STRING, ['{'] = JSON_OBJECT, ['['] = JSON_ARRAY,  ['t'] = JSON_TRUE,
    ['f'] = JSON_FALSE,  ['n'] = JSON_NULL,   ['-'] = JSON_NUMBER, ['0'] = JSON_NUMBER,
    ['1'] = JSON_NUMBER, ['2'] = JSON_NUMBER, ['3'] = JSON_NUMBER, ['4'] = JSON_NUMBER,
    ['5'] = JSON_NUMBER, ['6'] = JSON_NUMBER, ['7'] = JSON_NUMBER, ['8'] = JSON_NUMBER,
    ['9'] = JSON_NUMBER,
};

ALWAYS_INLINE uint8_t type_at(const char *p)
{
    return type_of_first[(uint8_t)*p];
}

ALWAYS_INLINE bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline const char *skip_blank(const char *p, const char *end)
{
    while (p < end && is_space(*p))
        p++;
    return p;
}

/* ---- the parts of a document ---- */

/* The first byte of what comes next: a key, a value, a comma or a closing bracket. */
ALWAYS_INLINE const char *here(const struct run *r, const struct cursor *c, struct way way)
{
    return way.tokens ? r->origin + c->t[0] : c->p;
}

/* Passes a bracket, a comma or a colon. */
ALWAYS_INLINE void pass(const struct run *r, struct cursor *c, struct way way)
{
    if (way.tokens)
        c->t++;
    else
        c->p = skip_blank(c->p + 1, r->end);
}

/* p is at a quote. @return past the closing one. */
static inline const char *string_end(const char *p, const char *end)
{
    for (p++; p < end; p++) {
#ifdef __SSE2__
        while (end - p >= 16) {
            const __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
            const __m128i marks = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')),
                                               _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
            const unsigned found = (unsigned)_mm_movemask_epi8(marks);

            if (found != 0) {
                p += __builtin_ctz(found);
                break;
            }
            p += 16;
        }
        if (p == end)
            break;
#endif
        if (*p == '"')
            return p + 1;
        if (*p == '\\')
            p++;
    }
    return end;
}

static inline const char *plain_end(const char *p, const char *end)
{
    while (p < end && *p != ',' && *p != '}' && *p != ']' && !is_space(*p))
        p++;
    return p;
}

/* Takes a string, a number or a literal. */
ALWAYS_INLINE struct json_value take_scalar(const struct run *r, struct cursor *c, struct way way)
{
    const char *p = here(r, c, way), *past;
    struct json_value v = {.ptr = p, .type = type_at(p)};

    ASSERT_HOT(v.type != JSON_ABSENT && v.type < JSON_ARRAY);
    if (way.tokens) {
        past = r->origin + c->t[1];
        while (unlikely((uint8_t)past[-1] <= ' '))
            past--;
        c->t++;
    } else {
        past = v.type == JSON_STRING ? string_end(p, r->end) : plain_end(p, r->end);
        c->p = skip_blank(past, r->end);
    }
    v.len = (uint32_t)(past - p);
    return v;
}

/* Takes any value as a whole. */
static inline struct json_value take_any(const struct run *r, struct cursor *c, struct way way)
{
    struct json_value v;
    unsigned depth = 0;

    if (!way.tokens) {
        v = json_value_at(c->p, (size_t)(r->end - c->p));
        c->p = skip_blank(v.ptr + v.len, r->end);
        return v;
    }
    v.ptr = here(r, c, way);
    v.type = type_at(v.ptr);
    if (v.type < JSON_ARRAY)
        return take_scalar(r, c, way);
    do {
        char ch = (char)(*here(r, c, way) | 0x20);

        depth += ch == '{';
        depth -= ch == '}';
        c->t++;
    } while (depth > 0);
    v.len = (uint32_t)(r->origin + c->t[-1] + 1 - v.ptr);
    return v;
}

/* ---- columns ---- */

static const struct program_column *look_up(const struct program *p,
                                            const struct program_column *record, struct span name)
{
    const uint16_t *slot = p->slot + record->slots;
    uint32_t at = program_hash(name.ptr, name.len) & record->slot_mask;

    for (; slot[at] != 0; at = (at + 1) & record->slot_mask) {
        const struct program_column *col = &p->column[slot[at]];

        if (col->name_len == name.len && memcmp(col->field->name, name.ptr, name.len) == 0)
            return col;
    }
    return NULL;
}

const struct program_column *program_find(const struct program *p,
                                          const struct program_column *record, struct span raw)
{
    char name[NAME_RAW_MAX];

    if (likely(memchr(raw.ptr, '\\', raw.len) == NULL))
        return look_up(p, record, raw);
    if (raw.len > sizeof(name))
        return NULL;
    return look_up(p, record, (struct span){name, json_unescape(raw, name)});
}

/* The key at p names the column. */
ALWAYS_INLINE bool names(const struct run *r, const char *p, const struct program_column *col,
                         struct way way)
{
    if (unlikely(!way.tokens && r->end - p < PROGRAM_KEY_BYTES + 1))
        return (size_t)(r->end - p) > col->name_len + 1u && p[1 + col->name_len] == '"' &&
               memcmp(p + 1, col->field->name, col->name_len) == 0;
    if (!key_starts(p + 1, col))
        return false;
    if (likely(col->name_len < PROGRAM_KEY_BYTES))
        return true;
    return (size_t)(r->end - p) > col->name_len + 1u &&
           memcmp(p + 1, col->field->name, col->name_len) == 0 && p[1 + col->name_len] == '"';
}

/* Takes a key and its colon. @return its column, or NULL. next is the one behind the last. */
ALWAYS_INLINE const struct program_column *take_key(struct run *r, struct cursor *c,
                                                    const struct program_column *record,
                                                    uint32_t next, struct span *raw, struct way way)
{
    const struct program_column *columns = r->program->column, *col = NULL;
    const char *p = here(r, c, way);

    ASSERT_HOT(*p == '"');
    raw->ptr = p + 1;
    if (likely(next < record->n) && likely(names(r, p, &columns[record->first + next], way))) {
        col = &columns[record->first + next];
        raw->len = col->name_len;
        if (way.tokens)
            c->t++;
        else
            c->p = skip_blank(p + col->name_len + 2, r->end);
    } else {
        struct json_value key = take_scalar(r, c, way);

        *raw = json_string_body(key);
        col = program_find(r->program, record, *raw);
    }
    ASSERT_HOT(*here(r, c, way) == ':');
    pass(r, c, way);
    return col;
}

/* ---- values ---- */

static COLD_PATH bool no_room(struct run *r)
{
    r->no_room = true;
    return false;
}

ALWAYS_INLINE bool has_room(const struct run *r, const struct cursor *c, size_t n)
{
    return likely(r->out_end - c->out >= (ptrdiff_t)n); /* out may be in the slack */
}

/* The text that the escape at p stands for. @return past the escape. */
static const char *put_escape(char **out, const char *p, const char *end)
{
    static const char plain[256] = {['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
                                    ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t'};
    size_t len = 6;

    if (likely(p[1] != 'u')) {
        *(*out)++ = plain[(uint8_t)p[1]];
        return p + 2;
    }
    if ((p[2] | 0x20) == 'd' && p[3] >= '8' && end - p >= 12) /* the first of a pair */
        len = 12;
    *out += json_unescape((struct span){p, len}, *out);
    return p + len;
}

char *put_unescaped(char *out, struct span raw)
{
    const char *p = raw.ptr, *end = p + raw.len;
    char *text = out + (raw.len < 0x80 ? 1 : VARINT_BYTES_MAX), *to = text;
    size_t len;

    ASSERT_HOT(raw.len > 0);
    for (;;) {
        uint32_t found = copy_vector(to, p);
        size_t left = (size_t)(end - p), n;

        if (left < VECTOR_BYTES)
            found &= (UINT32_C(1) << left) - 1;
        if (found == 0) {
            n = left < VECTOR_BYTES ? left : VECTOR_BYTES;
            to += n;
            p += n;
            if (p == end)
                break;
            continue;
        }
        n = (size_t)__builtin_ctz(found);
        to += n;
        p = put_escape(&to, p + n, end);
    }
    len = (size_t)(to - text);
    put_varint_short(&out, len);
    if (unlikely(out != text))
        memmove(out, text, len);
    return out + len;
}

/* The same without reading past its end. */
static COLD_PATH char *put_unescaped_tail(char *out, struct span raw)
{
    char *text = out + VARINT_BYTES_MAX;
    size_t len = json_unescape(raw, text);

    put_varint_short(&out, len);
    memmove(out, text, len);
    return out + len;
}

/* r->out_end lies PROGRAM_SLACK_BYTES before the end, so that what is written around a text fits. */
ALWAYS_INLINE bool put_string(struct run *r, struct cursor *c, const struct program_tag *tag,
                              struct span raw, struct way way)
{
    char *start;

    if (!has_room(r, c, raw.len))
        return no_room(r);
    put_tag(&c->out, tag);
    start = c->out;
    put_varint(&c->out, raw.len);
    if (unlikely(!way.tokens && (size_t)(r->end - raw.ptr) < raw.len + VECTOR_BYTES)) {
        memcpy(c->out, raw.ptr, raw.len); /* no padding is promised */
        if (memchr(raw.ptr, '\\', raw.len) != NULL)
            c->out = put_unescaped_tail(start, raw);
        else
            c->out += raw.len;
        return true;
    }
    if (unlikely(copy_text(c->out, raw.ptr, raw.len)))
        c->out = put_unescaped(start, raw);
    else
        c->out += raw.len;
    return true;
}

static bool put_bytes(struct run *r, struct cursor *c, const struct program_tag *tag,
                      struct span bytes)
{
    if (!has_room(r, c, bytes.len))
        return no_room(r);
    put_tag(&c->out, tag);
    put_varint(&c->out, bytes.len);
    memcpy(c->out, bytes.ptr, bytes.len);
    c->out += bytes.len;
    return true;
}

static bool put_base64(struct run *r, struct cursor *c, const struct program_tag *tag,
                       struct span raw)
{
    int64_t len;
    char *out;

    if (!has_room(r, c, raw.len)) /* more than it can be */
        return no_room(r);
    put_tag(&c->out, tag);
    out = c->out + VARINT_BYTES_MAX;
    len = column_base64(raw, out);
    ASSERT(len >= 0);
    put_varint(&c->out, (uint64_t)len);
    memmove(c->out, out, (size_t)len);
    c->out += len;
    return true;
}

ALWAYS_INLINE bool put_number(struct run *r, struct cursor *c, const struct program_tag *tag,
                              int64_t v)
{
    if (!has_room(r, c, 0))
        return no_room(r);
    put_tag(&c->out, tag);
    put_varint(&c->out, (uint64_t)v);
    return true;
}

ALWAYS_INLINE bool put_double(struct run *r, struct cursor *c, const struct program_tag *tag,
                              double v)
{
    if (!has_room(r, c, 0))
        return no_room(r);
    put_tag(&c->out, tag);
    memcpy(c->out, &v, sizeof(v)); /* little-endian: json_internal.h asserts it */
    c->out += sizeof(v);
    return true;
}

/* A message of two fields; an end that is not there is no bound. */
static bool put_range(struct run *r, struct cursor *c, const struct program_column *col,
                      const struct column_value *v)
{
    static const struct program_tag start_tag = {{1 << 3}, 1}, end_tag = {{2 << 3}, 1};
    char *start;

    if (!has_room(r, c, RANGE_BYTES_MAX))
        return no_room(r);
    put_tag(&c->out, &col->tag);
    start = ++c->out;
    if (v->has_start) {
        put_tag(&c->out, &start_tag);
        put_varint(&c->out, (uint64_t)v->number);
    }
    if (v->has_end) {
        put_tag(&c->out, &end_tag);
        put_varint(&c->out, (uint64_t)v->past);
    }
    put_length(&c->out, start);
    return true;
}

static bool put_value(struct run *r, struct cursor *c, const struct program_column *col,
                      const struct column_value *v)
{
    char binary[DECIMAL_BINARY_BYTES];

    switch ((enum column_type)col->type) {
    case COLUMN_STRING:
    case COLUMN_GEOGRAPHY:
    case COLUMN_INTERVAL:
        return put_string(r, c, &col->tag, v->text, (struct way){.tokens = false});
    case COLUMN_JSON:
        return put_bytes(r, c, &col->tag, v->text);
    case COLUMN_BYTES:
        return put_base64(r, c, &col->tag, v->text);
    case COLUMN_FLOAT:
        return put_double(r, c, &col->tag, v->real);
    case COLUMN_RANGE:
        return put_range(r, c, col, v);
    case COLUMN_NUMERIC:
    case COLUMN_BIGNUMERIC:
        return put_bytes(
            r, c, &col->tag,
            (struct span){binary,
                          decimal_binary(&v->decimal, col->type == COLUMN_BIGNUMERIC, binary)});
    default:
        ASSERT_HOT(col->type != COLUMN_RECORD);
        return put_number(r, c, &col->tag, v->number);
    }
}

bool run_scalar(struct run *r, struct cursor *c, const struct program_column *col,
                struct json_value v, bool emit)
{
    struct column_value value;
    const char *why = "";
    enum reason reason;

    reason = column_value_read(col->field, v, &value, &why);
    if (unlikely(reason != REASON_NONE))
        return reason == REASON_WRONG_TYPE ? run_fail_type(r, col->field, false, v)
                                           : run_fail_value(r, col->field, v, why);
    return emit ? put_value(r, c, col, &value) : true;
}

/* Whether NUMBER_READ_BYTES may be read from the value's start. */
ALWAYS_INLINE bool padded(const struct run *r, struct json_value v, struct way way)
{
    return way.tokens || r->end - v.ptr >= NUMBER_READ_BYTES;
}

/* A value that is neither null nor a container. The common forms are done here; all others, and
 * all errors, by run_scalar(). */
ALWAYS_INLINE bool scalar(struct run *r, struct cursor *c, const struct program_column *col,
                          struct way way)
{
    struct json_value v = take_scalar(r, c, way);
    struct cursor copy;
    unsigned form;
    int64_t number;
    double real;
    bool fits;

    switch ((enum column_type)col->type) {
    case COLUMN_STRING:
        if (unlikely(v.type != JSON_STRING || col->limited))
            break;
        return way.emit ? put_string(r, c, &col->tag, json_string_body(v), way) : true;
    case COLUMN_INTEGER:
        if (v.type != JSON_NUMBER || !padded(r, v, way) ||
            !read_short_integer((struct span){v.ptr, v.len}, &number))
            break;
        return way.emit ? put_number(r, c, &col->tag, number) : true;
    case COLUMN_FLOAT:
        if (v.type != JSON_NUMBER)
            break;
        if (!way.emit && !r->far_numbers)
            return true;
        if (!padded(r, v, way) || !read_short_decimal((struct span){v.ptr, v.len}, &real))
            break;
        return way.emit ? put_double(r, c, &col->tag, real) : true;
    case COLUMN_TIMESTAMP:
        if (v.type != JSON_STRING || time_parse_form(json_string_body(v), &number, &form) != 0 ||
            (form & ~(unsigned)(TIME_FORM_ZONE | TIME_FORM_NO_SECONDS)) != 0)
            break;
        return way.emit ? put_number(r, c, &col->tag, number) : true;
    case COLUMN_BOOLEAN:
        if (v.type != JSON_TRUE && v.type != JSON_FALSE)
            break;
        return way.emit ? put_number(r, c, &col->tag, v.type == JSON_TRUE) : true;
    default:
        break;
    }
    copy = *c; /* so that the walk's own never has an address */
    fits = run_scalar(r, &copy, col, v, way.emit);
    c->out = copy.out;
    return fits;
}

/* A container in a column that is no RECORD: taken whole by a JSON column, refused by others. */
static __attribute__((noinline)) bool any_container(struct run *r, const struct program_column *col,
                                                    struct way way)
{
    struct cursor c = r->at;
    struct json_value v = take_any(r, &c, way);
    bool fits = run_scalar(r, &c, col, v, way.emit);

    r->at = c;
    return fits;
}

/* ---- the walk ---- */

static bool walk_record(struct run *r, const struct program_column *record, struct way way);

/* A RECORD's message, or that of one element; r->at is at its first byte. */
ALWAYS_INLINE bool message(struct run *r, struct cursor *c, const struct program_column *col,
                           uint32_t index, struct way way)
{
    char *start = NULL;
    bool fits;

    if (way.emit) {
        if (!has_room(r, c, 0))
            return no_room(r);
        put_tag(&c->out, &col->tag);
        start = ++c->out;
    }
    ASSERT_HOT(r->n_frames < SCHEMA_DEPTH_MAX);
    r->frame[r->n_frames++] = (struct frame){col->field, index};
    r->at = *c;
    fits = walk_record(r, col, way);
    *c = r->at;
    r->n_frames--;
    if (way.emit && fits) {
        if (!has_room(r, c, 0)) /* the length may move it by some bytes */
            return no_room(r);
        put_length(&c->out, start);
    }
    return fits;
}

/* A value that is not null, of a column or of one element of it. */
ALWAYS_INLINE bool value(struct run *r, struct cursor *c, const struct program_column *col,
                         uint32_t index, struct way way)
{
    const char *p = here(r, c, way);
    uint8_t type = type_at(p);
    bool fits;

    if (col->type == COLUMN_RECORD) {
        if (unlikely(type != JSON_OBJECT))
            return run_fail_type(r, col->field, false, (struct json_value){.ptr = p, .type = type});
        return message(r, c, col, index, way);
    }
    if (likely(type < JSON_ARRAY))
        return scalar(r, c, col, way);
    r->at = *c;
    fits = any_container(r, col, way);
    *c = r->at;
    return fits;
}

ALWAYS_INLINE bool repeated(struct run *r, struct cursor *c, const struct program_column *col,
                            struct way way)
{
    const char *p = here(r, c, way);

    if (unlikely(*p != '['))
        return run_fail_type(r, col->field, true,
                             (struct json_value){.ptr = p, .type = type_at(p)});
    pass(r, c, way);
    if (*here(r, c, way) == ']') {
        pass(r, c, way);
        return true;
    }
    for (uint32_t i = 0;; i++) {
        char separator;

        if (unlikely(*here(r, c, way) == 'n'))
            return run_fail(r, REASON_NULL_ELEMENT, here(r, c, way), col->field->path,
                            "a null among the elements");
        if (unlikely(!value(r, c, col, i, way)))
            return false;
        separator = *here(r, c, way);
        pass(r, c, way);
        if (separator == ']')
            return true;
        ASSERT_HOT(separator == ',');
    }
}

/* The value of a known column. */
ALWAYS_INLINE bool member(struct run *r, struct cursor *c, const struct program_column *col,
                          struct way way)
{
    const char *p = here(r, c, way);

    if (unlikely(*p == 'n')) {
        if (col->mode == COLUMN_REQUIRED)
            return run_fail(r, REASON_MISSING_FIELD, p, col->field->path, "REQUIRED, but null");
        (void)take_scalar(r, c, way);
        return true;
    }
    if (col->mode == COLUMN_REPEATED)
        return repeated(r, c, col, way);
    return value(r, c, col, NO_INDEX, way);
}

/* A member that no column takes: r->at is at its value. */
static COLD_PATH bool unknown(struct run *r, const struct program_column *col, struct span raw,
                              struct way way)
{
    struct cursor c = r->at;
    struct json_member m = {.key = raw, .value = take_any(r, &c, way)};

    r->at = c;
    return run_unknown(r, col == NULL ? NULL : col->field, &m);
}

/* Marks a column as seen. @return false when it was. */
ALWAYS_INLINE bool mark(uint64_t *seen, uint32_t i)
{
    uint64_t bit = UINT64_C(1) << (i % 64), before = seen[i / 64];

    seen[i / 64] = before | bit;
    return (before & bit) == 0;
}

/* The members of an object, at its brace. */
ALWAYS_INLINE bool members(struct run *r, const struct program_column *record, uint64_t *seen,
                           struct way way)
{
    struct cursor c = r->at;
    const char *open = here(r, &c, way);
    uint32_t next = 0, required = 0;
    char separator;

    pass(r, &c, way);
    separator = *here(r, &c, way);
    if (separator == '}')
        pass(r, &c, way);
    while (separator != '}') {
        struct span raw;
        const struct program_column *col = take_key(r, &c, record, next, &raw, way);
        bool fits;

        if (unlikely(col == NULL || (col->added != COLUMN_ADDED_NONE && !r->line))) {
            r->at = c;
            fits = unknown(r, col, raw, way);
            c = r->at;
        } else {
            next = (uint32_t)(col - r->program->column) - record->first;
            if (unlikely(!mark(seen, next)))
                return run_fail(r, REASON_DUPLICATE_KEY, raw.ptr - 1, col->field->path,
                                "appears twice in one object");
            next++;
            required += col->mode == COLUMN_REQUIRED && col->added == COLUMN_ADDED_NONE;
            if (way.emit && unlikely(col->added == COLUMN_ADDED_OVERFLOW)) {
                r->overflow = take_any(r, &c, way);
                fits = true;
            } else {
                fits = member(r, &c, col, way);
            }
        }
        if (unlikely(!fits))
            return false;
        separator = *here(r, &c, way);
        pass(r, &c, way);
    }
    r->at = c;
    return likely(required == record->field->n_required) || run_fail_missing(r, record, seen, open);
}

ALWAYS_INLINE bool walk(struct run *r, const struct program_column *record, struct way way)
{
    uint64_t *seen = r->seen + r->seen_used;
    uint32_t words = (record->n + 63u) / 64;
    bool fits;

    ASSERT_HOT(r->seen_used + words <= SEEN_WORDS);
    r->seen_used += words;
    for (uint32_t i = 0; i < words; i++)
        seen[i] = 0;
    fits = members(r, record, seen, way);
    r->seen_used -= words;
    return fits;
}

static __attribute__((noinline)) bool check_by_tokens(struct run *r,
                                                      const struct program_column *record)
{
    return walk(r, record, (struct way){.tokens = true});
}

static __attribute__((noinline)) bool check_by_bytes(struct run *r,
                                                     const struct program_column *record)
{
    return walk(r, record, (struct way){.tokens = false});
}

static __attribute__((noinline)) bool encode_by_tokens(struct run *r,
                                                       const struct program_column *record)
{
    return walk(r, record, (struct way){.tokens = true, .emit = true});
}

static __attribute__((noinline)) bool encode_by_bytes(struct run *r,
                                                      const struct program_column *record)
{
    return walk(r, record, (struct way){.tokens = false, .emit = true});
}

static inline bool walk_record(struct run *r, const struct program_column *record, struct way way)
{
    if (way.emit)
        return way.tokens ? encode_by_tokens(r, record) : encode_by_bytes(r, record);
    return way.tokens ? check_by_tokens(r, record) : check_by_bytes(r, record);
}

/* ---- entries ---- */

static void run_init(struct run *r, const struct schema *s, const struct json_event *ev,
                     struct check_result *out)
{
    r->program = s->program;
    r->base = ev->ptr;
    r->end = ev->ptr + ev->len;
    r->at = (struct cursor){.p = ev->ptr, .t = ev->token};
    r->origin = ev->token == NULL ? NULL : ev->ptr - ev->token[0];
    r->out_end = NULL;
    r->n_frames = 0;
    r->seen_used = 0;
    r->line = false;
    r->keep_unknown = false;
    r->far_numbers = (ev->flags & JSON_FAR_NUMBER) != 0;
    r->no_room = false;
    r->result = out;
    r->overflow = (struct json_value){.type = JSON_ABSENT};
    check_result_reset(out);
}

static bool walk_event(struct run *r, const struct json_event *ev, bool emit)
{
    const struct program_column *root = &r->program->column[PROGRAM_ROOT];

    if (unlikely(ev->type != JSON_OBJECT)) {
        check_not_object(ev->type, r->result);
        return false;
    }
    return walk_record(r, root, (struct way){.tokens = ev->token != NULL, .emit = emit});
}

/* Whether the event goes by a plan, which may be another program's. If not, the run is at its start. */
static bool by_plan(struct run *r, struct program_plan *plan, const struct json_event *ev,
                    bool emit)
{
    const struct program *own = r->program;
    const struct cursor start = r->at;
    bool fits;

    r->program = plan->program;
    fits = plan_run(plan, r, ev, emit);
    r->program = own;
    if (likely(fits)) {
        plan->misses = 0;
        return true;
    }
    r->at = start;
    r->no_room = false;
    check_result_reset(r->result);
    return false;
}

/* By the plan of its shape, if there is one that fits; else by a walk, from which a plan comes. */
static bool run_event(struct run *r, struct program_memory *m, const struct json_event *ev,
                      bool emit)
{
    struct program_plan *own = plan_of(m, r->program, ev), *plan = own;
    bool fits;

    if (own == NULL)
        return walk_event(r, ev, emit);
    if (unlikely(own->shape != ev->shape || own->program != r->program || own->line != r->line))
        plan = emit ? NULL : plan_adopted(m, r, ev);
    if (likely(plan != NULL && plan->n_ops > 0) && likely(by_plan(r, plan, ev, emit)))
        return true;
    fits = walk_event(r, ev, emit);
    if (plan == NULL && !emit && fits && r->result->n_cuts == 0 && plan_adopt(m, r, ev))
        return fits;
    if (own->shape != 0 && ++own->misses < PLAN_MISSES)
        return fits;
    if (fits && r->result->n_cuts == 0)
        plan_learn(m, own, r, ev);
    return fits;
}

void program_check(const struct schema *s, struct program_memory *m, const struct json_event *ev,
                   bool keep_unknown, struct check_result *out)
{
    struct run r;

    ASSERT_HOT(s != NULL && out != NULL);
    run_init(&r, s, ev, out);
    r.keep_unknown = keep_unknown;
    (void)run_event(&r, m, ev, false); /* out holds the outcome */
}

/* The members of the column as a line brought it, and those that its schema has not named since. */
static bool overflow_clashes(struct run *r)
{
    struct json_walk w;
    struct json_member m;

    if (r->overflow.type != JSON_OBJECT || r->result->n_cuts == 0)
        return false;
    json_walk_init(&w, r->overflow);
    while (json_walk_member(&w, &m)) {
        if (check_name_taken(r->result, m.key)) {
            run_fail(r, REASON_DUPLICATE_KEY, m.key.ptr - 1, NULL,
                     "an unknown field appears twice");
            return true;
        }
    }
    return false;
}

static size_t overflow_bytes_max(const struct run *r)
{
    size_t n = r->overflow.len + 2u;

    for (uint32_t i = 0; i < r->result->n_cuts; i++)
        n += r->result->cut[i].len + r->result->cut[i].name.len + 4u; /* quotes, colon, comma */
    return n;
}

/* {"name":value,...} as text. */
static char *put_overflow_text(const struct run *r, char *out)
{
    char *start = out;

    *out++ = '{';
    if (r->overflow.type == JSON_OBJECT) {
        memcpy(out, r->overflow.ptr + 1, r->overflow.len - 2u);
        out += r->overflow.len - 2u;
        while (out > start + 1 && is_space(out[-1])) /* {   } has no members */
            out--;
    }
    for (uint32_t i = 0; i < r->result->n_cuts; i++) {
        const struct event_cut *cut = &r->result->cut[i];
        size_t len = cut->offset + cut->len - cut->value_offset;

        if (!cut->overflow)
            continue;
        if (out > start + 1)
            *out++ = ',';
        *out++ = '"';
        memcpy(out, cut->name.ptr, cut->name.len);
        out += cut->name.len;
        *out++ = '"';
        *out++ = ':';
        memcpy(out, r->base + cut->value_offset, len);
        out += len;
    }
    *out++ = '}';
    return out;
}

static bool put_overflow(struct run *r, struct cursor *c, const struct program_column *col)
{
    bool any = false;
    char *text;
    size_t len;

    for (uint32_t i = 0; i < r->result->n_cuts; i++)
        any |= r->result->cut[i].overflow;
    if (!any)
        return r->overflow.type == JSON_ABSENT || r->overflow.type == JSON_NULL
                   ? true
                   : put_bytes(r, c, &col->tag, (struct span){r->overflow.ptr, r->overflow.len});
    if (overflow_clashes(r))
        return false;
    if (!has_room(r, c, overflow_bytes_max(r)))
        return no_room(r);
    put_tag(&c->out, &col->tag);
    text = c->out + VARINT_BYTES_MAX;
    len = (size_t)(put_overflow_text(r, text) - text);
    put_varint(&c->out, len);
    memmove(c->out, text, len);
    c->out += len;
    return true;
}

/* The columns of ours, behind all others. */
static bool put_added(struct run *r, struct cursor *c, const struct program_row *row)
{
    const struct program_column *column = r->program->column;
    const uint16_t *added = r->program->added;

    if (added[PROGRAM_ADDED_OVERFLOW] != 0 &&
        !put_overflow(r, c, &column[added[PROGRAM_ADDED_OVERFLOW]]))
        return false;
    if (row->line)
        return true;
    return put_number(r, c, &column[added[PROGRAM_ADDED_DATE]].tag, time_days(row->event_us)) &&
           put_number(r, c, &column[added[PROGRAM_ADDED_TIME]].tag, row->processed_us) &&
           put_bytes(r, c, &column[added[PROGRAM_ADDED_ID]].tag, row->id);
}

int program_encode(const struct schema *s, struct program_memory *m, const struct json_event *ev,
                   const struct program_row *row, char *out, size_t room, size_t *len,
                   struct check_result *check)
{
    struct run r;
    bool fits;

    ASSERT_HOT(s != NULL && check != NULL && len != NULL);
    if (room < 2 * PROGRAM_SLACK_BYTES)
        return -ENOSPC;
    run_init(&r, s, ev, check);
    r.at.out = out;
    r.out_end = out + room - PROGRAM_SLACK_BYTES;
    r.line = row->line;
    fits = run_event(&r, m, ev, true) && put_added(&r, &r.at, row);
    if (unlikely(r.no_room)) {
        check_result_reset(check);
        return -ENOSPC;
    }
    *len = fits ? (size_t)(r.at.out - out) : 0;
    ASSERT_HOT(*len <= room);
    return fits ? 0 : -EINVAL;
}
