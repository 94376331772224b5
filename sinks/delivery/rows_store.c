/* COLD. See rows_store.h. */
#include "sinks/delivery/rows_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dataplane/base/crc32c.h"

#define PATH_BYTES     4608
#define HEAD_BYTES     (TABLE_NAME_BYTES_MAX + 128)
#define NAME_TABLE_MAX 64
#define FILE_BYTES_MAX (64u << 20) /* far past the text of 10,000 columns */
#define SUFFIX         ".rows"
#define SUFFIX_TEMP    ".rows.tmp"
#define HEAD_FORMAT    "%" PRIu32 " %08" PRIx32 " %zu %08" PRIx32 " %s"

/* ---- names ---- */

/* Table ids are letters, digits, '-' and '_': they may stand in a file name. */
static void file_path(const char *dir, const struct rows_file *f, const char *suffix, char *out)
{
    int n = snprintf(out, PATH_BYTES, "%.4096s/%.*s-%08" PRIx32 "-%" PRIu32 "-%08" PRIx32 "%s", dir,
                     NAME_TABLE_MAX, f->table, crc32c(0, f->table, strlen(f->table)), f->number,
                     f->rows->hash, suffix);

    ASSERT(n > 0 && n < PATH_BYTES && strchr(f->table, '/') == NULL);
}

static bool has_suffix(const char *name, const char *suffix)
{
    size_t len = strlen(name), n = strlen(suffix);

    ASSERT(n > 0);
    return len > n && strcmp(name + len - n, suffix) == 0;
}

/* ---- content ---- */

/* Of everything but itself. */
static uint32_t content_crc(const struct rows_file *f, uint32_t hash, struct span text)
{
    uint32_t number[2] = {f->number, hash};
    uint32_t crc = crc32c(0, number, sizeof(number));

    ASSERT(text.ptr != NULL);
    crc = crc32c(crc, f->table, strlen(f->table));
    return crc32c(crc, text.ptr, text.len);
}

static char *content_make(const struct rows_file *f, size_t *len)
{
    struct span text = {f->rows->text, f->rows->text_len};
    char *content = malloc(HEAD_BYTES + text.len);
    int n;

    if (content == NULL)
        return NULL;
    n = snprintf(content, HEAD_BYTES, "PENSTOCK ROWS 1 " HEAD_FORMAT "\n", f->number, f->rows->hash,
                 text.len, content_crc(f, f->rows->hash, text), f->table);
    ASSERT(n > 0 && n < HEAD_BYTES);
    memcpy(content + n, text.ptr, text.len);
    *len = (size_t)n + text.len;
    return content;
}

/* @return NULL, or what is wrong. */
static const char *head_read(const char *content, size_t len, struct rows_file *f, uint32_t *hash,
                             struct span *text)
{
    static const char magic[] = "PENSTOCK ROWS 1 ";
    const char *end = memchr(content, '\n', len < HEAD_BYTES ? len : HEAD_BYTES);
    char head[HEAD_BYTES];
    size_t bytes;
    uint32_t crc;

    if (end == NULL || strncmp(content, magic, sizeof(magic) - 1) != 0)
        return "no such file of this version of Penstock";
    memcpy(head, content, (size_t)(end - content));
    head[end - content] = '\0';
    if (sscanf(head + sizeof(magic) - 1, "%" SCNu32 " %" SCNx32 " %zu %" SCNx32 " %1023s",
               &f->number, hash, &bytes, &crc, f->table) != 5)
        return "its first line cannot be read";
    *text = (struct span){end + 1, len - (size_t)(end + 1 - content)};
    if (bytes != text->len)
        return "it is cut off, or too long";
    return content_crc(f, *hash, *text) == crc ? NULL : "its checksum is wrong";
}

/* ---- reading ---- */

/* The content with the padding that parsers want behind it; NULL with errno. */
static char *content_load(const char *path, size_t *len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *content = NULL;
    struct stat st;
    size_t at = 0;
    ssize_t n = -1;

    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) == 0 && st.st_size <= FILE_BYTES_MAX)
        content = calloc(1, (size_t)st.st_size + 1 + JSON_PADDING_BYTES);
    while (content != NULL && (n = read(fd, content + at, (size_t)st.st_size - at)) > 0)
        at += (size_t)n;
    close(fd);
    if (content == NULL || n < 0 || at != (size_t)st.st_size) {
        free(content);
        errno = errno != 0 ? errno : EIO;
        return NULL;
    }
    *len = at;
    return content;
}

static int damaged(const char *path, const char *why, char *error, size_t error_len)
{
    ASSERT(why != NULL);
    snprintf(
        error, error_len,
        "%.600s holds a table's inferred columns and is damaged: %.200s; restore it, or move it "
        "away: then rows that still wait for it cannot be delivered, and the columns are "
        "inferred anew",
        path, why);
    return -EUCLEAN;
}

