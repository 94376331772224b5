/*
 * Any document that is a JSON object, through check and assembly. The first byte chooses a schema,
 * the rest is the document. What is accepted must come out as one valid line that fits the same
 * schema, with nothing left to cut but the fields that we added; what is refused must have a reason
 * and a place.
 */
#include <stdlib.h>
#include <string.h>

#include "dataplane/event/assemble.h"
#include "dataplane/event/check.h"
#include "dataplane/event/dead.h"

#define UUID "00112233445566778899aabbccddeeff"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const schema_texts[] = {
    "[{\"name\":\"a\",\"type\":\"STRING\"},{\"name\":\"b\",\"type\":\"INTEGER\"}]",
    "[{\"name\":\"s\",\"type\":\"STRING\",\"maxLength\":3},{\"name\":\"y\",\"type\":\"BYTES\","
    "\"maxLength\":4},"
    "{\"name\":\"i\",\"type\":\"INTEGER\"},{\"name\":\"f\",\"type\":\"FLOAT\"},{\"name\":\"o\","
    "\"type\":\"BOOLEAN\"},"
    "{\"name\":\"t\",\"type\":\"TIMESTAMP\"},{\"name\":\"d\",\"type\":\"DATE\"},{\"name\":\"m\","
    "\"type\":\"TIME\"},"
    "{\"name\":\"e\",\"type\":\"DATETIME\"},{\"name\":\"g\",\"type\":\"GEOGRAPHY\"},{\"name\":"
    "\"n\",\"type\":\"NUMERIC\"},"
    "{\"name\":\"p\",\"type\":\"NUMERIC\",\"precision\":5,\"scale\":2},{\"name\":\"B\",\"type\":"
    "\"BIGNUMERIC\"},"
    "{\"name\":\"j\",\"type\":\"JSON\"}]",
    "[{\"name\":\"id\",\"type\":\"STRING\",\"mode\":\"REQUIRED\"},{\"name\":\"l\",\"type\":"
    "\"RECORD\",\"mode\":\"REPEATED\","
    "\"fields\":[{\"name\":\"k\",\"type\":\"STRING\",\"mode\":\"REQUIRED\"},{\"name\":\"v\","
    "\"type\":\"FLOAT\",\"mode\":"
    "\"REPEATED\"}]},{\"name\":\"r\",\"type\":\"RECORD\",\"fields\":[{\"name\":\"q\",\"type\":"
    "\"RECORD\",\"fields\":["
    "{\"name\":\"x\",\"type\":\"JSON\"}]}]}]",
    ("[{\"name\":\"event_date\",\"type\":\"DATE\",\"mode\":\"REQUIRED\"},{\"name\":\"penstock_"
     "overflow\",\"type\":\"JSON\"},"
     "{\"name\":\"a\",\"type\":\"INTEGER\",\"mode\":\"REPEATED\"}]"),
};

#define N_SCHEMAS ARRAY_LEN(schema_texts)

static struct schema *schemas[N_SCHEMAS];
static struct check_result first, second;

static char *padded(const char *from, size_t len)
{
    char *p = malloc(len + JSON_PADDING_BYTES);

    ASSERT(p != NULL);
    memcpy(p, from, len);
    memset(p + len, 0xA5, JSON_PADDING_BYTES);
    return p;
}

static bool is_added_name(struct span name)
{
    return span_equal(name, span_of(COLUMN_EVENT_DATE)) ||
           span_equal(name, span_of(COLUMN_PROCESSED)) || span_equal(name, span_of(COLUMN_ID)) ||
           span_equal(name, span_of(COLUMN_OVERFLOW));
}

static uint8_t flags_of(struct span doc)
{
    bool lf = memchr(doc.ptr, '\n', doc.len) != NULL, cr = memchr(doc.ptr, '\r', doc.len) != NULL;

    return lf || cr ? JSON_HAS_LINE_BREAK : 0;
}

/* Line: a valid document without line breaks inside. */
static char *check_line(const char *line, size_t len)
{
    size_t offset;
    char *copy = padded(line, len);

    ASSERT(line[len - 1] == '\n' && memchr(line, '\n', len - 1) == NULL &&
           memchr(line, '\r', len) == NULL);
    ASSERT(json_validate(copy, len - 1, &offset) == JSON_ERROR_NONE);
    return copy;
}

static size_t assemble(struct span doc, const struct check_result *r, char **line, uint32_t *added)
{
    struct event_parts parts = {.doc = doc,
                                .json_flags = flags_of(doc),
                                .cuts = r->cut,
                                .n_cuts = r->n_cuts,
                                .event_us = -1,
                                .processed_us = 1,
                                .journal_hex = UUID,
                                .lsn = 7};
    size_t max = event_assembled_max(&parts), len;

    *line = malloc(max);
    ASSERT(*line != NULL);
    len = event_assemble(&parts, *line, added);
    ASSERT(len <= max);
    event_patch_lsn(*line, len, UINT64_MAX);
    return len;
}

static void accepted(const struct schema *s, struct span doc)
{
    char *line, *copy;
    uint32_t added;
    size_t len = assemble(doc, &first, &line, &added);

    copy = check_line(line, len);
    check_event(s, json_value_at(copy, len - 1), &second);
    ASSERT(second.reason == REASON_NONE);
    ASSERT(second.n_cuts >= 3 && second.n_cuts <= 4);
    for (uint32_t i = 0; i < second.n_cuts; i++)
        ASSERT(is_added_name(second.cut[i].name));
    free(copy);
    free(line);
}

/* The same document for a table without a schema. */
static void wrapped(struct span doc)
{
    char *line, *out, *copy;
    uint32_t added;
    size_t len;

    check_added_only(json_value_at(doc.ptr, doc.len), &first);
    if (first.reason != REASON_NONE)
        return;
    len = assemble(doc, &first, &line, &added);
    out = malloc(len + 16);
    ASSERT(out != NULL);
    len = event_wrap(line, len, added, out);
    copy = check_line(out, len);
    free(copy);
    free(out);
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct schema *s;
    struct json_value v;
    size_t offset;
    char *doc;

    if (size < 1)
        return 0;
    for (size_t i = 0; i < N_SCHEMAS && schemas[i] == NULL; i++)
        ASSERT(schema_compile(span_of(schema_texts[i]), &schemas[i], NULL, 0) == 0);
    s = schemas[data[0] % N_SCHEMAS];
    doc = padded((const char *)data + 1, size - 1);
    if (json_validate(doc, size - 1, &offset) != JSON_ERROR_NONE)
        goto done;
    v = json_value_at(doc, size - 1);
    check_event(s, v, &first);
    if (v.type != JSON_OBJECT) {
        ASSERT(first.reason == REASON_NOT_OBJECT);
        goto done;
    }
    ASSERT(first.reason < REASON_DEAD_END && first.error_offset < size);
    ASSERT(first.reason == REASON_NONE || (first.n_cuts == 0 && first.detail[0] != '\0'));
    if (first.reason == REASON_NONE)
        accepted(s, (struct span){v.ptr, v.len});
    wrapped((struct span){v.ptr, v.len});
done:
    free(doc);
    return 0;
}
