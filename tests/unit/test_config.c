/*
 * Goal: a configuration is read as written, every mistake is reported at once with its place, and
 * the one knob table, the documentation and the example file agree. Method: texts in memory and the
 * repository's own files; the environment is set and cleared here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "control/config_fill.h"
#include "control/knobs.h"
#include "control/values.h"

#define BASE "gcs: {bucket: my-bucket}\nbigquery: {project: my-project}\n"

static struct textbuf problems;

static int load_sets(const char *text, const char *const *sets, uint32_t n, struct config **out)
{
    struct config_source s = {.file = "t.yaml",
                              .text = text,
                              .text_len = strlen(text),
                              .sets = sets,
                              .n_sets = n,
                              .no_schemas = true};

    textbuf_fini(&problems);
    return config_load(&s, out, &problems);
}

static int load(const char *text, struct config **out)
{
    return load_sets(text, NULL, 0, out);
}

/* Loads text that must be valid. */
static struct config *valid(const char *text)
{
    struct config *c = NULL;

    if (load(text, &c) != 0)
        fail_msg("unexpected: %s", textbuf_str(&problems));
    assert_non_null(c);
    assert_int_equal(problems.len, 0);
    return c;
}

/* Loads text that must be refused with this line. */
static void refused(const char *text, const char *line)
{
    struct config *c = NULL;
    struct textbuf all = {0};

    textbuf_add(&all, "%s%s", BASE, text);
    assert_int_not_equal(load(textbuf_str(&all), &c), 0);
    assert_null(c);
    if (strstr(textbuf_str(&problems), line) == NULL)
        fail_msg("wanted: %s\nfound: %s", line, textbuf_str(&problems));
    textbuf_fini(&all);
}

static void defaults(void **state)
{
    struct config *c = valid(BASE);
    struct worker_config w;
    struct sink_config s;
    struct bq_label labels[BQ_LABELS_MAX];

    (void)state;
    assert_int_equal(c->workers, 1);
    assert_int_equal(c->http_body_max, 16 << 20);
    assert_int_equal(c->group_age_max, 60000000);
    assert_string_equal(c->http_listen, "127.0.0.1:8080");
    assert_string_equal(c->bigquery_dataset, "prod_events_dataset");
    assert_string_equal(c->control_socket, "/var/lib/penstock/penstock.sock");
    assert_true(c->node[0] != '\0');
    config_fill_worker(c, 0, &w);
    assert_int_equal(w.blocks, 32);
    assert_int_equal(w.idle_timeout_ms, 75000);
    assert_false(w.durability_memory);
    config_fill_sink(c, 0, labels, &s);
    assert_int_equal(s.load_cadence_us, 120000000);
    assert_int_equal(s.bq.table_expiration_ms, INT64_C(90) * 86400 * 1000);
    assert_int_equal(s.bq.n_labels, 4);
    assert_null(s.auth.token_file);
    config_destroy(c);
}

static void values_are_read(void **state)
{
    struct config *c =
        valid(BASE "workers: [3, 1]\nhttp:\n  listen: '[::1]:99'\n  body_max: 2MB\n"
                   "journal: {limit: 8GiB}\ntypes:\n  unlisted: dead_letter\n  lateness: 90m\n"
                   "eal: {args: [--a, b], huge_pages: off}\nworker.spin: yes\n"
                   "durability: memory\nlog: {level: warn}\n");

    (void)state;
    assert_int_equal(c->workers, 2);
    assert_int_equal(c->core[0], 3);
    assert_int_equal(c->core[1], 1);
    assert_int_equal(c->http_body_max, 2000000);
    assert_int_equal(c->http_address.ss_family, AF_INET6);
    assert_int_equal(c->types.unlisted, UNLISTED_DEAD_LETTER);
    assert_int_equal(c->types.lateness_us, INT64_C(5400) * 1000000);
    assert_int_equal(c->eal_args.n, 2);
    assert_string_equal(c->eal_args.item[1], "b");
    assert_int_equal(c->eal_huge_pages, HUGE_PAGES_OFF);
    assert_true(c->worker_spin);
    assert_int_equal(c->durability, DURABILITY_MEMORY);
    assert_int_equal(c->log_level, 2);
    config_destroy(c);
}

