/* Files and standard input, expanded; see source.h. One buffer of packed bytes per source. */
#include "tools/penstock/source.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#define PACKED_BYTES (256u << 10)
#define MAGIC_BYTES  4
#define GZIP_WINDOW  (15 + 16) /* zlib: the largest window, gzip only */

struct source {
    int fd;
    bool ended;  /* the file; not what is in packed[] */
    bool inside; /* a gzip member or zstd frame is under way */
    bool begun;  /* zstd: its first bytes have been taken */
    enum source_form form;
    uint64_t size, taken;
    size_t at, len; /* of packed[] */
    z_stream gzip;
    ZSTD_DStream *zstd;
    unsigned char packed[PACKED_BYTES];
};

/* Reads more packed bytes behind those that are there. @return 0 or -errno. */
static int packed_fill(struct source *s, char *error, size_t error_len)
{
    ssize_t n;

    ASSERT(s->at <= s->len);
    memmove(s->packed, s->packed + s->at, s->len - s->at);
    s->len -= s->at;
    s->at = 0;
    ASSERT(s->len < sizeof(s->packed)); /* or a read of nothing would look like the end */
    n = read(s->fd, s->packed + s->len, sizeof(s->packed) - s->len);
    if (n < 0) { /* also when a signal came that the program wants to see */
        n = -errno;
        snprintf(error, error_len, "%s", strerror(errno));
        return (int)n;
    }
    s->ended = n == 0;
    s->len += (size_t)n;
    return 0;
}

static bool starts_with(const struct source *s, const char *bytes, size_t n)
{
    ASSERT(n <= MAGIC_BYTES);
    return s->len - s->at >= n && memcmp(s->packed + s->at, bytes, n) == 0;
}

/* zstd's frames, and those that hold no data (0x184D2A50 to 5F). */
static bool is_zstd(const struct source *s)
{
    return starts_with(s, "\x28\xB5\x2F\xFD", 4) ||
           (s->len - s->at >= 4 && (s->packed[s->at] & 0xF0) == 0x50 &&
            memcmp(s->packed + s->at + 1, "\x2A\x4D\x18", 3) == 0);
}

static int form_detect(struct source *s, char *error, size_t error_len)
{
    int rc = 0;

    while (rc == 0 && s->len < MAGIC_BYTES && !s->ended)
        rc = packed_fill(s, error, error_len);
    if (rc != 0)
        return rc;
    snprintf(error, error_len, "out of memory");
    if (starts_with(s, "\x1F\x8B", 2)) {
        s->form = SOURCE_GZIP;
        return inflateInit2(&s->gzip, GZIP_WINDOW) == Z_OK ? 0 : -ENOMEM;
    }
    if (is_zstd(s)) {
        s->form = SOURCE_ZSTD;
        s->zstd = ZSTD_createDStream();
        return s->zstd != NULL ? 0 : -ENOMEM;
    }
    ASSERT(s->form == SOURCE_PLAIN);
    return 0;
}

bool source_is_stream(const char *path)
{
    struct stat st;

    ASSERT(path != NULL);
    if (strcmp(path, "-") == 0)
        return true;
    return stat(path, &st) == 0 &&
           (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) || S_ISCHR(st.st_mode));
}

