/*
 * Dead letters' lines, options and database. Lines: what dead_format() writes comes back byte for
 * byte, and everything that an editor may leave is refused with a reason. Options: every wrong word
 * is said. Database: states only go the allowed ways, a transaction that fails leaves nothing, and
 * what a crash left open is settled by what was stored.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "control/dlq_db.h"
#include "control/protocol.h"
#include "dataplane/event/dead.h"
#include "dataplane/json/json.h"

#define JOURNAL     "00112233445566778899aabbccddeeff"
#define LINE_MAX    8192
#define NAMES_BYTES 1024

/* ---- lines ---- */

static const char *parse_text(const char *text, struct dlq_line *out)
{
    static char padded[LINE_MAX + JSON_PADDING_BYTES];

    memset(padded, 0, sizeof(padded));
    memcpy(padded, text, strlen(text));
    return dlq_line_parse((struct span){.ptr = padded, .len = strlen(text)}, out);
}

/* Formats raw as a dead letter and takes it apart again. */
static void round_trip(const char *raw, size_t len, const char *detail)
{
    struct dead_letter d = {
        .reason = REASON_BAD_JSON,
        .detail = detail,
        .event_type = {.ptr = "or\"der", .len = 6},
        .position = 17,
        .error_offset = 203,
        .source = "http 127.0.0.1:41712",
        .received_us = INT64_C(1764000000123456),
        .raw = {.ptr = raw, .len = len},
        .journal_hex = JOURNAL,
    };
    uint32_t parts = dead_parts(&d, 4096);
    char *back = malloc(2 * len + 1), *line = calloc(1, 4096 + JSON_PADDING_BYTES);
    size_t at = 0;

    for (uint32_t part = 0; part < parts; part++) {
        size_t n = dead_format(&d, part, parts, 0x100002080u + part, 4096, line);
        struct dlq_line l;

        assert_null(dlq_line_parse((struct span){.ptr = line, .len = n - 1}, &l));
        assert_string_equal(l.reason, "bad_json");
        assert_string_equal(l.detail, detail);
        assert_string_equal(l.event_type, "or\"der");
        assert_string_equal(l.source, "http 127.0.0.1:41712");
        assert_int_equal(l.position, 17);
        assert_int_equal(l.error_offset, 203);
        assert_int_equal(l.received_us, d.received_us);
        assert_int_equal(l.part, part + 1);
        assert_int_equal(l.parts, parts);
        assert_int_equal(l.id.lsn, 0x100002080u + part);
        at += dlq_line_raw(&l, back + at);
    }
    assert_int_equal(at, len);
    assert_memory_equal(back, raw, len);
    free(back);
    free(line);
}

static void test_round_trip(void **state)
{
    char noise[20000];

    (void)state;
    round_trip("{\"a\":\"\\u00e9\\\\\", \n\t\"b\":1", 22, "items.price: expected \"FLOAT\"");
    round_trip("\xff\x00\x01", 3, "");
    round_trip("\xff\x00", 2, "");
    round_trip("\x01", 1, "");
    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (char)(i * 7 + (i >> 8));
    round_trip(noise, sizeof(noise), "binary in parts");
    memset(noise, '"', sizeof(noise));
    round_trip(noise, sizeof(noise), "text in parts");
}

#define GOOD                                                                               \
    "{\"reason\":\"bad_json\",\"detail\":\"\",\"event_type\":\"\",\"position\":0,"         \
    "\"error_offset\":0,\"source\":\"x\",\"received_at\":\"2026-11-21T07:42:14.123456Z\"," \
    "\"part\":1,\"parts\":1,\"raw\":\"r\",\"penstock_id\":\"" JOURNAL "-0000000100002080\"}"

/* GOOD with one text replaced by another. */
static const char *edited(const char *from, const char *to)
{
    static char out[LINE_MAX];
    const char *at = strstr(GOOD, from);

    assert_non_null(at);
    snprintf(out, sizeof(out), "%.*s%s%s", (int)(at - GOOD), GOOD, to, at + strlen(from));
    return out;
}

