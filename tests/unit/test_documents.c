/*
 * Goal: documents of every form come out byte for byte, with line, element, offset and CRC, however
 * they are packed and wherever reads end; what cannot be cut into documents is an error with its
 * line. Method: tables of text and expectation, each read plain, as gzip in two members, and as
 * zstd in two frames.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "dataplane/base/crc32c.h"
#include "tools/penstock/documents.h"

#define JOIN_MAX 65536

static char path[] = "/tmp/penstock-documents-XXXXXX";

static void write_file(const void *bytes, size_t len)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static size_t gzip_member(const char *text, size_t len, unsigned char *out, size_t room)
{
    z_stream z = {0};

    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (unsigned char *)(uintptr_t)text;
    z.avail_in = (uInt)len;
    z.next_out = out;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    len = z.total_out;
    deflateEnd(&z);
    return len;
}

/* Packs text in two pieces. */
static size_t pack(enum source_form form, const char *text, size_t len, unsigned char *out,
                   size_t room)
{
    size_t half = len / 2, n;

    if (form == SOURCE_PLAIN) {
        memcpy(out, text, len);
        return len;
    }
    if (form == SOURCE_GZIP) {
        n = gzip_member(text, half, out, room);
        return n + gzip_member(text + half, len - half, out + n, room - n);
    }
    n = ZSTD_compress(out, room, text, half, 3);
    return n + ZSTD_compress(out + n, room - n, text + half, len - half, 3);
}

/* Reads the file: documents joined by '|', then "!" and the error if there is one. */
static void read_all(size_t bytes_max, const char *text, char *out)
{
    struct documents_options options = {.bytes_max = bytes_max};
    struct documents *d;
    struct document doc;
    char error[256] = "";
    size_t len = 0;
    int rc;

    assert_int_equal(documents_open(path, &options, &d, error, sizeof(error)), 0);
    out[0] = '\0';
    while ((rc = documents_next(d, &doc, error, sizeof(error))) == 1) {
        len += (size_t)snprintf(out + len, JOIN_MAX - len, "%s%.*s", len > 0 ? "|" : "",
                                (int)doc.len, doc.ptr);
        if (doc.whole > doc.len)
            len += (size_t)snprintf(out + len, JOIN_MAX - len, "..%zu", (size_t)doc.whole);
        assert_true(memcmp(text + doc.end - doc.whole, doc.ptr, doc.len) == 0);
        assert_int_equal(doc.crc32c, crc32c(0, text, doc.end));
    }
    if (rc < 0)
        snprintf(out + len, JOIN_MAX - len, "!%s", error);
    documents_close(d);
}

static const struct {
    const char *text, *expect;
    size_t bytes_max;
} cases[] = {
    /* lines */
    {"{\"a\":1}\n{\"b\":2}\n", "{\"a\":1}|{\"b\":2}", 0},
    {"{\"a\":1}\r\n\r\n \t{\"b\":2} \r\n", "{\"a\":1}|{\"b\":2}", 0},
    {"{\"a\":1}\n{\"b\":2}", "{\"a\":1}|{\"b\":2}", 0},
    {"\xEF\xBB\xBF{\"a\":1}\n", "{\"a\":1}", 0},
    {"", "", 0},
    {"  \n\n ", "", 0},
    {"not json\n{\"a\":1}\n[1]\n", "not json|{\"a\":1}|[1]", 0},
    {"{\"a\":\n{\"b\":2}\n", "{\"a\":|{\"b\":2}", 0}, /* torn, not spread */
    {"{\"a\":1\n", "{\"a\":1", 0},
    {"{}\n0123456789\nshort\n", "{}|01234567..10|short", 8},
    {"0123456789", "01234567..10", 8},
    /* one or more objects over several lines */
    {"{\n \"a\": 1\n}\n", "{\n \"a\": 1\n}", 0},
    {"{\n \"a\": \"}\\\"\"\n}\n{\n}\n{\"c\":[{}]}", "{\n \"a\": \"}\\\"\"\n}|{\n}|{\"c\":[{}]}", 0},
    {"{\n \"a\": 1\n}\n{\n \"b\"", "{\n \"a\": 1\n}!line 4: what begins here has no end", 0},
    {"{\n}\n{]\n", "{\n}!line 3: a ']' where '}' is missing", 0},
    {"{\n}\n}\n", "{\n}!line 3: a closing bracket too many", 0},
    /* arrays */
    {"[]", "", 0},
    {" [ ] \n", "", 0},
    {"[{\"a\":1},{\"b\":2}]", "{\"a\":1}|{\"b\":2}", 0},
    {"[\n  {\n    \"a\": [1, 2]\n  },\n  3,\n  \"x,]\",\n  null, -1e5\n]\n",
     "{\n    \"a\": [1, 2]\n  }|3|\"x,]\"|null|-1e5", 0},
    {"[1]\n[2,3]\n{\"a\":1}", "1|2|3|{\"a\":1}", 0},
    {"[{\"a\":01}]", "{\"a\":01}", 0}, /* who takes it judges it */
    {"[1,2", "1|2!line 1: the array ends early: no ']'", 0},
    {"[1,", "1!line 1: the array ends early: no ']'", 0},
    {"[", "!line 1: the array ends early: no ']'", 0},
    {"[1,]", "1!line 1: no element behind ','", 0},
    {"[,1]", "!line 1: a value is missing", 0},
    {"[1 2]", "1!line 1: no ',' between two elements", 0},
    {"[1\n]\n]", "1!line 3: a closing bracket too many", 0},
    {"[{\"a\":\"b\n\"}]", "!line 1: a line break inside a string", 0},
    {"[{\"a\":1}, {\"b\": \"0123456789\"}, 5]", "{\"a\":1}|{\"b\": \"..19|5", 7},
    {"\xFF\xFE[\0", "!line 1: the text is UTF-16; UTF-8 is what JSON is read as", 0},
};

