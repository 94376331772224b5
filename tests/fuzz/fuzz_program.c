/*
 * Any document that is a JSON object, through programs. The first byte chooses a schema, the rest is
 * one document, or two on two lines, of which the second often has the shape of the first; then they
 * are read again as an array with line feeds and other white space between all tokens. Walks by
 * bytes and by tokens, and plans, of every variant of the parser find the same; what one check takes
 * the encoder takes; and each row is read back beside its document: every value in its place,
 * nothing else. Canary: with -DFUZZ_CANARY a row with the number 1 in its first column is wrong.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/event/program.h"
#include "dataplane/event/timeval.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROW_BYTES_MAX (1 << 20)
#define DOC_BYTES_MAX (1 << 16)

static const char *const schema_texts[] = {
    "[{\"name\":\"a\",\"type\":\"INTEGER\"},{\"name\":\"b\",\"type\":\"STRING\"},{\"name\":\"c\","
    "\"type\":\"FLOAT\",\"mode\":\"REQUIRED\"},{\"name\":\"d\",\"type\":\"BOOLEAN\"}]",
    "[{\"name\":\"s\",\"type\":\"STRING\",\"maxLength\":3},{\"name\":\"y\",\"type\":\"BYTES\"},"
    "{\"name\":\"t\",\"type\":\"TIMESTAMP\"},{\"name\":\"d\",\"type\":\"DATE\"},{\"name\":\"m\","
    "\"type\":\"TIME\"},{\"name\":\"e\",\"type\":\"DATETIME\"},{\"name\":\"g\",\"type\":"
    "\"GEOGRAPHY\"},{\"name\":\"n\",\"type\":\"NUMERIC\"},{\"name\":\"B\",\"type\":"
    "\"BIGNUMERIC\"},{\"name\":\"j\",\"type\":\"JSON\"},{\"name\":\"v\",\"type\":\"INTERVAL\"},"
    "{\"name\":\"rd\",\"type\":\"RANGE\",\"rangeElementType\":{\"type\":\"DATE\"}},{\"name\":"
    "\"rt\","
    "\"type\":\"RANGE\",\"rangeElementType\":{\"type\":\"TIMESTAMP\"},\"mode\":\"REPEATED\"},"
    "{\"name\":\"re\",\"type\":\"RANGE\",\"rangeElementType\":{\"type\":\"DATETIME\"}}]",
    "[{\"name\":\"id\",\"type\":\"STRING\",\"mode\":\"REQUIRED\"},{\"name\":\"l\",\"type\":"
    "\"RECORD\",\"mode\":\"REPEATED\",\"fields\":[{\"name\":\"k\",\"type\":\"STRING\",\"mode\":"
    "\"REQUIRED\"},{\"name\":\"v\",\"type\":\"FLOAT\",\"mode\":\"REPEATED\"}]},{\"name\":\"r\","
    "\"type\":\"RECORD\",\"fields\":[{\"name\":\"q\",\"type\":\"RECORD\",\"fields\":[{\"name\":"
    "\"x\",\"type\":\"JSON\"}]}]}]",
};

#define N_SCHEMAS ARRAY_LEN(schema_texts)

static struct schema *schemas[N_SCHEMAS];
static struct json_parser *parsers[JSON_ISA_AVX512 + 1];
static struct program_memory *memories[JSON_ISA_AVX512 + 1];
static struct check_result expected, found;
static char row[ROW_BYTES_MAX], other[ROW_BYTES_MAX];

static void set_up(void)
{
    for (size_t i = 0; i < N_SCHEMAS; i++)
        ASSERT(schema_compile(span_of(schema_texts[i]), &schemas[i], NULL, 0) == 0);
    for (enum json_isa isa = JSON_ISA_SCALAR; isa <= JSON_ISA_AVX512; isa++) {
        if (!json_isa_usable(isa))
            continue;
        ASSERT(json_parser_create(NULL, isa, &parsers[isa]) == 0);
        ASSERT(program_memory_create(isa, &memories[isa]) == 0);
    }
}

/* ---- reading a row back ---- */

struct reader {
    const unsigned char *p, *end;
};

static uint64_t read_varint(struct reader *r)
{
    uint64_t v = 0;
    unsigned shift = 0;

    do {
        ASSERT(r->p < r->end && shift < 70);
        v |= (uint64_t)(*r->p & 0x7F) << shift;
        shift += 7;
    } while ((*r->p++ & 0x80) != 0);
    ASSERT(shift == 7 || r->p[-1] != 0); /* the shortest form */
    return v;
}

static struct reader read_message(struct reader *r)
{
    uint64_t len = read_varint(r);
    struct reader inner = {r->p, r->p + len};

    ASSERT(len <= (uint64_t)(r->end - r->p));
    r->p += len;
    return inner;
}