static void test_edited_lines(void **state)
{
    static const struct {
        const char *from, *to, *why;
    } list[] = {
        {"}", "", "not valid JSON"},
        {"\"bad_json\"", "1", "no \"reason\""},
        {"\"bad_json\"", "\"\"", "no \"reason\""},
        {"\"detail\":\"\",", "", "no \"detail\""},
        {"\"event_type\":\"\"", "\"event_type\":null", "no \"event_type\""},
        {"\"source\":\"x\"", "\"source\":{}", "no \"source\""},
        {"2026-11-21T07", "2026-13-21T07", "\"received_at\" is no time"},
        {"\"position\":0", "\"position\":-1", "\"position\" or \"error_offset\" is no number"},
        {"\"error_offset\":0", "\"error_offset\":4294967296",
         "\"position\" or \"error_offset\" is no number"},
        {"\"part\":1", "\"part\":2", "\"part\" and \"parts\" do not make sense"},
        {"\"parts\":1", "\"parts\":1000001", "\"part\" and \"parts\" do not make sense"},
        {"\"part\":1", "\"part\":0", "\"part\" and \"parts\" do not make sense"},
        {"-0000000100002080", "-000000010000208", "\"penstock_id\" is no id"},
        {"-0000000100002080", "-000000010000208g", "\"penstock_id\" is no id"},
        {"-0000000100002080", "-00000001000020800", "\"penstock_id\" is no id"},
        {"\"raw\":\"r\",", "", "needs either \"raw\" or \"raw_base64\""},
        {"\"raw\":\"r\"", "\"raw\":\"r\",\"raw_base64\":\"\"",
         "needs either \"raw\" or \"raw_base64\""},
        {"\"raw\":\"r\"", "\"raw\":[]", "its original bytes are no string"},
        {"\"raw\":\"r\"", "\"raw_base64\":\"AAA\"", "\"raw_base64\" is not base64"},
        {"\"raw\":\"r\"", "\"raw_base64\":\"A===\"", "\"raw_base64\" is not base64"},
        {"\"raw\":\"r\"", "\"raw_base64\":\"AA=A\"", "\"raw_base64\" is not base64"},
        {"\"raw\":\"r\"", "\"raw_base64\":\"A\\u0041AA\"", "\"raw_base64\" is not base64"},
    };
    struct dlq_line line;
    char text[LINE_MAX];

    (void)state;
    assert_null(parse_text(GOOD, &line));
    assert_string_equal(parse_text("", &line), "an empty line");
    assert_string_equal(parse_text("[1]", &line), "not a JSON object");
    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        assert_string_equal(parse_text(edited(list[i].from, list[i].to), &line), list[i].why);
    /* Longer texts than anybody writes are cut, never inside a character. */
    snprintf(text, sizeof(text), "\"source\":\"%0300d\\u00e9\"", 0);
    assert_null(parse_text(edited("\"source\":\"x\"", text), &line));
    assert_int_equal(strlen(line.source), DLQ_SOURCE_BYTES - 1);
    assert_null(parse_text(edited("\"source\":\"x\"", "\"source\":\"a\\u0000b\""), &line));
    assert_string_equal(line.source, "a?b");
}

static void test_id(void **state)
{
    struct dlq_id id, other;
    char text[DLQ_ID_BYTES + 1];

    (void)state;
    assert_true(dlq_id_parse(span_of(JOURNAL "-0123456789abcdef"), &id));
    assert_int_equal(id.lsn, 0x0123456789abcdef);
    dlq_id_text(&id, text);
    assert_string_equal(text, JOURNAL "-0123456789abcdef");
    other = id;
    assert_true(dlq_id_equal(&id, &other));
    other.journal.byte[3] ^= 1;
    assert_false(dlq_id_equal(&id, &other));
    assert_false(dlq_id_parse(span_of(JOURNAL "_0123456789abcdef"), &id));
    assert_false(dlq_id_parse(span_of("x"), &id));
    assert_false(dlq_id_parse(span_of("00112233445566778899AABBCCDDEEFF-0123456789abcdef"), &id));
}

