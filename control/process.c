/* COLD. What the process takes from the machine, see process.h. */
#include "control/process.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#ifndef PENSTOCK_NO_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

#define GROUP_PATH_BYTES 4096

uint64_t process_rss(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long long size, rss = 0;

    if (f == NULL)
        return 0;
    if (fscanf(f, "%llu %llu", &size, &rss) != 2)
        rss = 0;
    fclose(f);
    return (uint64_t)rss * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The number behind a key at the start of a line; without a key the file is the number. UINT64_MAX:
 * there is none, such as "max". */
static uint64_t number_in(const char *path, const char *key)
{
    FILE *f = fopen(path, "re");
    char line[256];
    uint64_t n = UINT64_MAX;
    size_t skip = strlen(key);

    if (f == NULL)
        return n;
    while (n == UINT64_MAX && fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, key, skip) == 0 && sscanf(line + skip, "%" SCNu64, &n) != 1)
            break;
    }
    fclose(f);
    return n;
}

/* Where the limits of memory are, in the two versions of control groups. */
struct group_files {
    const char *line; /* in /proc/self/cgroup: ID:NAMES:PATH, without the ID */
    const char *root, *most, *used;
    const char *idle; /* in memory.stat */
};

static const struct group_files group_files[] = {
    {"::", "/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file "},
    {":memory:", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
     "total_inactive_file "},
};

/* A number of a group. */
static uint64_t group_number(const char *dir, const char *file, const char *key)
{
    char path[GROUP_PATH_BYTES + 64];

    ASSERT(dir[0] == '/');
    snprintf(path, sizeof(path), "%s/%s", dir, file);
    return number_in(path, key);
}

/* What one group has left. Pages of files that nobody used lately make room. */
static uint64_t group_left(const struct group_files *g, const char *dir)
{
    uint64_t most = group_number(dir, g->most, ""), used = group_number(dir, g->used, "");
    uint64_t idle = group_number(dir, "memory.stat", g->idle);

    if (most == UINT64_MAX || used == UINT64_MAX)
        return UINT64_MAX;
    used -= idle != UINT64_MAX && idle < used ? idle : 0;
    return used < most ? most - used : 0;
}

/* The least of the process's group and those around it; a container sees only its own, as the root. */
static uint64_t groups_left(const struct group_files *g, const char *path)
{
    char dir[GROUP_PATH_BYTES];
    size_t root = strlen(g->root);
    uint64_t left = UINT64_MAX;

    snprintf(dir, sizeof(dir), "%s%s", g->root, path);
    for (char *end = dir + strlen(dir); end != NULL && end >= dir + root; end = strrchr(dir, '/')) {
        uint64_t here;

        *end = '\0';
        here = group_left(g, dir);
        left = here < left ? here : left;
    }
    ASSERT(strlen(dir) <= root);
    return left;
}

/* Huge pages that were set aside and are not used yet: mem_reserve() takes those first, and they are in
 * none of the other numbers. */
static uint64_t huge_left(void)
{
    uint64_t pages = number_in("/proc/meminfo", "HugePages_Free:");
    uint64_t kib = number_in("/proc/meminfo", "Hugepagesize:"), bytes;

    if (pages == UINT64_MAX || kib == UINT64_MAX || __builtin_mul_overflow(pages, kib, &bytes) ||
        __builtin_mul_overflow(bytes, 1024, &bytes))
        return 0;
    ASSERT(bytes % 1024 == 0);
    return bytes;
}

uint64_t process_memory_left(void)
{
    uint64_t left = number_in("/proc/meminfo", "MemAvailable:");
    FILE *f = fopen("/proc/self/cgroup", "re");
    char line[GROUP_PATH_BYTES / 2];

    left = left < UINT64_MAX / 1024 ? left * 1024 : UINT64_MAX;
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        const char *rest = line + strcspn(line, ":");

        line[strcspn(line, "\n")] = '\0';
        for (size_t i = 0; i < ARRAY_LEN(group_files); i++) {
            const struct group_files *g = &group_files[i];
            uint64_t here = strncmp(rest, g->line, strlen(g->line)) == 0
                                ? groups_left(g, rest + strlen(g->line))
                                : UINT64_MAX;

            left = here < left ? here : left;
        }
    }
    if (f != NULL)
        fclose(f);
    return __builtin_add_overflow(left, huge_left(), &left) ? UINT64_MAX : left;
}

double process_cpu_seconds(void)
{
    struct rusage u;
    int rc = getrusage(RUSAGE_SELF, &u);

    ASSERT(rc == 0);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

uint64_t process_open_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    uint64_t n = 0;

    if (d == NULL)
        return 0;
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n > 3 ? n - 3 : 0; /* ".", ".." and the directory itself */
}

#ifndef PENSTOCK_NO_JEMALLOC

static uint64_t read_stat(const char *name)
{
    size_t value = 0, len = sizeof(value);

    ASSERT(name != NULL);
    return mallctl(name, &value, &len, NULL, 0) == 0 ? value : 0;
}

void process_heap(struct process_heap *out)
{
    uint64_t epoch = 1;

    ASSERT(out != NULL);
    mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch)); /* takes new numbers */
    *out = (struct process_heap){
        .allocated = read_stat("stats.allocated"),
        .active = read_stat("stats.active"),
        .metadata = read_stat("stats.metadata"),
        .resident = read_stat("stats.resident"),
        .mapped = read_stat("stats.mapped"),
        .retained = read_stat("stats.retained"),
    };
}

#else

void process_heap(struct process_heap *out)
{
    ASSERT(out != NULL);
    *out = (struct process_heap){0};
}

#endif