/* Neither bucket nor project is needed, and neither is used when it is there. */
static void discarding_needs_no_cloud(void **state)
{
    struct config *c = valid("sinks.discard: true\n");
    struct sink_config s;
    struct bq_label labels[BQ_LABELS_MAX];

    (void)state;
    assert_false(c->gcs_enabled);
    config_destroy(c);
    c = valid(BASE "sinks.discard: true\ntypes: {list: [{name: a, method: insert_all}]}\n");
    config_fill_sink(c, 0, labels, &s);
    assert_true(s.discard);
    assert_false(s.bigquery_enabled);
    assert_null(s.auth.endpoints[0]);
    config_destroy(c);
}

static void rows_are_asked_for(void **state)
{
    struct config *c = valid(BASE "types:\n  unlisted: infer\n  list:\n    - {name: a, schema: "
                                  "infer, clustering: [b]}\n    - {name: b}\n");

    (void)state;
    assert_int_equal(c->types.unlisted, UNLISTED_INFER);
    assert_int_equal(c->schema_columns_max, 2000);
    assert_null(c->types.type[0].schema);
    assert_true(type_has_rows(&c->types, &c->types.type[0]));
    assert_false(type_has_rows(&c->types, &c->types.type[1]));
    assert_true(type_has_rows(&c->types, NULL));
    config_destroy(c);
}

