/* COLD. Data directory, lock, machine id, limits; see place.h. */
#include "control/place.h"

#include <sched.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MACHINE_ID_FILE "/etc/machine-id"

static const char *hint(int err)
{
    return err == EACCES || err == EPERM || err == EROFS
               ? "; make it writable for this user, or set data_dir"
           : err == ENOSPC || err == EDQUOT  ? "; free some space, or set data_dir"
           : err == ENOTDIR || err == EEXIST ? "; a file is in the way: set data_dir to a directory"
                                             : "";
}

/* Creates one directory; one that is there is fine. */
static int make_dir(const char *path, char *error, size_t error_len)
{
    struct stat st;
    int err = 0;

    ASSERT(path[0] != '\0');
    if (mkdir(path, 0700) != 0)
        err = errno;
    if (err == EEXIST && stat(path, &st) == 0)
        err = S_ISDIR(st.st_mode) ? 0 : ENOTDIR;
    if (err != 0)
        snprintf(error, error_len, "data_dir: cannot create directory %s: %s%s", path,
                 strerror(err), hint(err));
    return -err;
}

/* Creates a directory and those above it. */
static int make_dirs(const char *path, char *error, size_t error_len)
{
    char part[PLACE_PATH_BYTES];
    size_t len = strlen(path);

    if (len == 0 || len >= sizeof(part)) {
        snprintf(error, error_len, "data_dir: the path is too long");
        return -ENAMETOOLONG;
    }
    for (size_t i = 1; i < len; i++) {
        struct stat st;

        if (path[i] != '/' || path[i - 1] == '/')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (stat(part, &st) != 0) {
            int rc = make_dir(part, error, error_len);

            if (rc != 0)
                return rc;
        }
    }
    ASSERT(len > 0);
    return make_dir(path, error, error_len);
}

static void write_pid(int fd)
{
    char text[16];
    int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());

    ASSERT(n > 0);
    if (ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)n, 0) == n)
        return;
    /* The lock itself holds; only the message of a second daemon is poorer. */
}

static int take_lock(const char *data_dir, char *error, size_t error_len)
{
    char path[PLACE_PATH_BYTES + 8], pid[16] = "";
    int fd;

    ASSERT(data_dir[0] != '\0');
    snprintf(path, sizeof(path), "%s/lock", data_dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        snprintf(error, error_len, "data_dir: cannot open %s: %s%s", path, strerror(errno),
                 hint(errno));
        return -errno;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);

        pid[n > 0 ? strcspn(pid, "\n") : 0] = '\0';
        snprintf(error, error_len,
                 "data_dir: %s is in use by another penstockd (pid %s); stop it, or set another "
                 "data_dir",
                 data_dir, pid[0] != '\0' ? pid : "unknown");
        close(fd);
        return -EBUSY;
    }
    write_pid(fd);
    return fd;
}

/* Reads an id: letters and digits up to white space. @return its length. */
static size_t read_id(const char *path, char *out)
{
    FILE *f = fopen(path, "re");
    size_t len = 0;

    ASSERT(out != NULL);
    if (f == NULL)
        return 0;
    if (fgets(out, PLACE_ID_BYTES, f) != NULL)
        len = strspn(out, "0123456789abcdefABCDEF-");
    fclose(f);
    out[len] = '\0';
    return len;
}

/* Where the system has no id of its own, the data directory gets one. */
static int make_id(const char *data_dir, char *out, char *error, size_t error_len)
{
    char path[PLACE_PATH_BYTES + 16];
    uint8_t random[16];
    FILE *f;
    int rc = 0;

    snprintf(path, sizeof(path), "%s/machine-id", data_dir);
    if (read_id(path, out) >= 16)
        return 0;
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return -EIO;
    for (size_t i = 0; i < sizeof(random); i++)
        snprintf(out + 2 * i, 3, "%02x", random[i]);
    ASSERT(strlen(out) == 32);
    f = fopen(path, "we");
    if (f == NULL)
        rc = -errno;
    else if (fprintf(f, "%s\n", out) < 0 || fflush(f) != 0 || fsync(fileno(f)) != 0)
        rc = -errno;
    if (f != NULL)
        fclose(f);
    if (rc != 0)
        snprintf(error, error_len, "cannot write %s: %s%s", path, strerror(-rc), hint(-rc));
    return rc;
}

