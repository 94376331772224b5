/* COLD. Starts DPDK's EAL, see eal.h. */
#include "control/eal.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>

#include "dataplane/base/crc32c.h"
#include "dataplane/base/log.h"

#define ARGS_MAX    64
#define CORES_BYTES 4096
#define NO_HUGE_MIB "32" /* rings of lanes and returns take a few KiB each */

static bool huge_in_use;
static char runtime_dir[256];

static bool huge_pages_free(void)
{
    FILE *f = fopen("/proc/meminfo", "re");
    unsigned long long n = 0;
    char line[256];

    if (f == NULL)
        return false;
    while (fgets(line, sizeof(line), f) != NULL) {
        if (sscanf(line, "HugePages_Free: %llu", &n) == 1)
            break;
    }
    fclose(f);
    return n > 0;
}

/* "0@(0,1,3)": lcore 0 is this thread, and may run wherever it may run now. */
static void main_cores(char *out, size_t len)
{
    cpu_set_t set;
    int n = snprintf(out, len, "0@(");
    const char *comma = "";

    ASSERT(n > 0);
    if (sched_getaffinity(0, sizeof(set), &set) != 0) {
        CPU_ZERO(&set);
        CPU_SET(0, &set);
    }
    for (size_t core = 0; core < CPU_SETSIZE && (size_t)n < len - 8; core++) {
        if (CPU_ISSET(core, &set)) {
            n += snprintf(out + n, len - (size_t)n, "%s%zu", comma, core);
            comma = ",";
        }
    }
    snprintf(out + n, len - (size_t)n, ")");
}

/* A prefix that is the same at each start with one data directory: its lock keeps others out, and
 * folders of killed daemons do not pile up. */
static void file_prefix(const struct config *c, char *out, size_t len)
{
    char *real = realpath(c->data_dir, NULL);
    const char *name = real != NULL ? real : c->data_dir;

    ASSERT(len >= 24);
    snprintf(out, len, "penstock-%08x", crc32c(0, name, strlen(name)));
    free(real);
}

static int eal_arguments(const struct config *c, char **args, char *cores, char *prefix)
{
    static char word[][24] = {"penstockd",         "--no-pci",    "--no-shconf",  "--no-telemetry",
                              "--log-level=error", "--in-memory", "--no-huge",    "-m",
                              NO_HUGE_MIB,         "--lcores",    "--file-prefix"};
    int n = 0;

    for (int i = 0; i < 5; i++)
        args[n++] = word[i];
    if (huge_in_use) {
        args[n++] = word[5];
    } else {
        args[n++] = word[6];
        args[n++] = word[7];
        args[n++] = word[8];
    }
    args[n++] = word[9];
    args[n++] = cores;
    if (!huge_in_use) {
        args[n++] = word[10];
        args[n++] = prefix;
    }
    for (uint32_t i = 0; i < c->eal_args.n && n < ARGS_MAX - 1; i++)
        args[n++] = (char *)(uintptr_t)c->eal_args.item[i];
    ASSERT(n < ARGS_MAX);
    args[n] = NULL;
    return n;
}

int eal_start(const struct config *c, char *error, size_t error_len)
{
    static char cores[CORES_BYTES], prefix[32]; /* the EAL keeps pointers */
    static char *args[ARGS_MAX];
    int n;

    huge_in_use = c->eal_huge_pages == HUGE_PAGES_ON ||
                  (c->eal_huge_pages == HUGE_PAGES_AUTO && huge_pages_free());
    main_cores(cores, sizeof(cores));
    file_prefix(c, prefix, sizeof(prefix));
    n = eal_arguments(c, args, cores, prefix);
    ASSERT(n > 0);
    if (rte_eal_init(n, args) < 0) {
        snprintf(error, error_len,
                 "DPDK's EAL did not start: %s; eal.huge_pages: off runs without huge pages, and "
                 "eal.args must be "
                 "arguments that the EAL knows",
                 rte_strerror(rte_errno));
        return rte_errno > 0 ? -rte_errno : -EIO;
    }
    snprintf(runtime_dir, sizeof(runtime_dir), "%s", rte_eal_get_runtime_dir());
    return 0;
}

void eal_stop(void)
{
    int rc = rte_eal_cleanup();

    ASSERT(rc <= 0);
    if (rc != 0)
        log_warn("eal", "clean-up: %s", rte_strerror(-rc));
    if (runtime_dir[0] != '\0')
        (void)rmdir(runtime_dir); /* fails when it never was, or when something is left in it */
}

bool eal_huge(void)
{
    return huge_in_use;
}
