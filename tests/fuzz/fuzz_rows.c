/*
 * Any lines as the events of a table whose columns come from data. The first byte chooses configured
 * columns, the room for columns, and after how many events types are fixed. The independent judge of
 * tests/unit/trows_check.h compares each row with its event; a version's text must read back; any text
 * as a version's must be refused or read.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/event/rows.h"
#include "tests/unit/trows_check.h"

#define TAIL      "\"event_date\":\"2026-11-21\",\"penstock_id\":\"x\"}\n"
#define LINES_MAX 40

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char base_text[] =
    "[{\"name\":\"id\",\"type\":\"STRING\",\"maxLength\":3},{\"name\":\"a\",\"type\":\"FLOAT\"},"
    "{\"name\":\"l\",\"type\":\"INTEGER\",\"mode\":\"REPEATED\"},{\"name\":\"r\",\"type\":"
    "\"RECORD\",\"fields\":[{\"name\":\"j\",\"type\":\"JSON\"}]}]";

static struct rows *start_table(uint8_t form)
{
    struct rows_start start = {.time_path = "t", .columns_max = form & 2 ? 12 : 500};
    struct schema *base = NULL;
    struct rows *r = NULL;

    if (form & 1)
        ASSERT(schema_compile(span_of(base_text), &base, NULL, 0) == 0);
    start.base = base;
    ASSERT(rows_start(&start, &r) == 0);
    schema_destroy(base);
    return r;
}

static void judge(const char *wrong, struct span event, struct span row)
{
    if (wrong == NULL)
        return;
    fprintf(stderr, "%s\nevent: %.*s\nrow: %.*s", wrong, (int)event.len, event.ptr, (int)row.len,
            row.ptr);
    abort();
}

static struct rows *take_line(struct rows *r, struct span event)
{
    char *line = malloc(event.len + sizeof(TAIL) + 1), *p = line + event.len - 1;
    char *out = malloc(rows_encoded_max(event.len + sizeof(TAIL)));
    struct span all;
    uint16_t added;
    size_t len;

    memcpy(line, event.ptr, event.len - 1);
    while (p > line && (p[-1] == ' ' || p[-1] == '\t'))
        p--;
    if (p[-1] != '{' || p - 1 != line)
        *p++ = ',';
    memcpy(p, TAIL, sizeof(TAIL) - 1);
    all = (struct span){line, (size_t)(p - line) + sizeof(TAIL) - 1};
    added = (uint16_t)(sizeof(TAIL) - 3 + (p[-1] == ',' ? 1 : 0));
    for (int turn = 0;; turn++) {
        enum rows_result result = rows_encode(r, all, added, out, &len);
        struct rows *next = NULL;
        int rc = rows_grow(r, all, added, &next);

        ASSERT(len <= rows_encoded_max(all.len) && turn < 3);
        ASSERT(rc == (result == ROWS_GROWS ? 0 : -EALREADY));
        judge(trows_check(r, event, (struct span){out, len}), event, (struct span){out, len});
        if (rc != 0)
            break;
        judge(trows_kept(r, next), event, (struct span){out, len});
        rows_destroy(r);
        r = next;
    }
    free(line);
    free(out);
    return r;
}

/* The object of a line, up to its brace, or nothing. */
static struct span object_of(const char *text, size_t len)
{
    size_t offset;

    while (len > 0 && text[len - 1] != '}')
        len--;
    while (len > 0 && *text != '{') {
        text++;
        len--;
    }
    if (len < 2 || json_validate(text, len, &offset) != JSON_ERROR_NONE)
        len = 0;
    return (struct span){text, len};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rows *r, *other = NULL;
    char *text, *at;
    uint8_t form = size > 0 ? data[0] : 0;
    int n = 0;

    if (size < 2 || size > 20000)
        return 0;
    text = malloc(size + JSON_PADDING_BYTES);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\n';
    memset(text + size, 0, JSON_PADDING_BYTES - 1);
    if (rows_parse((struct span){text, size}, &other, NULL, 0) == 0)
        rows_destroy(other);
    r = start_table(form);
    at = text;
    for (char *end; n < LINES_MAX && at < text + size; at = end + 1, n++) {
        struct span event;

        end = memchr(at, '\n', (size_t)(text + size - at));
        if (memchr(at, '\r', (size_t)(end - at)) != NULL)
            continue; /* a line has no breaks */
        event = object_of(at, (size_t)(end - at));
        if (n == (form >> 2 & 7)) {
            ASSERT(rows_fix(r, &other) == 0);
            rows_destroy(r);
            r = other;
        }
        if (event.len > 0)
            r = take_line(r, event);
    }
    ASSERT(rows_parse((struct span){r->text, r->text_len}, &other, NULL, 0) == 0);
    ASSERT(other->hash == r->hash && other->n_columns == r->n_columns);
    rows_destroy(other);
    rows_destroy(r);
    free(text);
    return 0;
}