static int file_read(const char *path, struct rows_file *f, char *error, size_t error_len)
{
    char why[256] = "";
    const char *wrong;
    size_t len = 0;
    uint32_t hash;
    struct span text;
    char *content = content_load(path, &len);
    int rc;

    if (content == NULL) {
        rc = -errno;
        snprintf(error, error_len, "cannot read %.600s: %s", path, strerror(errno));
        return rc;
    }
    wrong = head_read(content, len, f, &hash, &text);
    rc = wrong == NULL ? rows_parse(text, &f->rows, why, sizeof(why)) : -EUCLEAN;
    free(content);
    if (rc == -ENOMEM)
        return rc;
    if (rc == 0 && f->rows->hash == hash)
        return 0;
    if (rc == 0)
        rows_destroy(f->rows);
    f->rows = NULL;
    return damaged(path, wrong != NULL ? wrong : why, error, error_len);
}

int rows_store_each(const char *dir, int (*visit)(void *ctx, struct rows_file *f), void *ctx,
                    char *error, size_t error_len)
{
    DIR *d = opendir(dir);
    char path[PATH_BYTES];
    struct dirent *e;
    int rc = 0;

    ASSERT(visit != NULL);
    if (d == NULL) {
        rc = -errno;
        snprintf(error, error_len, "cannot list %.600s: %s", dir, strerror(errno));
        return rc;
    }
    while (rc == 0 && (e = readdir(d)) != NULL) {
        struct rows_file f = {0};

        snprintf(path, sizeof(path), "%.4096s/%s", dir, e->d_name);
        if (has_suffix(e->d_name, SUFFIX_TEMP))
            unlink(path);
        if (!has_suffix(e->d_name, SUFFIX))
            continue;
        rc = file_read(path, &f, error, error_len);
        if (rc == 0)
            rc = visit(ctx, &f);
    }
    closedir(d);
    return rc;
}

int rows_store_newest(const char *dir, const char *table, struct rows_file *f, char *error,
                      size_t error_len)
{
    char start[NAME_TABLE_MAX + 16], path[PATH_BYTES];
    size_t len = (size_t)snprintf(start, sizeof(start), "%.*s-%08" PRIx32 "-", NAME_TABLE_MAX,
                                  table, crc32c(0, table, strlen(table)));
    DIR *d = opendir(dir);
    struct dirent *e;
    int rc = 0;

    ASSERT(len < sizeof(start));
    *f = (struct rows_file){0};
    while (d != NULL && rc == 0 && (e = readdir(d)) != NULL) {
        struct rows_file one = {0};

        if (strncmp(e->d_name, start, len) != 0 || !has_suffix(e->d_name, SUFFIX))
            continue;
        snprintf(path, sizeof(path), "%.4096s/%s", dir, e->d_name);
        rc = file_read(path, &one, error, error_len);
        if (rc == -ENOENT) { /* removed meanwhile: there is a newer one */
            rc = 0;
        } else if (rc == 0 && one.number > f->number && strcmp(one.table, table) == 0) {
            rows_destroy(f->rows);
            *f = one;
        } else if (rc == 0) {
            rows_destroy(one.rows);
        }
    }
    if (d != NULL)
        closedir(d);
    if (rc == 0 && f->rows != NULL)
        return 0;
    rows_destroy(f->rows);
    f->rows = NULL;
    return rc != 0 ? rc : -ENOENT;
}

/* ---- writing ---- */

static int content_write(const struct storage *storage, const char *path, const char *content,
                         size_t len)
{
    const struct storage_ops *ops = storage->ops;
    int fd = ops->open(storage->ctx, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int rc, closed;

    if (fd < 0)
        return fd;
    rc = storage_write_all(storage, fd, content, len, 0);
    if (rc == 0)
        rc = ops->sync(storage->ctx, fd);
    closed = ops->close(storage->ctx, fd);
    ASSERT(rc <= 0);
    return rc != 0 ? rc : closed;
}

int rows_store_save(const struct storage *storage, const char *dir, const struct rows_file *f,
                    char *error, size_t error_len)
{
    const struct storage_ops *ops = storage->ops;
    char temp[PATH_BYTES], path[PATH_BYTES];
    size_t len = 0;
    char *content = content_make(f, &len);
    int rc;

    ASSERT(f->number > 0 && f->table[0] != '\0');
    if (content == NULL) {
        snprintf(error, error_len, "out of memory");
        return -ENOMEM;
    }
    file_path(dir, f, SUFFIX_TEMP, temp);
    file_path(dir, f, SUFFIX, path);
    rc = content_write(storage, temp, content, len);
    free(content);
    if (rc == 0)
        rc = ops->rename(storage->ctx, temp, path);
    if (rc == 0)
        rc = ops->sync_dir(storage->ctx, dir);
    if (rc != 0) {
        (void)ops->unlink(storage->ctx, temp); /* each try has another name: they would pile up */
        snprintf(error, error_len, "cannot write %.600s: %s", path, strerror(-rc));
    }
    return rc;
}

void rows_store_remove(const struct storage *storage, const char *dir, const struct rows_file *f)
{
    char path[PATH_BYTES];

    ASSERT(f->rows != NULL);
    file_path(dir, f, SUFFIX, path);
    (void)storage->ops->unlink(storage->ctx, path); /* a file too many does no harm */
}
