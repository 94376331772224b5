/*
 * Any bytes as a dead letter: every part must be one valid line within its limit, and text parts
 * joined must be the original. The first two bytes choose the limit and how much of the rest is
 * detail, type and source.
 */
#include <stdlib.h>
#include <string.h>

#include "dataplane/event/dead.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_part(const struct dead_letter *d, uint32_t part, uint32_t parts, size_t line_max,
                       size_t *joined)
{
    char *line = malloc(line_max + JSON_PADDING_BYTES);
    struct json_value v;
    size_t len, offset;

    ASSERT(line != NULL);
    len = dead_format(d, part, parts, 1, line_max, line);
    ASSERT(len <= line_max && line[len - 1] == '\n' && memchr(line, '\n', len - 1) == NULL);
    ASSERT(json_validate(line, len, &offset) == JSON_ERROR_NONE);
    event_patch_lsn(line, len, 2);
    if (json_find(json_value_at(line, len), span_of("raw"), &v)) {
        char *text = malloc(v.len);
        size_t n;

        ASSERT(text != NULL);
        n = json_unescape(json_string_body(v), text);
        ASSERT(*joined + n <= d->raw.len && memcmp(text, d->raw.ptr + *joined, n) == 0);
        *joined += n;
        free(text);
    } else {
        ASSERT(json_find(json_value_at(line, len), span_of("raw_base64"), &v));
        *joined += (v.len - 2) / 4 * 3;
    }
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dead_letter d = {.reason = REASON_BAD_JSON,
                            .journal_hex = "00112233445566778899aabbccddeeff"};
    size_t line_max, labels, joined = 0;
    char *detail;
    uint32_t parts;

    if (size < 2)
        return 0;
    line_max = 4096 + data[0];
    labels = data[1] < size - 2 ? data[1] : size - 2;
    detail = malloc(labels + 1);
    ASSERT(detail != NULL);
    memcpy(detail, data + 2, labels);
    detail[labels] = '\0';
    d.detail = detail;
    d.source = detail;
    d.event_type = (struct span){(const char *)data + 2, labels};
    d.raw = (struct span){(const char *)data + 2 + labels, size - 2 - labels};
    parts = dead_parts(&d, line_max);
    ASSERT(parts >= 1);
    for (uint32_t i = 0; i < parts; i++)
        check_part(&d, i, parts, line_max, &joined);
    ASSERT(joined >= d.raw.len && joined <= d.raw.len + 2);
    free(detail);
    return 0;
}