static void same_bytes(struct reader got, const char *want, size_t len)
{
    ASSERT((size_t)(got.end - got.p) == len && memcmp(got.p, want, len) == 0);
}

/* The text of a scalar, unescaped. */
static char *text_of(struct json_value v, size_t *len)
{
    char *text = malloc(v.len + 1);

    ASSERT(text != NULL);
    if (v.type == JSON_STRING) {
        *len = json_unescape(json_string_body(v), text);
    } else {
        memcpy(text, v.ptr, v.len);
        *len = v.len;
    }
    text[*len] = '\0';
    return text;
}

static void same_double(struct reader *r, const char *text)
{
    double got, want = strtod(text, NULL);

    ASSERT(r->end - r->p >= 8);
    memcpy(&got, r->p, 8);
    r->p += 8;
    ASSERT(memcmp(&got, &want, 8) == 0 || (isnan(got) && isnan(want)));
}

/* HH:MM:SS as a packed time says it. */
static void same_clock(uint64_t packed, const char *text)
{
    uint64_t clock = packed >> 20;

    ASSERT((packed & 0xFFFFF) < 1000000);
    ASSERT((clock >> 12 & 31) == strtoul(text, NULL, 10) &&
           (clock >> 6 & 63) == strtoul(text + 3, NULL, 10) &&
           (clock & 63) == strtoul(text + 6, NULL, 10));
}

static void same_number(uint64_t got, const struct schema_field *f, struct json_value v,
                        const char *text, size_t len)
{
    int64_t us;
    int32_t days;

    switch ((enum column_type)f->type) {
    case COLUMN_INTEGER:
#ifdef FUZZ_CANARY
        ASSERT(got != 1);
#endif
        errno = 0;
        ASSERT((int64_t)got == strtoll(text, NULL, 10) && errno == 0);
        break;
    case COLUMN_BOOLEAN:
        ASSERT(got == (strcmp(text, "true") == 0));
        break;
    case COLUMN_TIMESTAMP:
        ASSERT((v.type == JSON_STRING ? time_parse((struct span){text, len}, &us)
                                      : time_parse_seconds((struct span){text, len}, &us)) == 0);
        ASSERT((int64_t)got == us);
        break;
    case COLUMN_DATE:
        ASSERT(date_parse((struct span){text, len}, &days) == 0 && (int64_t)got == days);
        break;
    case COLUMN_TIME:
        same_clock(got, text);
        break;
    default:
        ASSERT(f->type == COLUMN_DATETIME);
        ASSERT(got >> 46 == strtoul(text, NULL, 10) &&
               (got >> 42 & 15) == strtoul(text + 5, NULL, 10) &&
               (got >> 37 & 31) == strtoul(text + 8, NULL, 10));
        same_clock(got & ((UINT64_C(1) << 37) - 1), text + 11);
    }
}

/* As many bytes as the text says that are not padding; the values are for it_rows_proto.py. */
static void same_base64(struct reader got, const char *text, size_t len)
{
    size_t padding = 0;

    while (len > padding && text[len - 1 - padding] == '=')
        padding++;
    ASSERT((size_t)(got.end - got.p) == len / 4 * 3 - padding);
}

/* The ends that are there, as their columns would be. */
static void same_range(struct reader r, const struct schema_field *f, struct json_value v)
{
    const struct schema_field ends = {.type = f->range};
    static const char *const names[] = {"start", "end"};

    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        struct json_value end;
        struct json_walk w;
        struct json_member m;
        char *text;
        size_t len;

        end.type = JSON_NULL;
        json_walk_init(&w, v);
        while (json_walk_member(&w, &m)) {
            if (json_key_equal(m.key, m.key_escaped, span_of(names[i])))
                end = m.value;
        }
        if (end.type == JSON_NULL)
            continue;
        ASSERT(read_varint(&r) == (uint64_t)(i + 1) << 3);
        text = text_of(end, &len);
        same_number(read_varint(&r), &ends, end, text, len);
        free(text);
    }
    ASSERT(r.p == r.end);
}

static void same_scalar(struct reader *r, const struct schema_field *f, struct json_value v)
{
    size_t len;
    char *text = text_of(v, &len);

    switch ((enum column_type)f->type) {
    case COLUMN_RANGE:
        same_range(read_message(r), f, v);
        break;
    case COLUMN_STRING:
    case COLUMN_GEOGRAPHY:
    case COLUMN_INTERVAL:
        same_bytes(read_message(r), text, len);
        break;
    case COLUMN_JSON:
        same_bytes(read_message(r), v.ptr, v.len);
        break;
    case COLUMN_BYTES:
        same_base64(read_message(r), text, len);
        break;
    case COLUMN_NUMERIC:
    case COLUMN_BIGNUMERIC: {
        struct reader number = read_message(r);

        ASSERT(number.end - number.p >= 1 && number.end - number.p <= 32);
        break;
    }
    case COLUMN_FLOAT:
        same_double(r, text);
        break;
    default:
        same_number(read_varint(r), f, v, text, len);
    }
    free(text);
}