/* ---- options ---- */

#define NOW_US INT64_C(1764000000000000)
#define ID     JOURNAL "-0000000100002080"

static struct dlq_options options;

static void good(const char *words)
{
    struct textbuf error = {0};
    int status = dlq_options_parse(span_of(words), NOW_US, &options, &error);

    if (status != PROTOCOL_OK)
        fail_msg("%s: %s", words, textbuf_str(&error));
    assert_int_equal(error.len, 0);
}

static void bad(const char *words, const char *message)
{
    struct textbuf error = {0};

    assert_int_equal(dlq_options_parse(span_of(words), NOW_US, &options, &error), PROTOCOL_USAGE);
    if (strstr(textbuf_str(&error), message) == NULL)
        fail_msg("%s: %s", words, textbuf_str(&error));
    textbuf_fini(&error);
}

static void test_options(void **state)
{
    (void)state;
    good("list");
    assert_int_equal(options.limit, DLQ_LIMIT_DEFAULT);
    assert_int_equal(options.filter.states, 1u << DLQ_NEW);
    assert_true(options.filter.since_us == INT64_MIN && options.filter.until_us == INT64_MAX);
    good(" list --type b%20d%00%FF --reason=bad_json --since 90m --until 2025-11-24T16:00:00Z "
         "--source 10.0.0 --state all --limit 5 --group --others --json");
    assert_int_equal(options.filter.type_len, 5);
    assert_memory_equal(options.filter.type, "b d\0\xff", 5);
    assert_string_equal(options.filter.reason, "bad_json");
    assert_int_equal(options.filter.since_us, NOW_US - INT64_C(5400000000));
    assert_int_equal(options.filter.until_us, INT64_C(1764000000000000));
    assert_string_equal(options.filter.source, "10.0.0");
    assert_int_equal(options.filter.states, 15);
    assert_true(options.limit == 5 && options.group && options.others && options.json);
    good("list --untyped --since 2025-11-24");
    assert_true(options.filter.has_type && options.filter.type_len == 0);
    good("show " ID " --raw");
    assert_int_equal(options.filter.n_ids, 1);
    assert_int_equal(options.filter.states, 15);
    good("replay --id " ID " --id=" ID " --as-type order");
    assert_int_equal(options.filter.n_ids, 1);
    assert_memory_equal(options.as_type, "order", options.as_type_len);
    good("replay --all --yes --dry-run --state dropped --limit 1000000");
    good("drop --untyped --delete-objects");
    good("help --json");
}

static void test_wrong_options(void **state)
{
    char many[DLQ_WORD_BYTES + 64];

    (void)state;
    bad("", "no command");
    bad("lits", "did you mean \"list\"?");
    bad("xyzzy", "there is list, show");
    bad("list --typ x", "unknown argument \"--typ\"");
    bad("list --group=x", "unknown argument");
    bad("list x", "unknown argument \"x\"");
    bad("list --type", "--type needs a value: T");
    bad("list --type=", "allowed: an event type of 1 to 128 bytes");
    bad("list --reason bad_jsn", "bad_json, bad_utf8");
    bad("list --reason journal_full", "allowed: bad_json");
    bad("list --since yesterday", "--since: found \"yesterday\"; allowed: a time such as");
    bad("list --until 2026-13-01", "--until: found");
    bad("list --since 1h --until 2h", "--since must be before --until");
    bad("list --state old", "new, replaying, replayed, dropped, all");
    bad("list --limit 0", "1 to 10000");
    bad("list --limit 10001", "1 to 10000");
    bad("list --id " ID, "dlq list does not take --id");
    bad("list --yes", "does not take");
    bad("list %zz", "'%' without two hex digits");
    bad("list --source a%00b", "a part of the source");
    bad("show", "needs one ID");
    bad("show 12", "an id as `penstock dlq list` shows it");
    bad("show " ID " " ID, "unknown argument");
    bad("show " ID " --raw --json", "exclude each other");
    bad("replay", "say which letters");
    bad("replay --state dropped", "say which letters");
    bad("replay --all --type x", "exclude each other");
    bad("replay --all --state all", "nothing is ever stored twice");
    bad("drop --id " ID " --reason bad_json", "exclude each other");
    bad("drop --all --state dropped", "only letters of --state new (or replaying");
    bad("drop --all --others --delete-objects", "--delete-objects only deletes");
    bad("drop --all --as-type x", "does not take");
    bad("help me", "unknown argument");
    memset(many, 'x', sizeof(many) - 1);
    many[sizeof(many) - 1] = '\0';
    bad(many, "a word is too long");
}

