// Role: opening the store, looking objects up, and what load jobs need of it.
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/localcloud/storage_internal.h"

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS buckets(name TEXT PRIMARY KEY, project TEXT NOT NULL, body TEXT "
    "NOT NULL,"
    " created_us INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS objects(bucket TEXT NOT NULL, name TEXT NOT NULL, generation "
    "INTEGER NOT NULL,"
    " metageneration INTEGER NOT NULL, size INTEGER NOT NULL, crc32c INTEGER NOT NULL, md5 TEXT "
    "NOT NULL,"
    " meta TEXT NOT NULL, created_us INTEGER NOT NULL, updated_us INTEGER NOT NULL,"
    " PRIMARY KEY(bucket, name)) WITHOUT ROWID;"
    "CREATE UNIQUE INDEX IF NOT EXISTS objects_generation ON objects(generation);"
    "CREATE TABLE IF NOT EXISTS sessions(id TEXT PRIMARY KEY, owner TEXT NOT NULL, body TEXT NOT "
    "NULL, total INTEGER NOT NULL, persisted INTEGER NOT NULL, state INTEGER NOT NULL,"
    " result TEXT, created_us INTEGER NOT NULL) WITHOUT ROWID;";

static bool make_directories(const char *dir)
{
    if (mkdir(dir, 0777) && errno != EEXIST)
        return false;
    char *objects = lc_format("%s/objects", dir);
    static const char *const names[] = {"objects", "tmp", "uploads"};
    bool ok = true;
    for (size_t i = 0; ok && i < LC_ARRAY_LEN(names); i++) {
        char *sub = lc_format("%s/%s", dir, names[i]);
        ok = mkdir(sub, 0777) == 0 || errno == EEXIST;
        free(sub);
    }
    for (unsigned i = 0; ok && i < 256; i++) {
        char *sub = lc_format("%s/%02x", objects, i);
        ok = mkdir(sub, 0777) == 0 || errno == EEXIST;
        free(sub);
    }
    free(objects);
    return ok;
}

void lc_sweep_directory(struct lc_storage *s, const char *dir, const char *sql)
{
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        if (!sql || !lc_db_i64(s->db, 0, sql, "s", e->d_name))
            unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d)
        closedir(d);
}

static void sweep(struct lc_storage *s)
{
    char *temp = lc_format("%s/tmp", s->dir);
    lc_sweep_directory(s, temp, NULL);
    free(temp);
    for (unsigned i = 0; i < 256; i++) {
        char *sub = lc_format("%s/objects/%02x", s->dir, i);
        lc_sweep_directory(s, sub, "SELECT 1 FROM objects WHERE generation = ?");
        free(sub);
    }
    lc_session_sweep(s);
}

struct lc_storage *lc_storage_open(const char *dir, char *err, size_t err_size)
{
    if (!make_directories(dir)) {
        snprintf(err, err_size, "--data %s: %s", dir, strerror(errno));
        return NULL;
    }
    struct lc_storage *s = lc_alloc(sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->session_lock, NULL);
    s->dir = lc_strdup(dir);
    s->db = lc_db_open(dir, "storage.db", schema, err, err_size);
    if (!s->db) {
        lc_storage_close(s);
        return NULL;
    }
    s->last_generation = lc_db_i64(s->db, 0, "SELECT max(generation) FROM objects", "");
    sweep(s);
    return s;
}

void lc_storage_close(struct lc_storage *s)
{
    if (!s)
        return;
    sqlite3_close(s->db);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->session_lock);
    free(s->dir);
    free(s);
}

void lc_storage_stats(struct lc_storage *s, json_t *out)
{
    pthread_mutex_lock(&s->lock);
    json_int_t objects = lc_db_i64(s->db, 0, "SELECT count(*) FROM objects", "");
    json_int_t bytes = lc_db_i64(s->db, 0, "SELECT coalesce(sum(size), 0) FROM objects", "");
    pthread_mutex_unlock(&s->lock);
    json_object_set_new(out, "objects", json_integer(objects));
    json_object_set_new(out, "object_bytes", json_integer(bytes));
}