static void read_tag(struct reader *r, const struct schema_field *record,
                     const struct schema_field *f)
{
    uint64_t wire = f->type == COLUMN_FLOAT ? 1 : 0;

    switch ((enum column_type)f->type) {
    case COLUMN_STRING:
    case COLUMN_BYTES:
    case COLUMN_GEOGRAPHY:
    case COLUMN_NUMERIC:
    case COLUMN_BIGNUMERIC:
    case COLUMN_JSON:
    case COLUMN_RECORD:
    case COLUMN_INTERVAL:
    case COLUMN_RANGE:
        wire = 2;
        break;
    default:
        break;
    }
    ASSERT(read_varint(r) == ((uint64_t)(f - record->fields + 1) << 3 | wire));
}

static void same_record(struct reader *r, const struct schema_field *record,
                        struct json_value object);

static void same_value(struct reader *r, const struct schema_field *record,
                       const struct schema_field *f, struct json_value v)
{
    read_tag(r, record, f);
    if (f->type == COLUMN_RECORD) {
        struct reader inner = read_message(r);

        same_record(&inner, f, v);
        ASSERT(inner.p == inner.end);
    } else {
        same_scalar(r, f, v);
    }
}

/* The columns of a row are in the order of the document's members. */
static void same_record(struct reader *r, const struct schema_field *record,
                        struct json_value object)
{
    struct json_walk w, elements;
    struct json_member m;
    struct json_value v;

    json_walk_init(&w, object);
    while (json_walk_member(&w, &m)) {
        char *key = malloc(m.key.len + 1);
        const struct schema_field *f;

        ASSERT(key != NULL);
        f = schema_field_find(record, (struct span){key, json_unescape(m.key, key)});
        free(key);
        if (f == NULL || f->added != COLUMN_ADDED_NONE || m.value.type == JSON_NULL)
            continue;
        if (f->mode != COLUMN_REPEATED) {
            same_value(r, record, f, m.value);
            continue;
        }
        json_walk_init(&elements, m.value);
        while (json_walk_element(&elements, &v))
            same_value(r, record, f, v);
    }
}

static void same_row(const struct schema *s, struct json_value doc, const char *bytes, size_t len,
                     bool overflows)
{
    struct reader r = {(const unsigned char *)bytes, (const unsigned char *)bytes + len};
    const struct schema_field *overflow = schema_find(s, span_of(COLUMN_OVERFLOW));
    struct reader text;
    size_t offset;

    same_record(&r, &s->root, doc);
    if (overflows) {
        char *padded;

        read_tag(&r, &s->root, overflow);
        text = read_message(&r);
        padded = calloc(1, (size_t)(text.end - text.p) + JSON_PADDING_BYTES);
        ASSERT(padded != NULL);
        memcpy(padded, text.p, (size_t)(text.end - text.p));
        ASSERT(json_validate(padded, (size_t)(text.end - text.p), &offset) == JSON_ERROR_NONE);
        free(padded);
    }
    read_tag(&r, &s->root, schema_find(s, span_of(COLUMN_EVENT_DATE)));
    ASSERT(read_varint(&r) == 1);
    read_tag(&r, &s->root, schema_find(s, span_of(COLUMN_PROCESSED)));
    ASSERT(read_varint(&r) == 2);
    read_tag(&r, &s->root, schema_find(s, span_of(COLUMN_ID)));
    same_bytes(read_message(&r), "id", 2);
    ASSERT(r.p == r.end);
}

/* ---- one event ---- */

static void same_finding(void)
{
    ASSERT(found.reason == expected.reason && found.error_offset == expected.error_offset &&
           found.n_cuts == expected.n_cuts && strcmp(found.detail, expected.detail) == 0);
    for (uint32_t i = 0; i < found.n_cuts; i++)
        ASSERT(found.cut[i].offset == expected.cut[i].offset &&
               found.cut[i].len == expected.cut[i].len &&
               found.cut[i].overflow == expected.cut[i].overflow &&
               span_equal(found.cut[i].name, expected.cut[i].name));
}

static void same_times(const struct json_event *ev)
{
    ASSERT(found.n_times <= CHECK_TIMES_MAX);
    for (uint32_t i = 0; i < found.n_times; i++) {
        const char *text = ev->ptr + found.time[i].offset;
        const char *past = memchr(text, '"', ev->len - found.time[i].offset);
        int64_t us;

        ASSERT(found.time[i].offset < ev->len && text[-1] == '"' && past != NULL);
        ASSERT(time_parse((struct span){text, (size_t)(past - text)}, &us) == 0);
        ASSERT(us == found.time[i].us);
    }
}