/* ---- database ---- */

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/penstock-dlq-XXXXXX");
    return mkdtemp(dir) == NULL;
}

static int remove_dir(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command);
}

static struct dlq_db *open_db(void)
{
    struct dlq_db *db = NULL;
    char path[96], error[256] = "";

    snprintf(path, sizeof(path), "%s/dlq.db", dir);
    if (dlq_db_open(path, &db, error, sizeof(error)) != 0)
        fail_msg("%s", error);
    return db;
}

static struct dlq_entry letter(uint64_t lsn)
{
    struct dlq_entry e = {.id = {.lsn = lsn}, .object = "dead_letter/a", .outcome = "accepted"};

    e.id.journal.byte[0] = 7;
    return e;
}

static struct dlq_mark mark_of(struct dlq_db *db, uint64_t lsn)
{
    struct dlq_entry e = letter(lsn);
    struct dlq_mark m;

    assert_int_equal(dlq_db_mark(db, &e.id, &m), 0);
    return m;
}

static void expect_counts(struct dlq_db *db, uint64_t replaying, uint64_t replayed,
                          uint64_t dropped)
{
    struct dlq_counts c;

    dlq_db_counts(db, &c);
    assert_int_equal(c.replaying, replaying);
    assert_int_equal(c.replayed, replayed);
    assert_int_equal(c.dropped, dropped);
}

static void test_states(void **state)
{
    struct dlq_db *db = open_db();
    struct dlq_entry e[] = {letter(1), letter(2), letter(3)};
    uint8_t session[DLQ_SESSION_BYTES];
    uint64_t dropped;

    (void)state;
    memcpy(session, dlq_db_session(db), sizeof(session));
    assert_int_equal(mark_of(db, 1).state, DLQ_NEW);
    assert_int_equal(dlq_db_intend(db, 1, e, 2, 1000), 0);
    assert_int_equal(mark_of(db, 1).state, DLQ_INTENT);
    assert_int_equal(dlq_db_intend(db, 2, &e[1], 2, 1000), -EEXIST); /* all or none */
    assert_int_equal(mark_of(db, 3).state, DLQ_NEW);
    e[1].outcome = "wrong_type";
    assert_int_equal(dlq_db_done(db, 1, e, 2), 0);
    assert_string_equal(mark_of(db, 2).outcome, "wrong_type");
    assert_int_equal(mark_of(db, 2).uid, 1000);
    expect_counts(db, 0, 2, 0);
    assert_int_equal(dlq_db_drop(db, e, 3, 0, &dropped), 0);
    assert_int_equal(dropped, 1); /* what is replayed stays so */
    assert_int_equal(mark_of(db, 1).state, DLQ_REPLAYED);
    assert_int_equal(mark_of(db, 3).state, DLQ_DROPPED);
    assert_int_equal(dlq_db_drop(db, &e[2], 1, 0, &dropped), 0);
    assert_int_equal(dropped, 0);
    assert_int_equal(dlq_db_intend(db, 2, &e[2], 1, 0), 0); /* a dropped one may be replayed */
    expect_counts(db, 1, 2, 0);
    dlq_db_close(db);
    db = open_db();
    assert_memory_equal(dlq_db_session(db), session, sizeof(session));
    expect_counts(db, 1, 2, 0);
    dlq_db_close(db);
}