static void each_form_comes_out_whole(void **state)
{
    static unsigned char packed[4096];
    static char got[JOIN_MAX];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (int form = SOURCE_PLAIN; form <= SOURCE_ZSTD; form++) {
            size_t len = strlen(cases[i].text);

            write_file(packed,
                       pack((enum source_form)form, cases[i].text, len, packed, sizeof(packed)));
            read_all(cases[i].bytes_max, cases[i].text, got);
            assert_string_equal(got, cases[i].expect);
        }
    }
}

/* More than any buffer holds: every document, its line and its element. */
static void large_files_come_out_in_order(void **state)
{
    struct documents_options options = {.bytes_max = 1000};
    static char pretty[1 << 22];
    char error[256], expect[64];
    struct documents *d;
    struct document doc;
    size_t len = 0;
    uint64_t n = 0;

    (void)state;
    len += (size_t)snprintf(pretty, sizeof(pretty), "[");
    for (int i = 0; len < sizeof(pretty) - 100; i++)
        len += (size_t)snprintf(pretty + len, 100, "%s\n {\n  \"n\": %d\n }", i > 0 ? "," : "", i);
    len += (size_t)snprintf(pretty + len, 10, "\n]\n");
    write_file(pretty, len);
    assert_int_equal(documents_open(path, &options, &d, error, sizeof(error)), 0);
    while (documents_next(d, &doc, error, sizeof(error)) == 1) {
        snprintf(expect, sizeof(expect), "{\n  \"n\": %d\n }", (int)n);
        assert_int_equal(doc.len, strlen(expect));
        assert_true(memcmp(doc.ptr, expect, doc.len) == 0);
        assert_int_equal(doc.line, 2 + 3 * n);
        assert_int_equal(doc.element, ++n);
    }
    assert_true(n > 100000);
    assert_int_equal(source_taken(documents_source(d)), len);
    assert_int_equal(source_size(documents_source(d)), len);
    documents_close(d);
}

/* Damage, an early end and trailing bytes are errors; what stands in front of them comes out. */
static void damaged_packing_is_an_error(void **state)
{
    static const char text[] = "{\"a\":1}\n{\"b\":2}\n";
    static char got[JOIN_MAX];

    (void)state;
    for (int form = SOURCE_GZIP; form <= SOURCE_ZSTD; form++) {
        unsigned char packed[1024];
        size_t len = pack((enum source_form)form, text, strlen(text), packed, sizeof(packed));

        for (size_t cut = 5; cut < len; cut++) {
            write_file(packed, cut);
            read_all(0, text, got);
            if (strcmp(got, "{\"a\":1}") != 0) /* the end of the first piece is no damage */
                assert_non_null(strchr(got, '!'));
        }
        memcpy(packed + len, "rest", 4);
        write_file(packed, len + 4);
        read_all(0, text, got);
        assert_non_null(strstr(got, "is followed by something else"));
        memset(packed + len / 2 + 8, 0x55, 8);
        write_file(packed, len);
        read_all(0, text, got);
        assert_non_null(strchr(got, '!'));
    }
}

static void what_cannot_be_opened_says_why(void **state)
{
    struct documents_options options = {0};
    struct documents *d;
    char error[256];

    (void)state;
    assert_int_equal(documents_open("/tmp", &options, &d, error, sizeof(error)), -EISDIR);
    assert_string_equal(error, "Is a directory");
    assert_int_equal(documents_open("/no/such", &options, &d, error, sizeof(error)), -ENOENT);
    assert_string_equal(error, "No such file or directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_form_comes_out_whole),
        cmocka_unit_test(large_files_come_out_in_order),
        cmocka_unit_test(damaged_packing_is_an_error),
        cmocka_unit_test(what_cannot_be_opened_says_why),
    };
    int fd = mkstemp(path), rc;

    if (fd < 0)
        return 1;
    close(fd);
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return rc;
}