static const struct program_row what = {
    .event_us = INT64_C(86400000000), .processed_us = 2, .id = {"id", 2}};

/* The event by bytes, in memory of exactly its size. @return the row's length, 0 when refused. */
static size_t reference(const struct schema *s, const struct json_event *ev)
{
    char *exact = malloc(ev->len);
    struct json_event bare = {
        .ptr = exact, .len = ev->len, .type = ev->type, .flags = JSON_FAR_NUMBER};
    struct json_value doc = {.ptr = exact, .len = ev->len, .type = ev->type};
    bool overflows = false;
    size_t len = 0;
    int rc;

    ASSERT(exact != NULL);
    memcpy(exact, ev->ptr, ev->len);
    check_event(s, doc, &expected);
    rc = program_encode(s, NULL, &bare, &what, row, sizeof(row), &len, &found);
    same_finding();
    ASSERT(rc == (expected.reason == REASON_NONE ? 0 : -EINVAL));
    for (uint32_t i = 0; i < expected.n_cuts; i++)
        overflows |= expected.cut[i].overflow;
    if (rc == 0)
        same_row(s, doc, row, len, overflows);
    check_event(s, (struct json_value){.ptr = ev->ptr, .len = ev->len, .type = ev->type},
                &expected); /* its spans outlive exact */
    free(exact);
    return rc == 0 ? len : 0;
}

static void one_event(const struct schema *s, struct program_memory *m, const struct json_event *ev)
{
    size_t want = reference(s, ev), got = 0;
    int rc;

    program_check(s, m, ev, false, &found);
    same_finding();
    same_times(ev);
    for (int twice = 0; twice < 2; twice++) {
        rc = program_encode(s, m, ev, &what, other, sizeof(other), &got, &found);
        same_finding();
        ASSERT(rc == (expected.reason == REASON_NONE ? 0 : -EINVAL));
        ASSERT(rc != 0 || (got == want && memcmp(row, other, got) == 0));
    }
}

/* Reads buf with every variant, each event through the programs. */
static void each_event(const struct schema *s, const char *buf, size_t len,
                       enum json_framing framing)
{
    struct json_event events[8];

    for (enum json_isa isa = JSON_ISA_SCALAR; isa <= JSON_ISA_AVX512; isa++) {
        struct json_stream stream;
        int n;

        if (parsers[isa] == NULL)
            continue;
        json_stream_init(&stream, parsers[isa], buf, len, framing);
        while ((n = json_next(&stream, events, (int)ARRAY_LEN(events))) > 0) {
            for (int i = 0; i < n; i++) {
                if (events[i].error == JSON_ERROR_NONE)
                    one_event(s, memories[isa], &events[i]);
            }
        }
    }
}

/* The lines as an array with white space of any kind behind its tokens; out holds four times their length. */
static size_t as_array(const char *text, size_t len, char *out)
{
    static const char gaps[4][3] = {"\n ", "\r\n", "\t ", " \n"};
    bool in_string = false;
    size_t n = 0;

    out[n++] = '[';
    for (size_t i = 0; i < len; i++) {
        in_string ^= text[i] == '"' && (i == 0 || text[i - 1] != '\\');
        out[n++] = (char)(text[i] == '\n' && !in_string && i + 1 < len ? ',' : text[i]);
        if (in_string || strchr("{}[]:,\"", out[n - 1]) == NULL)
            continue;
        memcpy(out + n, gaps[i % 4], 2);
        n += 2;
    }
    out[n++] = ']';
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct schema *s;
    char *buf;
    size_t len, offset;

    if (size < 3 || size > DOC_BYTES_MAX)
        return 0;
    if (schemas[0] == NULL)
        set_up();
    s = schemas[data[0] % N_SCHEMAS];
    buf = malloc(size - 1 + JSON_PADDING_BYTES);
    ASSERT(buf != NULL);
    memcpy(buf, data + 1, size - 1);
    memset(buf + size - 1, '"', JSON_PADDING_BYTES);
    each_event(s, buf, size - 1, JSON_FRAMING_LINES);
    free(buf);
    buf = malloc(4 * size + JSON_PADDING_BYTES);
    ASSERT(buf != NULL);
    len = as_array((const char *)data + 1, size - 1, buf);
    memset(buf + len, '"', JSON_PADDING_BYTES);
    if (json_validate(buf, len, &offset) == JSON_ERROR_NONE)
        each_event(s, buf, len, JSON_FRAMING_ARRAY);
    free(buf);
    return 0;
}
