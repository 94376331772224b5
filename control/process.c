/* COLD. What the process takes from the machine, see process.h. */
#include "control/process.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#ifndef PENSTOCK_NO_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

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
