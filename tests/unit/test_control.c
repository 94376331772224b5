/*
 * Goal: the command line, the CLI protocol, suggestions, the data directory and growing texts do
 * what their headers say, whatever is put into them.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "control/cli.h"
#include "control/options.h"
#include "control/place.h"
#include "dataplane/json/json.h"

static int parse_cli(const char *line, struct cli_request *r, struct textbuf *error)
{
    textbuf_fini(error);
    return cli_parse(line, strlen(line), r, error);
}

static void cli_requests(void **state)
{
    struct cli_request r;
    struct textbuf e = {0};

    (void)state;
    assert_int_equal(parse_cli("status", &r, &e), PROTOCOL_OK);
    assert_int_equal(r.command, PROTOCOL_STATUS);
    assert_false(r.json);
    assert_int_equal(parse_cli("--json  flush --timeout 5s ", &r, &e), PROTOCOL_OK);
    assert_true(r.json);
    assert_int_equal(r.timeout_us, 5000000);
    assert_int_equal(parse_cli("drain --timeout=10ms --json", &r, &e), PROTOCOL_OK);
    assert_int_equal(r.timeout_us, 10000);
    assert_int_equal(parse_cli("stauts", &r, &e), PROTOCOL_USAGE);
    assert_non_null(strstr(textbuf_str(&e), "did you mean \"status\"?"));
    assert_int_equal(parse_cli("xyzzyplugh", &r, &e), PROTOCOL_USAGE);
    assert_null(strstr(textbuf_str(&e), "did you mean"));
    assert_int_equal(parse_cli("status now", &r, &e), PROTOCOL_USAGE);
    assert_int_equal(parse_cli("flush --timeout", &r, &e), PROTOCOL_USAGE);
    assert_int_equal(parse_cli("flush --timeout 5", &r, &e), PROTOCOL_USAGE);
    assert_int_equal(parse_cli("flush --timeout 2d", &r, &e), PROTOCOL_USAGE);
    assert_int_equal(parse_cli("verify --timeout 5s", &r, &e), PROTOCOL_USAGE);
    assert_int_equal(parse_cli("", &r, &e), PROTOCOL_USAGE);
    assert_int_equal(parse_cli("--json", &r, &e), PROTOCOL_USAGE);
    assert_int_equal(parse_cli("status\t", &r, &e), PROTOCOL_USAGE);
    textbuf_fini(&e);
    assert_int_equal(cli_parse("st\0atus", 7, &r, &e), PROTOCOL_USAGE);
    assert_int_equal(cli_parse("\xff\xfe", 2, &r, &e), PROTOCOL_USAGE);
    textbuf_fini(&e);
}

static int parse_options(struct options *o, struct textbuf *e, int argc, ...)
{
    char *argv[16] = {(char *)(uintptr_t) "penstockd"};
    va_list args;

    va_start(args, argc);
    for (int i = 1; i <= argc; i++)
        argv[i] = va_arg(args, char *);
    va_end(args);
    textbuf_fini(e);
    return options_parse(argc + 1, argv, o, e);
}

static void command_line(void **state)
{
    struct options o;
    struct textbuf e = {0};

    (void)state;
    assert_int_equal(
        parse_options(&o, &e, 6, "--config", "f", "--set", "a=b", "--set=c=d", "--check"), 0);
    assert_string_equal(o.config, "f");
    assert_int_equal(o.n_sets, 2);
    assert_string_equal(o.sets[1], "c=d");
    assert_int_equal(o.mode, OPTIONS_CHECK);
    assert_int_equal(parse_options(&o, &e, 1, "--version"), 0);
    assert_int_equal(o.mode, OPTIONS_VERSION);
    assert_int_equal(parse_options(&o, &e, 0), -EINVAL);
    assert_non_null(strstr(textbuf_str(&e), "--config FILE is missing"));
    assert_int_equal(parse_options(&o, &e, 2, "--confg", "f"), -EINVAL);
    assert_non_null(strstr(textbuf_str(&e), "did you mean --config?"));
    assert_int_equal(parse_options(&o, &e, 1, "--config"), -EINVAL);
    assert_non_null(strstr(textbuf_str(&e), "--config needs a value"));
    assert_int_equal(parse_options(&o, &e, 1, "stray"), -EINVAL);
    textbuf_fini(&e);
}

static void nearest_words(void **state)
{
    char long_word[200];

    (void)state;
    assert_int_equal(nearest_distance("", ""), 0);
    assert_int_equal(nearest_distance("", "abc"), 3);
    assert_int_equal(nearest_distance("kitten", "sitting"), 3);
    assert_int_equal(nearest_distance("ab", "ba"), 1);
    assert_string_equal(protocol_nearest("verfiy"), "verify");
    assert_string_equal(protocol_nearest("sink"), "sinks");
    memset(long_word, 'a', sizeof(long_word));
    long_word[sizeof(long_word) - 1] = '\0';
    assert_int_equal(nearest_distance(long_word, "a"), NEAREST_WORD_MAX);
    assert_null(protocol_nearest(long_word));
}

static void data_directory(void **state)
{
    char base[] = "/tmp/penstock-place-XXXXXX", dir[128], error[PLACE_ERROR_BYTES];
    uint32_t numbers[8];
    struct place_dir a, b;
    struct stat st;
    char path[PLACE_PATH_BYTES];

    (void)state;
    assert_non_null(mkdtemp(base));
    snprintf(dir, sizeof(dir), "%s/deep/er", base);
    assert_int_equal(place_open(dir, &a, error, sizeof(error)), 0);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_true(strlen(a.machine_id) >= 16);
    assert_int_equal(place_open(dir, &b, error, sizeof(error)), -EBUSY);
    snprintf(path, sizeof(path), "pid %d", (int)getpid());
    assert_non_null(strstr(error, path));
    for (uint32_t i = 3; i > 0; i--) {
        place_journal(dir, i * 5, path);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    assert_int_equal(place_journals(dir, numbers, 8), 3);
    assert_int_equal(numbers[0], 5);
    assert_int_equal(numbers[2], 15);
    place_close(&a);
    assert_int_equal(place_open(dir, &b, error, sizeof(error)), 0);
    place_close(&b);
    snprintf(path, sizeof(path), "%s/file", base);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_int_not_equal(place_open(path, &b, error, sizeof(error)), 0);
    assert_non_null(strstr(error, "a file is in the way"));
    snprintf(path, sizeof(path), "rm -rf %s", base);
    assert_int_equal(system(path), 0);
}

static void texts(void **state)
{
    static const char odd[] = "a\"b\\c\n\x01\xff\xc3\xa9\xed\xa0\x80\xf0\x9f\x98\x80";
    struct textbuf t = {0};
    size_t offset;

    (void)state;
    assert_string_equal(textbuf_str(&t), "");
    textbuf_json(&t, (struct span){.ptr = odd, .len = sizeof(odd) - 1});
    textbuf_bytes(&t, "                                                                ",
                  64); /* padding */
    assert_int_equal(json_validate(t.ptr, t.len - 64, &offset), JSON_ERROR_NONE);
    textbuf_fini(&t);
    textbuf_printable(&t, span_of("a\tb\xff"));
    assert_string_equal(textbuf_str(&t), "a?b?");
    for (int i = 0; i < 10000; i++)
        textbuf_add(&t, "%d,", i);
    assert_false(t.failed);
    assert_int_equal(t.len, 4 + 10 * 2 + 90 * 3 + 900 * 4 + 9000 * 5);
    textbuf_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cli_requests),  cmocka_unit_test(command_line),
        cmocka_unit_test(nearest_words), cmocka_unit_test(data_directory),
        cmocka_unit_test(texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