int place_open(const char *data_dir, struct place_dir *out, char *error, size_t error_len)
{
    char path[PLACE_PATH_BYTES];
    int rc;

    ASSERT(out != NULL);
    *out = (struct place_dir){.lock_fd = -1};
    rc = make_dirs(data_dir, error, error_len);
    if (rc != 0)
        return rc;
    rc = take_lock(data_dir, error, error_len);
    if (rc < 0)
        return rc;
    out->lock_fd = rc;
    snprintf(path, sizeof(path), "%.4096s/journal", data_dir);
    snprintf(out->delivery_dir, sizeof(out->delivery_dir), "%.4096s/delivery", data_dir);
    snprintf(out->columns_dir, sizeof(out->columns_dir), "%.4096s/columns", data_dir);
    snprintf(out->dedupe_dir, sizeof(out->dedupe_dir), "%.4096s/dedupe", data_dir);
    snprintf(out->spool_dir, sizeof(out->spool_dir), "%.4096s/spool", data_dir);
    rc = make_dir(path, error, error_len);
    if (rc == 0)
        rc = make_dir(out->spool_dir, error, error_len);
    if (rc == 0)
        rc = make_dir(out->delivery_dir, error, error_len);
    if (rc == 0)
        rc = make_dir(out->columns_dir, error, error_len);
    if (rc == 0)
        rc = make_dir(out->dedupe_dir, error, error_len);
    if (rc == 0 && read_id(MACHINE_ID_FILE, out->machine_id) < 16)
        rc = make_id(data_dir, out->machine_id, error, error_len);
    if (rc != 0)
        place_close(out);
    return rc;
}

void place_close(struct place_dir *p)
{
    ASSERT(p != NULL);
    if (p->lock_fd >= 0)
        close(p->lock_fd);
    p->lock_fd = -1;
}

