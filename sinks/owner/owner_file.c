/* COLD. See owner_file.h. */
#include "sinks/owner/owner_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "dataplane/base/crc32c.h"
#include "dataplane/base/log.h"

#define SLOT_BYTES 4096u
#define PATH_BYTES 4400
#define TEXT_BYTES 2048

static_assert(OWNER_ID_BYTES + OWNER_NODE_BYTES + 2 * OWNER_BUCKET_BYTES + 3 * OWNER_TOKEN_BYTES +
                      2 * OWNER_CLAIMS_BYTES + 250 <
                  TEXT_BYTES,
              "a record fits its slot");

struct owner_file {
    int fd;
    char path[PATH_BYTES];
    struct owner_record record;
};

/* ---- text ---- */

static int record_text(const struct owner_record *r, char *out, size_t out_len)
{
    int n =
        snprintf(out, out_len,
                 "penstock-owner 1\nseq %" PRIu64 "\ninode %" PRIu64 "\nborn %" PRId64
                 "\nmachine %s\nnode %s\nlog %s\nbucket %s\ntoken %s\nnext %s\nbefore %s %s %s\n",
                 r->seq, r->inode, r->born_ns, r->machine, r->node, r->log, r->bucket, r->token,
                 r->next, r->before_bucket, r->before_token, r->before_next);
    uint32_t sum = crc32c(0, out, (size_t)n);

    ASSERT(n > 0 && (size_t)n + 16 < out_len);
    return n + snprintf(out + n, out_len - (size_t)n, "check %08" PRIx32 "\n", sum);
}

bool owner_record_read(const char *text, struct owner_record *out)
{
    const char *check = strstr(text, "\ncheck ");
    uint32_t sum = 0;

    ASSERT(out != NULL);
    *out = (struct owner_record){0};
    if (check == NULL || sscanf(check, "\ncheck %8" SCNx32, &sum) != 1 ||
        sum != crc32c(0, text, (size_t)(check + 1 - text)))
        return false;
    return sscanf(text,
                  "penstock-owner 1\nseq %" SCNu64 "\ninode %" SCNu64 "\nborn %" SCNd64
                  "\nmachine %64s\nnode %127s\nlog %32s\nbucket %223s\ntoken %32s\nnext "
                  "%263s\nbefore %223s %32s %263s\n",
                  &out->seq, &out->inode, &out->born_ns, out->machine, out->node, out->log,
                  out->bucket, out->token, out->next, out->before_bucket, out->before_token,
                  out->before_next) == 12;
}

/* ---- tokens ---- */

bool owner_record_knows(const struct owner_record *r, const char *token)
{
    size_t len = strlen(token);

    ASSERT(len > 0);
    if (strcmp(r->token, token) == 0)
        return true;
    for (const char *at = r->next; at != NULL && *at != '\0'; at += strcspn(at, ",")) {
        at += *at == ',';
        if (strcspn(at, ",") == len && memcmp(at, token, len) == 0)
            return true;
    }
    return false;
}

void owner_record_claim(struct owner_record *r, const char *token)
{
    size_t len = strcmp(r->next, "-") == 0 ? 0 : strlen(r->next);

    ASSERT(strlen(token) == OWNER_TOKEN_BYTES - 1 && !owner_record_knows(r, token));
    r->next[len] = '\0';
    while (len + 1 + OWNER_TOKEN_BYTES > sizeof(r->next)) {
        size_t oldest = strcspn(r->next, ",");

        oldest += r->next[oldest] == ',';
        len -= oldest;
        memmove(r->next, r->next + oldest, len + 1);
    }
    snprintf(r->next + len, sizeof(r->next) - len, "%s%s", len > 0 ? "," : "", token);
}

/* ---- where it is ---- */

static void where(int fd, uint64_t *inode, int64_t *born_ns)
{
    struct statx x = {0};

    ASSERT(fd >= 0);
    *inode = 0;
    *born_ns = 0;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &x) != 0)
        return;
    *inode = x.stx_ino;
    if ((x.stx_mask & STATX_BTIME) != 0)
        *born_ns = x.stx_btime.tv_sec * INT64_C(1000000000) + x.stx_btime.tv_nsec;
}

/* Whether inodes of this file system stay what they are when it is mounted again. */
static bool inodes_stay(int fd)
{
    static const uint32_t change[] = {0x794c7630u,  /* overlayfs, of layers on two file systems */
                                      0x65735546u,  /* FUSE */
                                      0x01021997u,  /* 9p */
                                      0xff534d42u,  /* CIFS */
                                      0xfe534d42u}; /* SMB2 */
    struct statfs fs;

    ASSERT(fd >= 0);
    if (fstatfs(fd, &fs) != 0)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(change); i++) {
        if ((uint32_t)fs.f_type == change[i])
            return false;
    }
    return true;
}

static bool moved(const struct owner_file *f)
{
    uint64_t inode;
    int64_t born_ns;

    where(f->fd, &inode, &born_ns);
    ASSERT(f->record.seq > 0);
    if (!inodes_stay(f->fd) || inode == 0 || f->record.inode == 0)
        return false;
    return inode != f->record.inode ||
           (born_ns != 0 && f->record.born_ns != 0 && born_ns != f->record.born_ns);
}

/* ---- reading and writing ---- */

static int slot_read(struct owner_file *f, unsigned slot, struct owner_record *out)
{
    char text[SLOT_BYTES + 1];
    ssize_t n = pread(f->fd, text, SLOT_BYTES, (off_t)slot * SLOT_BYTES);

    ASSERT(slot < 2);
    if (n < 0)
        return -errno;
    text[n] = '\0';
    return owner_record_read(text, out) ? 0 : -EBADMSG;
}