static void test_settle(void **state)
{
    struct dlq_db *db = open_db();
    struct dlq_entry e[] = {letter(11), letter(12), letter(13), letter(14)};
    uint8_t session[DLQ_SESSION_BYTES];
    struct dlq_counts counts;
    uint64_t dropped, stored, returned;

    (void)state;
    assert_int_equal(dlq_db_drop(db, &e[3], 1, 0, &dropped), 0);
    assert_int_equal(dlq_db_intend(db, 5, &e[0], 1, 0), 0);
    assert_int_equal(dlq_db_intend(db, 6, &e[1], 1, 0), 0);
    assert_int_equal(dlq_db_intend(db, 7, &e[2], 2, 0), 0);
    dlq_db_close(db); /* the crash */
    db = open_db();
    assert_int_equal(dlq_db_settle(db, 6, &stored, &returned), 0);
    assert_true(stored >= 2);
    assert_int_equal(returned, 2);
    assert_int_equal(mark_of(db, 11).state, DLQ_REPLAYED);
    assert_string_equal(mark_of(db, 12).outcome, "stored");
    assert_int_equal(mark_of(db, 13).state, DLQ_NEW);
    assert_int_equal(mark_of(db, 14).state, DLQ_DROPPED);
    /* A session that has forgotten what was stored settles nothing. */
    assert_int_equal(dlq_db_intend(db, 7, &e[2], 1, 0), 0);
    assert_int_equal(dlq_db_settle(db, 5, &stored, &returned), -ERANGE);
    assert_int_equal(mark_of(db, 13).state, DLQ_INTENT);
    assert_int_equal(dlq_db_settle(db, 6, &stored, &returned), 0);
    assert_int_equal(mark_of(db, 13).state, DLQ_NEW);
    /* A new session: what was under way stays unknown until somebody decides. */
    memcpy(session, dlq_db_session(db), sizeof(session));
    assert_int_equal(dlq_db_intend(db, 7, &e[2], 2, 0), 0);
    assert_int_equal(dlq_db_renew(db, &returned), 0);
    assert_int_equal(returned, 2);
    assert_memory_not_equal(session, dlq_db_session(db), sizeof(session));
    assert_int_equal(dlq_db_settle(db, 0, &stored, &returned), 0);
    assert_int_equal(stored + returned, 0);
    assert_int_equal(mark_of(db, 13).state, DLQ_INTENT);
    assert_string_equal(mark_of(db, 13).outcome, "unknown");
    dlq_db_counts(db, &counts);
    assert_int_equal(counts.replaying, 2);
    assert_int_equal(dlq_db_drop(db, &e[3], 1, 0, &dropped), 0);
    assert_int_equal(dropped, 1);
    assert_int_equal(dlq_db_intend(db, 1, &e[2], 1, 0), 0);
    assert_int_equal(dlq_db_settle(db, 0, &stored, &returned), 0);
    assert_int_equal(mark_of(db, 13).state, DLQ_NEW);
    assert_int_equal(mark_of(db, 14).state, DLQ_DROPPED);
    dlq_db_close(db);
}

static void add_name(void *ctx, const char *name)
{
    size_t len = strlen(ctx);

    snprintf((char *)ctx + len, NAMES_BYTES - len, "%s|", name);
}

static void add_deleted(void *ctx, const char *name, uint64_t letters)
{
    char text[300];

    snprintf(text, sizeof(text), "%.200s %llu", name, (unsigned long long)letters);
    add_name(ctx, text);
}