int source_open(const char *path, struct source **out, char *error, size_t error_len)
{
    struct source *s = calloc(1, sizeof(*s));
    struct stat st;
    int rc;

    ASSERT(path != NULL && out != NULL);
    snprintf(error, error_len, "out of memory");
    if (s == NULL)
        return -ENOMEM;
    s->fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    rc = s->fd < 0 || fstat(s->fd, &st) != 0 ? -errno : 0;
    if (rc == 0 && S_ISDIR(st.st_mode))
        rc = -EISDIR;
    if (rc != 0) {
        snprintf(error, error_len, "%s", strerror(-rc));
        source_close(s);
        return rc;
    }
    s->size = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    rc = form_detect(s, error, error_len);
    if (rc != 0) {
        source_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void source_close(struct source *s)
{
    if (s == NULL)
        return;
    if (s->form == SOURCE_GZIP)
        inflateEnd(&s->gzip);
    ZSTD_freeDStream(s->zstd);
    if (s->fd >= 0)
        close(s->fd);
    free(s);
}

static int damaged(const struct source *s, const char *what, char *error, size_t error_len)
{
    ASSERT(s->form != SOURCE_PLAIN);
    snprintf(error, error_len, "the %s data %s at byte %llu of the file",
             s->form == SOURCE_GZIP ? "gzip" : "zstd", what, (unsigned long long)s->taken);
    return -EBADMSG;
}

static ssize_t read_plain(struct source *s, char *buf, size_t len)
{
    size_t n = s->len - s->at;

    ASSERT(len > 0);
    n = n < len ? n : len;
    memcpy(buf, s->packed + s->at, n);
    s->at += n;
    s->taken += n;
    return (ssize_t)n;
}

/* Between members: zeros may follow the last one (tape padding), nothing else. @return 1 when
 * another begins, 0 at the end. */
static int next_member(struct source *s, char *error, size_t error_len)
{
    int rc = 0;

    for (;;) {
        while (s->at < s->len && s->packed[s->at] == 0) {
            s->at++;
            s->taken++;
        }
        if (s->len - s->at >= 2 || s->ended)
            break;
        rc = packed_fill(s, error, error_len);
        if (rc != 0)
            return rc;
    }
    if (s->at == s->len)
        return 0;
    if (!starts_with(s, "\x1F\x8B", 2))
        return damaged(s, "is followed by something else", error, error_len);
    ASSERT(!s->inside);
    return inflateReset(&s->gzip) == Z_OK ? 1 : -EIO;
}

/* One step of inflating. @return bytes written to buf, or -EBADMSG. */
static ssize_t gzip_step(struct source *s, char *buf, size_t len, char *error, size_t error_len)
{
    uInt in = (uInt)(s->len - s->at), room = (uInt)(len < PACKED_BYTES ? len : PACKED_BYTES);
    int rc;

    s->gzip.next_in = s->packed + s->at;
    s->gzip.avail_in = in;
    s->gzip.next_out = (unsigned char *)buf;
    s->gzip.avail_out = room;
    rc = inflate(&s->gzip, Z_NO_FLUSH);
    ASSERT(s->gzip.avail_in <= in && s->gzip.avail_out <= room);
    s->at += in - s->gzip.avail_in;
    s->taken += in - s->gzip.avail_in;
    if (rc == Z_STREAM_END)
        s->inside = false;
    else if (rc != Z_OK && rc != Z_BUF_ERROR)
        return damaged(s, "is damaged", error, error_len);
    return (ssize_t)(room - s->gzip.avail_out);
}

static ssize_t zstd_step(struct source *s, char *buf, size_t len, char *error, size_t error_len)
{
    ZSTD_inBuffer in = {.src = s->packed + s->at, .size = s->len - s->at};
    ZSTD_outBuffer out = {.dst = buf, .size = len};
    size_t rc = ZSTD_decompressStream(s->zstd, &out, &in);

    ASSERT(in.pos <= in.size);
    if (ZSTD_isError(rc))
        return damaged(s, s->begun ? "is damaged" : "is followed by something else", error,
                       error_len);
    s->at += in.pos;
    s->taken += in.pos;
    s->inside = s->begun = rc != 0;
    return (ssize_t)out.pos;
}

/* Between frames of zstd. @return 1 when another begins, 0 at the end. */
static int next_frame(struct source *s, char *error, size_t error_len)
{
    int rc = 0;

    ASSERT(!s->inside);
    if (s->at == s->len && !s->ended)
        rc = packed_fill(s, error, error_len);
    return rc != 0 ? rc : s->at < s->len;
}

static ssize_t read_packed(struct source *s, char *buf, size_t len, char *error, size_t error_len)
{
    bool gzip = s->form == SOURCE_GZIP;

    for (;;) {
        size_t before = s->at;
        ssize_t n;
        int rc;

        if (!s->inside) {
            rc = gzip ? next_member(s, error, error_len) : next_frame(s, error, error_len);
            if (rc <= 0)
                return rc;
            s->inside = true;
            before = s->at;
        }
        n = gzip ? gzip_step(s, buf, len, error, error_len)
                 : zstd_step(s, buf, len, error, error_len);
        if (n != 0)
            return n;
        if (s->at != before)
            continue;
        ASSERT(s->inside);
        if (s->ended)
            return damaged(s, "ends early", error, error_len);
        rc = packed_fill(s, error, error_len);
        if (rc != 0)
            return rc;
    }
}

ssize_t source_read(struct source *s, char *buf, size_t len, char *error, size_t error_len)
{
    int rc = 0;

    ASSERT(buf != NULL && len > 0);
    if (s->form != SOURCE_PLAIN)
        return read_packed(s, buf, len, error, error_len);
    if (s->at == s->len && !s->ended)
        rc = packed_fill(s, error, error_len);
    return rc != 0 ? rc : read_plain(s, buf, len);
}

bool source_waits(const struct source *s)
{
    struct pollfd p = {.fd = s->fd, .events = POLLIN};

    return s->size == 0 && s->at == s->len && !s->ended && poll(&p, 1, 0) == 0;
}

uint64_t source_taken(const struct source *s)
{
    return s->taken;
}

uint64_t source_size(const struct source *s)
{
    return s->size;
}

enum source_form source_form(const struct source *s)
{
    return s->form;
}