static void each_mistake(void **state)
{
    static const struct {
        const char *text, *line;
    } cases[] = {
        {"workers: 0\n", "t.yaml:3: workers: found \"0\"; allowed: a whole number from 1 to 64"},
        {"workers: [1, 1]\n", "workers: core 1 twice"},
        {"workers: [x]\n", "workers: found \"x\"; allowed: a core's number"},
        {"http: {body_max: 12 bananas}\n",
         "t.yaml:3: http.body_max: found \"12 bananas\"; allowed: a size from 64KiB"},
        {"http: {event_max: 1}\n",
         "http.event_max: found \"1\"; allowed: a size from 1KiB to 64MiB"},
        {"http: {idle_timeout: 5}\n",
         "http.idle_timeout: found \"5\"; allowed: a duration from 1s to 1d"},
        {"http: {listen: nowhere}\n", "http.listen: found \"nowhere\"; allowed: host:port"},
        {"http: {listen: '1.2.3.4:70000'}\n", "http.listen: found"},
        {"http: {lisen: '1.2.3.4:1'}\n", "http.lisen: unknown key; did you mean \"http.listen\"?"},
        {"htpp: {listen: '1.2.3.4:1'}\n", "t.yaml:3: htpp: unknown key"},
        {"http: 3\n", "http: found \"3\"; allowed: a map of keys"},
        {"http: [a]\n", "http: found \"a list\"; allowed: a map of keys"},
        {"durability: none\n", "durability: found \"none\"; allowed: one of disk|memory"},
        {"worker: {spin: maybe}\n", "worker.spin: found \"maybe\"; allowed: true or false"},
        {"worker: {spin: [a]}\n", "worker.spin: found \"a list\""},
        {"node: Node_1\n", "node: found \"Node_1\"; allowed: a-z, 0-9 and '-'"},
        {"journal: {segment: 8193KiB}\n",
         "journal.segment: found 8389632 bytes; allowed: a multiple of 4KiB"},
        {"journal: {limit: 128MiB}\n", "journal.limit: 1 workers share it"},
        {"workers: 16\njournal: {limit: 1GiB, segment: 64MiB}\n",
         "journal.limit: 16 workers share it"},
        {"group: {memory: 63MiB}\n", "group.memory: found \"63MiB\"; allowed: a size from 64MiB"},
        {"group: {memory: 64MiB}\n",
         "group.bytes_max: found 67108864 bytes; allowed: at most half of group.memory"},
        {"block: {count: 4}\n",
         "http.body_max: found 16777216 bytes; allowed: at most (block.count - 2)"},
        {"block: {lane_max: 31}\n", "block.lane_max: found 31; allowed: at most block.count - 2"},
        {"input: {receive_buffers: 100}\n",
         "input.receive_buffers: found 100; allowed: a power of two"},
        {"http: {event_max: 32MiB}\n",
         "http.event_max: found 33554432 bytes; allowed: at most http.body_max"},
        {"gcs.endpoint: example.com\n",
         "gcs.endpoint: found \"example.com\"; allowed: http:// or https://"},
        {"gcs.endpoint: http://h/path\n", "gcs.endpoint: found \"http://h/path\""},
        {"gcs.enabled: false\n", "gcs.enabled: found \"false\"; allowed: true"},
        {"bigquery.labels: {Team: x}\n", "bigquery.labels: found \"Team\""},
        {"bigquery.labels: {a: [b]}\n", "bigquery.labels: found \"a map of something else\""},
        {"bigquery.labels: {a: b, a: c}\n", "\"a\" twice"},
        {"node: a\nnode: b\n", "t.yaml:4: node: given twice; first in line 3"},
        {"types.field: a..b\n", "types.field: found \"a..b\"; allowed: 1 to 4 names"},
        {"types: {list: [3]}\n",
         "types.list[0]: found \"text with a zero byte\"; allowed: a map with a name"},
        {"types: {list: [{table: t}]}\n", "types.list[0].name: found \"\""},
        {"types: {list: [{name: a, tabel: t}]}\n",
         "types.list[0].tabel: unknown key; did you mean \"table\"?"},
        {"types: {list: [{name: a}, {name: a}]}\n", "types.list: \"a\" twice"},
        {"types: {list: [{name: a, name: b}]}\n",
         "types.list[0].name: found \"the key twice\"; allowed: each key once"},
        {"types: {list: [{name: a, table: 'x y'}]}\n", "types.list[0].table: found \"x y\""},
        {"types: {list: [{name: a, dedupe: id}]}\n",
         "types.list[0].dedupe: found \"id\"; allowed: a map of field, window and ids_max"},
        {"types: {list: [{name: a, dedupe: {window: 1h}}]}\n",
         "types.list[0].dedupe.field: found \"\"; allowed: the path of the id"},
        {"types: {list: [{name: a, dedupe: {field: id, window: 8d}}]}\n",
         "types.list[0].dedupe.window: found \"8d\"; allowed: a duration from 1s to 7d"},
        {"types: {list: [{name: a, dedupe: {field: id, ids_max: 10}}]}\n",
         "types.list[0].dedupe.ids_max: found \"10\""},
        {"types: {list: [{name: a, dedupe: {field: id, size: 10}}]}\n",
         "types.list[0].dedupe: found \"size\"; allowed: field, window and ids_max"},
        {"types: {list: [{name: a, dedupe: {field: id, field: n}}]}\n",
         "types.list[0].dedupe: found \"field\"; allowed: each of field, window and ids_max once"},
        {"types: {list: [{name: a, dedupe: {field: penstock_id}}]}\n",
         "types.list[0].dedupe.field: found \"penstock_id\"; allowed: a field of the events"},
        {"types: {list: [{name: a, dedupe: {field: a.b.c.d.e}}]}\n",
         "types.list[0].dedupe.field: found \"a.b.c.d.e\""},
        {"types: {list: [{name: a, unknown_fields: drop}]}\n",
         "types.list[0].unknown_fields: found \"drop\""},
        {"types: {list: [{name: a, schema: infer, unknown_fields: overflow}]}\n",
         "types.list[0].unknown_fields: found \"schema: infer beside it\"; allowed: unknown_fields "
         "with a schema file"},
        {"types: {list: [{name: a, unknown_fields: add_column}]}\n",
         "types.list[0].unknown_fields: found \"add_column\"; allowed: add_column with a schema "
         "file"},
        {"types.unlisted: guess\n",
         "types.unlisted: found \"guess\"; allowed: one of json|infer|dead_letter"},
        {"schema.columns_max: 10001\n", "schema.columns_max: found \"10001\""},
        {"types: {list: [{name: a, clustering: [a, b, c, d, e]}]}\n",
         "types.list[0].clustering: found \"a longer list\""},
        {"types: {list: {name: a}}\n", "types.list: found \"a map\"; allowed: a list of maps"},
        {"log: {level: loud}\n",
         "log.level: found \"loud\"; allowed: one of debug|info|warn|error"},
        {"eal: {args: x}\n", "eal.args: found \"x\"; allowed: a list"},
        {"? [a]\n: b\n", "found a list as a key; allowed: text"},
        {"--- \na: b\n", "found a second document; allowed: one"},
        {"a: [\n", "not valid YAML"},
        {"data_dir: ''\n", "data_dir: found \"\"; allowed: text of 1 to 4000 bytes"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        refused(cases[i].text, cases[i].line);
}

static void all_at_once(void **state)
{
    const char *text = "workers: none\nhttp:\n  lisen: 127.0.0.1:1\n  body_max: 1\ndurability: x\n";
    const char *sets[] = {"log.level=loud", "no.such=1", "noequals"};
    struct config *c = NULL;
    const char *found;

    (void)state;
    assert_int_not_equal(load_sets(text, sets, 3, &c), 0);
    found = textbuf_str(&problems);
    assert_non_null(strstr(found, "t.yaml:1: workers: "));
    assert_non_null(strstr(found, "t.yaml:3: http.lisen: "));
    assert_non_null(strstr(found, "t.yaml:4: http.body_max: "));
    assert_non_null(strstr(found, "t.yaml:5: durability: "));
    assert_non_null(strstr(found, "--set: log.level: "));
    assert_non_null(strstr(found, "--set: no.such: unknown key"));
    assert_non_null(strstr(found, "--set: found \"noequals\"; allowed: key=value"));
    assert_non_null(strstr(found, "gcs.bucket: found \"\""));
    assert_non_null(strstr(found, "bigquery.project: found \"\""));
}

static void not_a_map(void **state)
{
    struct config *c = NULL;

    (void)state;
    assert_int_not_equal(load("", &c), 0);
    assert_non_null(strstr(textbuf_str(&problems), "the file is empty"));
    assert_null(
        strstr(textbuf_str(&problems), "gcs.bucket")); /* what the file may say is unknown */
    assert_int_not_equal(load("- a\n", &c), 0);
    assert_non_null(
        strstr(textbuf_str(&problems), "t.yaml:1: found a list; allowed: a map of keys"));
    assert_int_not_equal(load("&a {http: *a}\n", &c), 0); /* contains itself: must end */
}

static void sets_win(void **state)
{
    const char *sets[] = {"workers=2,4",    "http.listen=0.0.0.0:1", "bigquery.labels=a=b,c=d",
                          "eal.args=-x,-y", "group.age_max=10ms",    "http.listen=127.0.0.1:2"};
    struct config *c = NULL;

    (void)state;
    assert_int_equal(
        load_sets(BASE "workers: 3\nhttp: {listen: '127.0.0.1:9'}\n", sets, ARRAY_LEN(sets), &c),
        0);
    assert_int_equal(c->workers, 2);
    assert_int_equal(c->core[1], 4);
    assert_string_equal(c->http_listen, "127.0.0.1:2");
    assert_int_equal(c->bigquery_labels.n, 2);
    assert_string_equal(c->bigquery_labels.value[1], "d");
    assert_int_equal(c->eal_args.n, 2);
    assert_int_equal(c->group_age_max, 10000);
    config_destroy(c);
    sets[0] = "types.list=x";
    assert_int_not_equal(load_sets(BASE, sets, 1, &c), 0);
    assert_non_null(
        strstr(textbuf_str(&problems), "types.list: found \"x\"; allowed: a list of maps"));
}

static void environment(void **state)
{
    struct config *c;

    (void)state;
    setenv("STORAGE_EMULATOR_HOST", "localhost:9199/some/path", 1);
    setenv("BIGQUERY_EMULATOR_HOST", "https://bq.local:1/", 1);
    setenv("GOOGLE_CLOUD_PROJECT", "env-project", 1);
    c = valid("gcs: {bucket: bbb}\n");
    assert_string_equal(c->gcs_endpoint, "http://localhost:9199");
    assert_string_equal(c->bigquery_endpoint, "https://bq.local:1");
    assert_string_equal(c->bigquery_project, "env-project");
    config_destroy(c);
    c = valid(
        "gcs: {bucket: bbb, endpoint: 'http://config:1'}\nbigquery: {project: from-config}\n");
    assert_string_equal(c->gcs_endpoint, "http://config:1");
    assert_string_equal(c->bigquery_project, "from-config");
    config_destroy(c);
    unsetenv("STORAGE_EMULATOR_HOST");
    unsetenv("BIGQUERY_EMULATOR_HOST");
    unsetenv("GOOGLE_CLOUD_PROJECT");
}

static void schemas_are_checked(void **state)
{
    char dir[] = "/tmp/penstock-config-XXXXXX", file[64], schema[64];
    struct config_source s = {.file = file};
    struct config *c = NULL;
    FILE *f;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof(file), "%s/c.yaml", dir);
    snprintf(schema, sizeof(schema), "%s/s.json", dir);
    f = fopen(schema, "w");
    assert_non_null(f);
    fputs("[{\"name\":\"a\",\"type\":\"STRING\"},{\"name\":\"r\",\"type\":\"STRING\",\"mode\":"
          "\"REPEATED\"},"
          "{\"name\":\"b\",\"type\":\"BOOLEAN\"}]",
          f);
    fclose(f);
    f = fopen(file, "w");
    assert_non_null(f);
    fputs(BASE "types:\n  list:\n    - {name: one, schema: s.json, clustering: [a, r, nope], "
               "time_field: b}\n"
               "    - {name: two, schema: s.json, time_field: when}\n    - {name: three, schema: "
               "none.json}\n",
          f);
    fclose(f);
    textbuf_fini(&problems);
    assert_int_not_equal(config_load(&s, &c, &problems), 0);
    assert_non_null(strstr(textbuf_str(&problems), "types.list[0].clustering: found \"r\""));
    assert_non_null(strstr(textbuf_str(&problems), "types.list[0].clustering: found \"nope\""));
    assert_non_null(strstr(textbuf_str(&problems), "types.list[0].time_field: found \"b\""));
    assert_non_null(strstr(textbuf_str(&problems), "types.list[1].time_field: found \"when\""));
    assert_non_null(strstr(textbuf_str(&problems), "none.json"));
    unlink(file);
    unlink(schema);
    rmdir(dir);
}

static void write_text(const char *dir, const char *name, const char *text)
{
    char path[128];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* Types with the same columns have one schema, others have their own; names lead to their types. */
static void schemas_are_shared(void **state)
{
    static const char *const files[] = {"a.json", "b.json", "c.json", "d.json", "c.yaml"};
    char dir[] = "/tmp/penstock-config-XXXXXX", file[64];
    struct config_source s = {.file = file};
    const struct type_config *t;
    struct config *c = NULL;

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof(file), "%s/c.yaml", dir);
    write_text(dir, "a.json", "[{\"name\":\"a\",\"type\":\"STRING\"}]");
    write_text(dir, "b.json", "[ {\"name\": \"a\", \"type\":\"STRING\"}\n]");
    write_text(dir, "c.json", "[{\"name\":\"a\",\"type\":\"STRING\",\"maxLength\":\"7\"}]");
    write_text(dir, "d.json", "[{\"name\":\"a\",\"type\":\"STRING\",\"mode\":\"REQUIRED\"}]");
    write_text(dir, "c.yaml",
               BASE "types:\n  list:\n    - {name: z, schema: a.json}\n    - {name: k}\n"
                    "    - {name: k.b, schema: b.json}\n    - {name: c, schema: c.json}\n"
                    "    - {name: d, schema: d.json}\n    - {name: a, schema: c.json}\n");
    textbuf_fini(&problems);
    if (config_load(&s, &c, &problems) != 0)
        fail_msg("%s", textbuf_str(&problems));
    t = c->types.type;
    assert_ptr_equal(t[0].schema, t[2].schema);
    assert_ptr_equal(t[3].schema, t[5].schema);
    assert_ptr_not_equal(t[0].schema, t[3].schema);
    assert_ptr_not_equal(t[0].schema, t[4].schema);
    assert_ptr_not_equal(t[3].schema, t[4].schema);
    for (uint32_t i = 0; i < c->types.n_types; i++)
        assert_ptr_equal(type_find(&c->types, span_of(t[i].name)), &t[i]);
    assert_null(type_find(&c->types, span_of("k.")));
    assert_null(type_find(&c->types, span_of("zz")));
    assert_null(type_find(&c->types, (struct span){.ptr = "z", .len = 2}));
    assert_null(type_find(&c->types, (struct span){.ptr = NULL, .len = 0}));
    config_destroy(c);
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        snprintf(file, sizeof(file), "%s/%s", dir, files[i]);
        unlink(file);
    }
    rmdir(dir);
}