static void test_objects(void **state)
{
    struct dlq_db *db = open_db();
    struct dlq_filter f = {.states = 1u << DLQ_NEW};
    struct dlq_entry e[] = {letter(21), letter(22)};
    struct dlq_object_fact fact = {.name = "dead_letter/o", .generation = 9, .letters = 2};
    char names[NAMES_BYTES] = "", deleted[NAMES_BYTES] = "";
    uint64_t dropped;

    (void)state;
    fact.range[fact.n_ranges++] =
        (struct dlq_object_range){.journal = e[0].id.journal, .least = 20, .most = 25};
    assert_int_equal(dlq_db_objects_put(db, &fact, 1), 0);
    assert_int_equal(dlq_db_find(db, &e[0].id, add_name, names), 0);
    assert_string_equal(names, "dead_letter/o|");
    assert_false(dlq_db_object_skip(db, "dead_letter/o", 9, &f));
    e[0].object = e[1].object = "dead_letter/o";
    assert_int_equal(dlq_db_drop(db, e, 1, 0, &dropped), 0);
    assert_false(dlq_db_object_skip(db, "dead_letter/o", 9, &f)); /* one is left */
    assert_int_equal(dlq_db_drop(db, e, 2, 0, &dropped), 0);
    assert_true(dlq_db_object_skip(db, "dead_letter/o", 9, &f));
    assert_false(dlq_db_object_skip(db, "dead_letter/o", 10, &f)); /* somebody replaced it */
    assert_false(dlq_db_object_skip(db, "dead_letter/p", 9, &f));
    f.states = 1u << DLQ_DROPPED;
    assert_false(dlq_db_object_skip(db, "dead_letter/o", 9, &f));
    f.id[f.n_ids++] = letter(26).id;
    assert_true(dlq_db_object_skip(db, "dead_letter/o", 9, &f));
    f.id[f.n_ids++] = letter(25).id;
    assert_false(dlq_db_object_skip(db, "dead_letter/o", 9, &f));
    fact.odd = true;
    assert_int_equal(dlq_db_objects_put(db, &fact, 1), 0);
    f.n_ids = 1;
    assert_false(dlq_db_object_skip(db, "dead_letter/o", 9, &f));
    assert_int_equal(dlq_db_delete_begin(db, "dead_letter/a", 3, 0), 0);
    assert_int_equal(dlq_db_delete_begin(db, "dead_letter/b", 4, 0), 0);
    assert_int_equal(dlq_db_delete_end(db, "dead_letter/a", true), 0);
    assert_int_equal(dlq_db_delete_end(db, "dead_letter/b", false), 0);
    assert_int_equal(dlq_db_each_deleted(db, add_deleted, deleted), 0);
    assert_string_equal(deleted, "dead_letter/a 3|");
    dlq_db_close(db);
}

/* With no room on disk a transaction fails whole, says why, and works again with room. */
static void test_full_disk(void **state)
{
    struct dlq_db *db = open_db();
    struct dlq_entry *e = calloc(20000, sizeof(*e));
    struct rlimit before, none;
    char why[256];
    uint64_t dropped = 77;

    (void)state;
    for (uint64_t i = 0; i < 20000; i++)
        e[i] = letter(1000 + i);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    none = (struct rlimit){.rlim_cur = 100 << 10, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    assert_true(dlq_db_intend(db, 90, e, 20000, 0) < 0);
    dlq_db_message(db, why, sizeof(why));
    assert_true(strlen(why) > strlen("dlq.db: "));
    assert_true(dlq_db_drop(db, e, 20000, 0, &dropped) < 0);
    assert_int_equal(dropped, 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(mark_of(db, 1000).state, DLQ_NEW);
    assert_int_equal(dlq_db_intend(db, 90, e, 20000, 0), 0);
    assert_int_equal(mark_of(db, 20999).state, DLQ_INTENT);
    free(e);
    dlq_db_close(db);
}

static void test_damaged(void **state)
{
    struct dlq_db *db = NULL;
    char path[96], error[256] = "";
    FILE *f;

    (void)state;
    snprintf(path, sizeof(path), "%s/damaged.db", dir);
    f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < 1000; i++)
        fputs("this is no database\n", f);
    fclose(f);
    assert_int_equal(dlq_db_open(path, &db, error, sizeof(error)), -EBADMSG);
    assert_non_null(strstr(error, "damaged.db cannot be used: "));
    snprintf(path, sizeof(path), "%s/none/dlq.db", dir);
    assert_true(dlq_db_open(path, &db, error, sizeof(error)) < 0);
    assert_null(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_edited_lines),
        cmocka_unit_test(test_id),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_wrong_options),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_settle),
        cmocka_unit_test(test_objects),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_damaged),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