void lc_object_read(sqlite3_stmt *st, struct lc_object *o)
{
    *o = (struct lc_object){
        .bucket = lc_strdup(lc_db_text(st, 0)),
        .name = lc_strdup(lc_db_text(st, 1)),
        .generation = sqlite3_column_int64(st, 2),
        .metageneration = sqlite3_column_int64(st, 3),
        .size = sqlite3_column_int64(st, 4),
        .crc32c = (uint32_t)sqlite3_column_int64(st, 5),
        .md5 = lc_strdup(lc_db_text(st, 6)),
        .meta = json_loads(lc_db_text(st, 7), 0, NULL),
        .created_us = sqlite3_column_int64(st, 8),
        .updated_us = sqlite3_column_int64(st, 9),
    };
    assert(o->meta);
}

void lc_object_fini(struct lc_object *o)
{
    free(o->bucket);
    free(o->name);
    free(o->md5);
    json_decref(o->meta);
    *o = (struct lc_object){0};
}

bool lc_object_find(struct lc_storage *s, const char *bucket, const char *name, struct lc_object *o)
{
    sqlite3_stmt *st = lc_db_query(
        s->db, "SELECT " LC_OBJECT_COLUMNS " FROM objects WHERE bucket = ? AND name = ?", "ss",
        bucket, name);
    bool found = sqlite3_step(st) == SQLITE_ROW;
    if (found)
        lc_object_read(st, o);
    sqlite3_finalize(st);
    return found;
}

bool lc_bucket_exists(struct lc_storage *s, const char *bucket)
{
    return lc_db_i64(s->db, 0, "SELECT 1 FROM buckets WHERE name = ?", "s", bucket) == 1;
}

char *lc_object_path(const struct lc_storage *s, int64_t generation)
{
    return lc_format("%s/objects/%02x/%lld", s->dir, (unsigned)(generation & 255),
                     (long long)generation);
}

int lc_storage_open_object(struct lc_storage *s, const char *bucket, const char *name)
{
    pthread_mutex_lock(&s->lock); // held over open: a replaced object's file goes away under it
    int64_t generation =
        lc_db_i64(s->db, -1, "SELECT generation FROM objects WHERE bucket = ? AND name = ?", "ss",
                  bucket, name);
    int fd = -1;
    if (generation >= 0) {
        char *path = lc_object_path(s, generation);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        free(path);
    }
    pthread_mutex_unlock(&s->lock);
    return fd;
}

static bool ends_with(const char *s, size_t prefix_n, const char *suffix)
{
    size_t n = strlen(s), suffix_n = strlen(suffix);
    return n >= prefix_n + suffix_n && strcmp(s + n - suffix_n, suffix) == 0;
}

json_t *lc_storage_match(struct lc_storage *s, const char *bucket, const char *prefix,
                         const char *suffix)
{
    json_t *out = NULL;
    size_t prefix_n = strlen(prefix);
    pthread_mutex_lock(&s->lock);
    if (lc_bucket_exists(s, bucket)) {
        out = json_array();
        sqlite3_stmt *st = lc_db_query(
            s->db, "SELECT name, size FROM objects WHERE bucket = ? AND name >= ? ORDER BY name",
            "ss", bucket, prefix);
        while (sqlite3_step(st) == SQLITE_ROW) {
            const char *name = lc_db_text(st, 0);
            bool fits = suffix ? lc_starts_with(name, prefix) : strcmp(name, prefix) == 0;
            if (!fits)
                break;
            if (!suffix || ends_with(name, prefix_n, suffix))
                json_array_append_new(out, json_pack("{s:s,s:I}", "name", name, "size",
                                                     (json_int_t)sqlite3_column_int64(st, 1)));
        }
        sqlite3_finalize(st);
    }
    pthread_mutex_unlock(&s->lock);
    return out;
}