/* Reads a file of the repository; tests run at its top. */
static void slurp(const char *file, struct textbuf *out)
{
    FILE *f = fopen(file, "r");
    char buf[4096];
    size_t n;

    if (f == NULL)
        fail_msg("%s is missing: run at the top of the repository", file);
    while ((n = fread(buf, 1, sizeof(buf), f)) > 0)
        textbuf_bytes(out, buf, n);
    fclose(f);
}

static void docs_are_current(void **state)
{
    struct textbuf docs = {0}, file = {0};

    (void)state;
    config_print_docs(&docs);
    slurp("docs/configuration.md", &file);
    if (strcmp(textbuf_str(&docs), textbuf_str(&file)) != 0)
        fail_msg(
            "docs/configuration.md is old: penstockd --print-config-docs > docs/configuration.md");
    textbuf_fini(&docs);
    textbuf_fini(&file);
}

static void example_names_every_knob(void **state)
{
    struct config_source s = {.file = "config/penstock.yaml"};
    struct config *c = NULL;
    uint32_t n;
    const struct knob *k = knobs_all(&n);

    (void)state;
    textbuf_fini(&problems);
    if (config_load(&s, &c, &problems) != 0)
        fail_msg("%s", textbuf_str(&problems));
    for (uint32_t i = 0; i < n; i++) {
        if (c->origin[i].line == 0)
            fail_msg("config/penstock.yaml lacks %s", k[i].name);
    }
    config_destroy(c);
}

