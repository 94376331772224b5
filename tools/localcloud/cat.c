// Role: --cat. Reads storage.db read-only, so that a server may run beside it.
#include "tools/localcloud/cat.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "tools/localcloud/db.h"
#include "tools/localcloud/util.h"

enum { CAT_GOOD = 0, CAT_FAILED = 1, CAT_USAGE = 2, CHUNK_BYTES = 65536 };

// zlib passes plain bytes through as they are.
static bool print_file(const char *path)
{
    static char chunk[CHUNK_BYTES];
    gzFile in = gzopen(path, "rb");
    int n = in ? 0 : -1;
    while (in && (n = gzread(in, chunk, sizeof chunk)) > 0)
        if (fwrite(chunk, 1, (size_t)n, stdout) != (size_t)n)
            break;
    bool good = n == 0;
    if (in && gzclose(in) != Z_OK)
        good = false;
    return good;
}

static int print_objects(sqlite3 *db, const char *data_dir, const char *bucket, const char *prefix)
{
    int rc = CAT_GOOD;
    sqlite3_stmt *st = lc_db_query(
        db, "SELECT name, generation FROM objects WHERE bucket = ? AND name >= ? ORDER BY name",
        "ss", bucket, prefix);
    while (rc == CAT_GOOD && sqlite3_step(st) == SQLITE_ROW) {
        const char *name = lc_db_text(st, 0);
        long long generation = sqlite3_column_int64(st, 1);
        if (!lc_starts_with(name, prefix))
            break;
        char *path =
            lc_format("%s/objects/%02x/%lld", data_dir, (unsigned)(generation & 255), generation);
        if (!print_file(path)) {
            fprintf(stderr, "localcloud: --cat: gs://%s/%s cannot be read\n", bucket, name);
            rc = CAT_FAILED;
        }
        free(path);
    }
    sqlite3_finalize(st);
    return rc;
}

int lc_cat(const char *data_dir, const char *url)
{
    assert(data_dir && url);
    const char *slash = lc_starts_with(url, "gs://") ? strchr(url + 5, '/') : NULL;
    if (!slash || slash == url + 5) {
        fputs("localcloud: --cat wants gs://BUCKET/PREFIX\n", stderr);
        return CAT_USAGE;
    }
    sqlite3 *db = lc_db_open_readonly(data_dir, "storage.db");
    if (!db) {
        fprintf(stderr, "localcloud: --cat: no objects in %s\n", data_dir);
        return CAT_FAILED;
    }
    char *bucket = lc_strndup(url + 5, (size_t)(slash - url) - 5);
    int rc = CAT_FAILED;
    if (lc_db_i64(db, 0, "SELECT COUNT(*) FROM buckets WHERE name = ?", "s", bucket))
        rc = print_objects(db, data_dir, bucket, slash + 1);
    else
        fprintf(stderr, "localcloud: --cat: there is no bucket %s\n", bucket);
    if (fflush(stdout))
        rc = CAT_FAILED;
    free(bucket);
    sqlite3_close(db);
    return rc;
}
