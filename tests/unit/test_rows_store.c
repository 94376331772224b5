/*
 * Goal: versions of columns are durable as they were made, or not there at all; what is damaged is
 * said so. Method: saves and reads in a folder, with files cut, changed and left half-made.
 */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "sinks/delivery/rows_store.h"

static char dir[64];
static char error[1024];

static struct {
    unsigned n;
    struct rows_file f[4];
} seen;

static int visit(void *ctx, struct rows_file *f)
{
    (void)ctx;
    assert_true(seen.n < 4);
    seen.f[seen.n++] = *f;
    return 0;
}

static int read_all(void)
{
    for (unsigned i = 0; i < seen.n; i++)
        rows_destroy(seen.f[i].rows);
    seen.n = 0;
    return rows_store_each(dir, visit, NULL, error, sizeof(error));
}

static struct rows *rows_of(const char *line)
{
    const struct rows_start start = {.columns_max = 100};
    struct rows *first = NULL, *grown = NULL;

    assert_int_equal(rows_start(&start, &first), 0);
    assert_int_equal(rows_grow(first, span_of(line), 0, &grown), 0);
    rows_destroy(first);
    return grown;
}

static int up(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/penstock-rows-XXXXXX");
    return mkdtemp(dir) == NULL ? -1 : 0;
}

/* The first name in the folder that ends so; the number of all names. */
static unsigned list(const char *end, char *path, size_t size)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    unsigned n = 0;

    assert_non_null(d);
    while ((e = readdir(d)) != NULL) {
        size_t len = strlen(e->d_name);

        n += e->d_name[0] != '.' ? 1 : 0;
        if (path != NULL && len > strlen(end) && strcmp(e->d_name + len - strlen(end), end) == 0)
            snprintf(path, size, "%s/%s", dir, e->d_name);
    }
    closedir(d);
    return n;
}

static int down(void **state)
{
    char path[512];

    (void)state;
    for (unsigned i = 0; i < seen.n; i++)
        rows_destroy(seen.f[i].rows);
    seen.n = 0;
    while (list("", path, sizeof(path)) > 0) {
        path[0] = '\0';
        list("s", path, sizeof(path));
        list("p", path[0] == '\0' ? path : NULL, sizeof(path));
        assert_int_equal(unlink(path), 0);
    }
    return rmdir(dir);
}

static void save(const char *table, uint32_t number, const char *line)
{
    struct rows_file f = {.number = number, .rows = rows_of(line)};

    snprintf(f.table, sizeof(f.table), "%s", table);
    assert_int_equal(rows_store_save(&storage_posix, dir, &f, error, sizeof(error)), 0);
    rows_destroy(f.rows);
}

static void what_was_saved_is_read(void **state)
{
    char longest[TABLE_NAME_BYTES_MAX];
    struct rows *rows = rows_of("{\"a-b\":1,\"b\":[\"x\"]}\n");

    (void)state;
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    save("orders", 3, "{\"a-b\":1,\"b\":[\"x\"]}\n");
    save(longest, 1, "{\"c\":true}\n");
    assert_int_equal(list("", NULL, 0), 2);
    assert_int_equal(read_all(), 0);
    assert_int_equal(seen.n, 2);
    for (unsigned i = 0; i < seen.n; i++) {
        const struct rows_file *f = &seen.f[i];

        if (f->number != 3) {
            assert_string_equal(f->table, longest);
            continue;
        }
        assert_string_equal(f->table, "orders");
        assert_int_equal(f->rows->hash, rows->hash);
        assert_string_equal(f->rows->schema->fields_json, rows->schema->fields_json);
        rows_store_remove(&storage_posix, dir, f);
    }
    rows_destroy(rows);
    assert_int_equal(list("", NULL, 0), 1);
}

static void what_was_interrupted_is_removed(void **state)
{
    char path[512];
    FILE *f;

    (void)state;
    snprintf(path, sizeof(path), "%s/orders-00000000-1-00000000.rows.tmp", dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs("PENSTOCK ROWS 1 1 0000", f);
    fclose(f);
    assert_int_equal(read_all(), 0);
    assert_int_equal(seen.n, 0);
    assert_int_equal(list("", NULL, 0), 0);
}

/* Whatever byte is changed or missing, it is damage: never another version. */
static void damage_is_said(void **state)
{
    char path[512] = "", content[4096];
    size_t len;
    FILE *f;

    (void)state;
    save("orders", 1, "{\"a\":1}\n");
    list(".rows", path, sizeof(path));
    f = fopen(path, "r+");
    assert_non_null(f);
    len = fread(content, 1, sizeof(content), f);
    for (size_t i = 0; i < len; i++) {
        if (content[i] == ' ')
            continue; /* scanf() takes any white space between words */
        fseek(f, (long)i, SEEK_SET);
        fputc(content[i] ^ 1, f);
        fflush(f);
        if (read_all() != -EUCLEAN)
            fail_msg("byte %zu of %zu changed, and read: %s", i, len, error);
        assert_non_null(strstr(error, path));
        fseek(f, (long)i, SEEK_SET);
        fputc(content[i], f);
        fflush(f);
    }
    assert_int_equal(read_all(), 0);
    for (size_t cut = 0; cut < len; cut += 7) {
        assert_int_equal(ftruncate(fileno(f), (off_t)cut), 0);
        assert_int_equal(read_all(), -EUCLEAN);
    }
    fclose(f);
}

static void errors_name_the_file(void **state)
{
    struct rows_file f = {.number = 1, .rows = rows_of("{\"a\":1}\n")};
    char none[80];

    (void)state;
    snprintf(f.table, sizeof(f.table), "orders");
    snprintf(none, sizeof(none), "%s/none", dir);
    assert_int_equal(rows_store_save(&storage_posix, none, &f, error, sizeof(error)), -ENOENT);
    assert_non_null(strstr(error, "/none/orders-"));
    assert_int_equal(rows_store_each(none, visit, NULL, error, sizeof(error)), -ENOENT);
    rows_destroy(f.rows);
}

static int no_space(void *ctx, int fd)
{
    (void)ctx;
    (void)fd;
    return -ENOSPC;
}

/* Every try names another version: half-made files would fill the disk further. */
static void what_failed_is_removed(void **state)
{
    struct rows_file f = {.number = 1, .table = "orders", .rows = rows_of("{\"a\":1}\n")};
    struct storage_ops ops = *storage_posix.ops;
    const struct storage full = {.ops = &ops, .ctx = storage_posix.ctx};

    (void)state;
    ops.sync = no_space;
    assert_int_equal(rows_store_save(&full, dir, &f, error, sizeof(error)), -ENOSPC);
    assert_int_equal(list("", NULL, 0), 0);
    rows_destroy(f.rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_saved_is_read, up, down),
        cmocka_unit_test_setup_teardown(what_was_interrupted_is_removed, up, down),
        cmocka_unit_test_setup_teardown(damage_is_said, up, down),
        cmocka_unit_test_setup_teardown(errors_name_the_file, up, down),
        cmocka_unit_test_setup_teardown(what_failed_is_removed, up, down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