static void demo_is_valid(void **state)
{
    struct config_source s = {.file = "config/local.yaml"};
    struct config *c = NULL;

    (void)state;
    textbuf_fini(&problems);
    if (config_load(&s, &c, &problems) != 0)
        fail_msg("%s", textbuf_str(&problems));
    assert_int_equal(c->types.n_types, 3);
    assert_non_null(c->types.type[0].schema);
    assert_string_equal(c->types.type[0].clustering[1], "status");
    assert_string_equal(c->bigquery_dataset, "dev_events_dataset");
    config_destroy(c);
}

static void knobs_are_sound(void **state)
{
    uint32_t n;
    const struct knob *k = knobs_all(&n);

    (void)state;
    for (uint32_t i = 0; i < n; i++) {
        struct textbuf allowed = {0};

        assert_int_equal(knob_index(k[i].name), (int)i);
        assert_true(k[i].min <= k[i].max);
        assert_true(strlen(k[i].help) > 10);
        knob_allowed(&k[i], &allowed);
        assert_true(allowed.len > 0);
        textbuf_fini(&allowed);
    }
}

static void values(void **state)
{
    uint64_t v;
    struct sockaddr_storage a;
    char text[VALUE_ADDRESS_BYTES];

    (void)state;
    assert_int_equal(value_size("3 GiB", &v), 0);
    assert_true(v == UINT64_C(3) << 30);
    assert_int_not_equal(value_size("-1", &v), 0);
    assert_int_not_equal(value_size("1.5MiB", &v), 0);
    assert_int_not_equal(value_size("99999999999TiB", &v), 0);
    assert_int_not_equal(value_count("18446744073709551616", &v), 0);
    assert_int_equal(value_count("18446744073709551615", &v), 0);
    assert_int_equal(value_duration("0", &v), 0);
    assert_int_not_equal(value_duration("", &v), 0);
    assert_int_equal(value_address("localhost:80", &a), 0);
    value_address_format(&a, text);
    assert_string_equal(text, "127.0.0.1:80");
    assert_int_equal(value_address("[::1]:443", &a), 0);
    value_address_format(&a, text);
    assert_string_equal(text, "[::1]:443");
    assert_int_not_equal(value_address("[]:1", &a), 0);
    assert_int_not_equal(value_address(":1", &a), 0);
    assert_int_not_equal(value_address("1.2.3.4:", &a), 0);
}

static int cleanup(void **state)
{
    (void)state;
    textbuf_fini(&problems);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(values_are_read),
        cmocka_unit_test(discarding_needs_no_cloud),
        cmocka_unit_test(rows_are_asked_for),
        cmocka_unit_test(each_mistake),
        cmocka_unit_test(all_at_once),
        cmocka_unit_test(not_a_map),
        cmocka_unit_test(sets_win),
        cmocka_unit_test(environment),
        cmocka_unit_test(schemas_are_checked),
        cmocka_unit_test(schemas_are_shared),
        cmocka_unit_test(docs_are_current),
        cmocka_unit_test(example_names_every_knob),
        cmocka_unit_test(demo_is_valid),
        cmocka_unit_test(knobs_are_sound),
        cmocka_unit_test(values),
    };

    unsetenv("STORAGE_EMULATOR_HOST");
    unsetenv("BIGQUERY_EMULATOR_HOST");
    unsetenv("GOOGLE_CLOUD_PROJECT");
    return cmocka_run_group_tests(tests, NULL, cleanup);
}
