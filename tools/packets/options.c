/* See options.h. */
#include "tools/packets/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: penstock-packets --device DEVICE [--count N | --seconds S | --events FILE --once] "
    "[options]\n"
    "Sends events as UDP packets from a DPDK port, and prints what was sent as JSON.\n"
    "\n"
    "  --device DEVICE   a virtual device of DPDK: net_memif0,role=client,socket=/run/m.sock\n"
    "                    (waits up to 30 s for the other side),\n"
    "                    net_pcap0,tx_pcap=FILE, net_af_packet0,iface=eth1\n"
    "  --events FILE     events, one a line, again and again; without it, events with sequence\n"
    "                    numbers: {\"event_type\":\"packet\",\"seq\":0,\"pad\":\"...\"}\n"
    "  --once            sends the events of the file once, as they come; FILE may be - (standard\n"
    "                    input): penstock-gen --out - | penstock-packets --events - --once ...\n"
    "  --size BYTES      of an event with a sequence number (512)\n"
    "  --batch N         events a packet (1)\n"
    "  --count N         packets in all\n"
    "  --seconds S       stops after so long\n"
    "  --rate N          packets a second; without it, as fast as the port takes them\n"
    "  --udp-port N      where to (8083)\n"
    "  --v6              IPv6 instead of IPv4\n"
    "  --no-checksum     leaves the UDP checksum out (IPv4)\n"
    "  --corrupt N       one of N packets has a wrong UDP checksum: to be dropped by who receives "
    "it\n"
    "  --drop            what the port does not take is refused, not offered again\n"
    "  --linger MS       keeps the port open so long after the last packet and the report, or "
    "until\n"
    "                    SIGTERM (500): with memif, what nobody has read yet ends with the port\n"
    "  --lives N         closes the port and opens it again, so that there are N runs of --count\n"
    "                    packets or --seconds\n"
    "  --eal ARG         one more argument for DPDK's EAL; may be repeated\n";

enum {
    OPT_DEVICE = 1,
    OPT_EVENTS,
    OPT_ONCE,
    OPT_SIZE,
    OPT_BATCH,
    OPT_COUNT,
    OPT_SECONDS,
    OPT_RATE,
    OPT_PORT,
    OPT_V6,
    OPT_NO_CHECKSUM,
    OPT_CORRUPT,
    OPT_DROP,
    OPT_LINGER,
    OPT_LIVES,
    OPT_EAL,
    OPT_HELP
};

static const struct option list[] = {
    {"device", required_argument, NULL, OPT_DEVICE},
    {"events", required_argument, NULL, OPT_EVENTS},
    {"once", no_argument, NULL, OPT_ONCE},
    {"size", required_argument, NULL, OPT_SIZE},
    {"batch", required_argument, NULL, OPT_BATCH},
    {"count", required_argument, NULL, OPT_COUNT},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"rate", required_argument, NULL, OPT_RATE},
    {"udp-port", required_argument, NULL, OPT_PORT},
    {"v6", no_argument, NULL, OPT_V6},
    {"no-checksum", no_argument, NULL, OPT_NO_CHECKSUM},
    {"corrupt", required_argument, NULL, OPT_CORRUPT},
    {"drop", no_argument, NULL, OPT_DROP},
    {"linger", required_argument, NULL, OPT_LINGER},
    {"lives", required_argument, NULL, OPT_LIVES},
    {"eal", required_argument, NULL, OPT_EAL},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

/* A number from min to max; the wrong ones are said. */
static bool number(const char *name, const char *text, double min, double max, double *out)
{
    char *end;

    errno = 0;
    *out = strtod(text, &end);
    if (errno == 0 && end != text && *end == '\0' && *out >= min && *out <= max)
        return true;
    fprintf(stderr, "penstock-packets: --%s: found \"%s\"; allowed: a number from %g to %g\n", name,
            text, min, max);
    return false;
}

static bool take_number(struct options *o, int option, const char *text)
{
    double v = 0;
    bool ok = false;

    switch (option) {
    case OPT_SIZE:
        ok = number("size", text, 64, 8900, &v);
        o->size = (uint32_t)v;
        break;
    case OPT_BATCH:
        ok = number("batch", text, 1, 64, &v);
        o->batch = (uint32_t)v;
        break;
    case OPT_COUNT:
        ok = number("count", text, 1, 1e15, &v);
        o->count = (uint64_t)v;
        break;
    case OPT_SECONDS:
        ok = number("seconds", text, 0.01, 1e6, &v);
        o->seconds = v;
        break;
    case OPT_RATE:
        ok = number("rate", text, 1, 1e9, &v);
        o->rate = v;
        break;
    case OPT_PORT:
        ok = number("udp-port", text, 1, 65535, &v);
        o->port = (uint16_t)v;
        break;
    case OPT_CORRUPT:
        ok = number("corrupt", text, 1, 1e9, &v);
        o->corrupt = (uint32_t)v;
        break;
    case OPT_LINGER:
        ok = number("linger", text, 0, 3600000, &v);
        o->linger_ms = (uint32_t)v;
        break;
    case OPT_LIVES:
        ok = number("lives", text, 1, 1e6, &v);
        o->lives = (uint32_t)v;
        break;
    default:
        break;
    }
    return ok;
}

static bool take(struct options *o, int option, const char *text)
{
    switch (option) {
    case OPT_DEVICE:
        o->device = text;
        return true;
    case OPT_EVENTS:
        o->events = text;
        return true;
    case OPT_ONCE:
        return o->once = true;
    case OPT_V6:
        return o->v6 = true;
    case OPT_NO_CHECKSUM:
        return o->no_checksum = true;
    case OPT_DROP:
        return o->drop = true;
    case OPT_EAL:
        if (o->n_eal < OPTIONS_EAL_MAX)
            o->eal[o->n_eal++] = text;
        return true;
    default:
        return take_number(o, option, text);
    }
}

static bool wrong(const char *what)
{
    fprintf(stderr, "penstock-packets: %s\n", what);
    return false;
}

/* Whether options go together; what does not is said. */
static bool together(const struct options *o)
{
    if (o->device == NULL || (o->count == 0 && o->seconds <= 0 && !o->once)) {
        fputs(help, stderr);
        return false;
    }
    if (o->once && o->events == NULL)
        return wrong("--once takes --events FILE");
    if (o->events != NULL && strcmp(o->events, "-") == 0 && !o->once)
        return wrong("--events - takes --once: standard input cannot be read again");
    if (o->corrupt > 0 && o->events != NULL && !o->once)
        return wrong("--corrupt takes --once, or events with sequence numbers");
    return true;
}

int options_parse(int argc, char **argv, struct options *out)
{
    int option;

    *out = (struct options){.size = 512, .batch = 1, .port = 8083, .linger_ms = 500, .lives = 1};
    while ((option = getopt_long(argc, argv, "", list, NULL)) != -1) {
        if (option == OPT_HELP) {
            fputs(help, stdout);
            return -1;
        }
        if (option == '?' || !take(out, option, optarg))
            return 1;
    }
    if (optind != argc)
        fputs(help, stderr);
    return optind == argc && together(out) ? 0 : 1;
}