void place_journal(const char *data_dir, uint32_t index, char *out)
{
    ASSERT(out != NULL);
    snprintf(out, PLACE_PATH_BYTES, "%.4096s/journal/%02" PRIu32, data_dir, index);
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

int place_journals(const char *data_dir, uint32_t *out, uint32_t max)
{
    char path[PLACE_PATH_BYTES];
    const struct dirent *e;
    uint32_t n = 0;
    DIR *d;

    ASSERT(max > 0);
    snprintf(path, sizeof(path), "%.4096s/journal", data_dir);
    d = opendir(path);
    if (d == NULL)
        return -errno;
    while (n < max && (e = readdir(d)) != NULL) {
        size_t len = strlen(e->d_name);

        if (len >= 2 && len <= 6 && strspn(e->d_name, "0123456789") == len)
            out[n++] = (uint32_t)strtoul(e->d_name, NULL, 10);
    }
    closedir(d);
    qsort(out, n, sizeof(*out), compare_u32);
    return (int)n;
}

/* Makes an empty file that a power cut does not take back; one that is there may not be durable yet. */
static int make_mark(const char *data_dir, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    int dir = open(data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd >= 0 && dir >= 0 && fsync(fd) == 0 && fsync(dir) == 0 ? 0 : -errno;

    if (fd >= 0)
        close(fd);
    if (dir >= 0)
        close(dir);
    ASSERT(rc <= 0);
    return rc;
}

/* What each start makes before it knows whether it will go on; and sockets. */
static bool is_of_any_start(const char *name, const struct stat *st)
{
    ASSERT(name[0] != '\0');
    return strcmp(name, "lock") == 0 || strcmp(name, "machine-id") == 0 || S_ISSOCK(st->st_mode);
}

/* Whether a directory holds nothing but directories, and files as above; `below`: no file at all. @return 1
 * or 0; -errno. */
static int holds_nothing(const char *path, bool below)
{
    DIR *d = opendir(path);
    const struct dirent *e;
    int rc = 1;

    if (d == NULL)
        return -errno;
    while (rc == 1 && (e = readdir(d)) != NULL) {
        char inner[PLACE_PATH_BYTES + 300];
        struct stat st;

        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(inner, sizeof(inner), "%.4096s/%s", path, e->d_name);
        if (lstat(inner, &st) != 0)
            rc = -errno;
        else if (S_ISDIR(st.st_mode))
            rc = below ? 0 : holds_nothing(inner, true);
        else
            rc = !below && is_of_any_start(e->d_name, &st);
    }
    closedir(d);
    ASSERT(rc <= 1);
    return rc;
}

int place_mark_discard(const char *data_dir, bool discard, char *error, size_t error_len)
{
    char path[PLACE_PATH_BYTES + 16];
    bool marked;
    int rc = 0;

    ASSERT(data_dir[0] != '\0');
    snprintf(path, sizeof(path), "%.4096s/discard", data_dir);
    marked = access(path, F_OK) == 0;
    if (!marked && errno != ENOENT) {
        rc = -errno;
    } else if (marked && !discard) {
        snprintf(error, error_len,
                 "data_dir: %s was started with sinks.discard, which throws events away; set "
                 "another data_dir, or empty it",
                 data_dir);
        return -EPERM;
    } else if (!discard) {
        return 0;
    } else if (!marked && (rc = holds_nothing(data_dir, false)) == 0) {
        snprintf(error, error_len,
                 "data_dir: %s was used without sinks.discard, which would throw away what still "
                 "waits there; set another data_dir",
                 data_dir);
        return -EPERM;
    }
    rc = rc < 0 ? rc : make_mark(data_dir, path);
    if (rc != 0)
        snprintf(error, error_len, "cannot make %s: %s%s", path, strerror(-rc), hint(-rc));
    return rc;
}

uint64_t place_free_bytes(const char *data_dir)
{
    struct statvfs v;

    ASSERT(data_dir != NULL);
    if (statvfs(data_dir, &v) != 0)
        return UINT64_MAX;
    return (uint64_t)v.f_bavail * v.f_frsize;
}

static void raise_limit(__rlimit_resource_t resource, rlim_t want)
{
    struct rlimit r;

    if (getrlimit(resource, &r) != 0)
        return;
    if (r.rlim_cur == RLIM_INFINITY || r.rlim_cur >= want)
        return;
    if (r.rlim_max == RLIM_INFINITY || r.rlim_max >= want) {
        r.rlim_cur = want;
    } else {
        struct rlimit more = {.rlim_cur = want, .rlim_max = want};

        if (setrlimit(resource, &more) == 0)
            return;
        r.rlim_cur = r.rlim_max;
    }
    if (setrlimit(resource, &r) != 0)
        return; /* what is there has to do */
    ASSERT(r.rlim_cur <= want);
}

void place_raise_limits(void)
{
    ASSERT(sizeof(rlim_t) >= 8);
    raise_limit(RLIMIT_NOFILE, 1 << 20);
    raise_limit(RLIMIT_MEMLOCK, RLIM_INFINITY);
}

/* "0-3,6": the cores of a set. */
static void cores_text(const cpu_set_t *set, char *out, size_t len)
{
    size_t n = 0;

    ASSERT(len > 0);
    out[0] = '\0';
    for (unsigned core = 0; core < CPU_SETSIZE && n + 24 < len; core++) {
        unsigned last = core;

        if (!CPU_ISSET(core, set))
            continue;
        while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, set))
            last++;
        n += (size_t)snprintf(out + n, len - n, last > core ? "%s%u-%u" : "%s%u", n > 0 ? "," : "",
                              core, last);
        core = last;
    }
}

int place_check_core(int core, char *error, size_t error_len)
{
    char may[256];
    cpu_set_t before, one;

    ASSERT(core >= 0 && error_len > 0);
    if (sched_getaffinity(0, sizeof(before), &before) != 0)
        return 0; /* the worker will see */
    CPU_ZERO(&one);
    if (core < CPU_SETSIZE)
        CPU_SET((unsigned)core, &one);
    if (sched_setaffinity(0, sizeof(one), &one) == 0) {
        int rc = sched_setaffinity(0, sizeof(before), &before);

        return rc != 0 ? -errno : 0;
    }
    cores_text(&before, may, sizeof(may));
    snprintf(error, error_len,
             "workers: core %d is not there, or not for this process, which runs on %s; name cores "
             "of these, or a count of workers",
             core, may);
    return -EINVAL;
}
