/* COLD. Starts DPDK's EAL, see eal.h. */
#include "control/eal.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>

#include "control/config_fill.h"
#include "dataplane/base/crc32c.h"
#include "dataplane/base/log.h"

#define ARGS_MAX    80
#define CORES_BYTES 4096
#define HEAP_MIB    32 /* without ports: rings of lanes and returns take a few KiB each */

static bool huge_in_use;
static uint32_t heap_mib = HEAP_MIB;
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

struct arguments {
    int n;
    char *word[ARGS_MAX];
};

/* The EAL may write to its arguments, and keeps pointers to them. */
static void add(struct arguments *a, const char *word)
{
    ASSERT(a->n < ARGS_MAX - 1);
    a->word[a->n] = strdup(word);
    ASSERT(a->word[a->n] != NULL);
    a->n++;
}

/* Only the cards that are named are touched. */
static void add_cards(struct arguments *a, const struct config *c)
{
    bool any = false;

    for (uint32_t i = 0; i < c->dpdk_ports.n; i++) {
        if (!nic_is_pci(c->dpdk_ports.item[i]))
            continue;
        add(a, "-a");
        add(a, c->dpdk_ports.item[i]);
        any = true;
    }
    if (!any)
        add(a, "--no-pci");
}

static void add_memory(struct arguments *a, const struct config *c, uint32_t mib)
{
    char text[24], prefix[32];

    ASSERT(mib > 0);
    if (huge_in_use) {
        add(a, "--in-memory");
        return;
    }
    file_prefix(c, prefix, sizeof(prefix));
    snprintf(text, sizeof(text), "%u", mib);
    add(a, "--no-huge");
    add(a, "-m");
    add(a, text);
    add(a, "--file-prefix");
    add(a, prefix);
}

int eal_start(const struct config *c, char *error, size_t error_len)
{
    static struct arguments a;
    char cores[CORES_BYTES];
    struct nics_config nics;

    huge_in_use = c->eal_huge_pages == HUGE_PAGES_ON ||
                  (c->eal_huge_pages == HUGE_PAGES_AUTO && huge_pages_free());
    if (c->dpdk_ports.n > 0) {
        config_fill_nics(c, NULL, &nics);
        heap_mib = nics_memory_mib(&nics);
    }
    main_cores(cores, sizeof(cores));
    add(&a, "penstockd");
    add_cards(&a, c);
    add(&a, "--no-shconf");
    add(&a, "--no-telemetry");
    add(&a, "--log-level=error");
    add_memory(&a, c, heap_mib);
    add(&a, "--lcores");
    add(&a, cores);
    for (uint32_t i = 0; i < c->eal_args.n; i++)
        add(&a, c->eal_args.item[i]);
    ASSERT(a.n > 0);
    if (rte_eal_init(a.n, a.word) < 0) {
        snprintf(error, error_len,
                 "DPDK's EAL did not start: %s; eal.huge_pages: off runs without huge pages, cards "
                 "in dpdk.ports must be bound to vfio-pci or igb_uio (docs/dpdk.md), and eal.args "
                 "must be arguments that the "
                 "EAL knows",
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

uint64_t eal_heap_bytes(void)
{
    ASSERT(heap_mib > 0);
    return huge_in_use ? 0 : (uint64_t)heap_mib << 20;
}