/* The newer of the two slots. */
static int file_read(struct owner_file *f)
{
    struct owner_record other;
    int first = slot_read(f, 0, &f->record), second = slot_read(f, 1, &other);

    if (first != 0 && first != -EBADMSG)
        return first;
    if (second == 0 && (first != 0 || other.seq > f->record.seq))
        f->record = other;
    ASSERT(first != 0 || f->record.seq > 0);
    return first == 0 || second == 0 ? 0 : second;
}

int owner_file_write(struct owner_file *f)
{
    struct owner_record next = f->record;
    char text[SLOT_BYTES] = "";

    next.seq++;
    where(f->fd, &next.inode, &next.born_ns);
    (void)record_text(&next, text, TEXT_BYTES);
    ASSERT(next.seq > 0);
    if (pwrite(f->fd, text, sizeof(text), (off_t)(next.seq % 2) * SLOT_BYTES) !=
            (ssize_t)sizeof(text) ||
        fdatasync(f->fd) != 0)
        return errno != 0 ? -errno : -EIO;
    f->record = next;
    return 0;
}

struct owner_record *owner_file_record(struct owner_file *f)
{
    ASSERT(f->record.seq > 0);
    return &f->record;
}

static int sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd >= 0 && fsync(fd) == 0 ? 0 : -errno;

    ASSERT(dir[0] != '\0');
    if (fd >= 0)
        close(fd);
    return rc;
}

/* A new file: both slots have their blocks before its name is there. */
static int file_make(struct owner_file *f, const char *data_dir, const char *machine)
{
    char temporary[PATH_BYTES + 8];
    static const char empty[2 * SLOT_BYTES];

    snprintf(temporary, sizeof(temporary), "%s.new", f->path);
    f->fd = open(temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (f->fd < 0)
        return -errno;
    f->record = (struct owner_record){.node = "-",
                                      .log = "-",
                                      .bucket = "-",
                                      .token = "-",
                                      .next = "-",
                                      .before_bucket = "-",
                                      .before_token = "-",
                                      .before_next = "-"};
    snprintf(f->record.machine, sizeof(f->record.machine), "%s", machine);
    ASSERT(f->record.machine[0] != '\0');
    if (pwrite(f->fd, empty, sizeof(empty), 0) != (ssize_t)sizeof(empty))
        return errno != 0 ? -errno : -EIO;
    if (owner_file_write(f) != 0 || rename(temporary, f->path) != 0)
        return -errno;
    return sync_dir(data_dir);
}

#define ADOPT_HINT                                                                               \
    "two directories with the same events must not both deliver them. If the original is gone, " \
    "or "                                                                                        \
    "is never started again, start once with --adopt; if it is not, empty this one"

/* Whether the file is where it should be. */
static int file_check(struct owner_file *f, const char *machine, char *error, size_t error_len)
{
    ASSERT(f->record.seq > 0);
    if (strcmp(f->record.machine, machine) != 0) {
        snprintf(error, error_len,
                 "data_dir: %s was written on another machine (%s, this is %s): " ADOPT_HINT,
                 f->path, f->record.machine, machine);
        return -EXDEV;
    }
    if (moved(f)) {
        snprintf(error, error_len,
                 "data_dir: %s is a copy: its file is not the one that was written: " ADOPT_HINT,
                 f->path);
        return -EXDEV;
    }
    return 0;
}

static int file_adopt(struct owner_file *f, const char *machine)
{
    log_warn("start", "%s is adopted: what it holds is delivered from here on", f->path);
    ASSERT(machine[0] != '\0');
    snprintf(f->record.machine, sizeof(f->record.machine), "%s", machine);
    return owner_file_write(f);
}

static int file_use(struct owner_file *f, const char *data_dir, const char *machine, bool adopt,
                    char *error, size_t error_len)
{
    int rc;

    ASSERT(f->fd < 0);
    f->fd = open(f->path, O_RDWR | O_CLOEXEC);
    if (f->fd < 0 && errno == ENOENT)
        return file_make(f, data_dir, machine);
    if (f->fd < 0)
        return -errno;
    rc = file_read(f);
    if (rc == -EBADMSG && !adopt) {
        snprintf(error, error_len,
                 "data_dir: %s is damaged: restore it; or, if no copy of this directory is in use, "
                 "start once with --adopt",
                 f->path);
        return -EUCLEAN;
    }
    if (rc == -EBADMSG) {
        close(f->fd);
        return file_make(f, data_dir, machine);
    }
    if (rc != 0)
        return rc;
    return adopt ? file_adopt(f, machine) : file_check(f, machine, error, error_len);
}

int owner_file_open(const char *data_dir, const char *machine, bool adopt, struct owner_file **out,
                    char *error, size_t error_len)
{
    struct owner_file *f = calloc(1, sizeof(*f));
    int rc;

    ASSERT(machine != NULL && machine[0] != '\0' && error_len > 0);
    error[0] = '\0';
    if (f == NULL)
        return -ENOMEM;
    f->fd = -1;
    snprintf(f->path, sizeof(f->path), "%.4300s/owner", data_dir);
    rc = file_use(f, data_dir, machine, adopt, error, error_len);
    if (rc != 0) {
        if (error[0] == '\0')
            snprintf(error, error_len, "data_dir: %s: %s", f->path, strerror(-rc));
        owner_file_close(f);
        return rc;
    }
    *out = f;
    return 0;
}

void owner_file_close(struct owner_file *f)
{
    if (f == NULL)
        return;
    if (f->fd >= 0)
        close(f->fd);
    free(f);
}
