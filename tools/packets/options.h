/* The command line of penstock-packets. */
#ifndef PENSTOCK_PACKETS_OPTIONS_H
#define PENSTOCK_PACKETS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#define OPTIONS_EAL_MAX 16

struct options {
    const char *device;
    const char *events; /* a file of lines, "-": stdin; NULL: events with sequence numbers */
    uint64_t count;     /* packets; 0: no limit */
    double seconds;     /* 0: no limit */
    double rate;        /* packets a second; 0: as fast as it goes */
    uint32_t batch;     /* events a packet */
    uint32_t size;      /* of an event with a sequence number */
    uint16_t port;
    uint32_t corrupt; /* every so many packets one has a wrong checksum; 0: none */
    uint32_t lives;   /* how often the port is opened */
    bool once;        /* events of the file, not again and again */
    bool v6, drop, no_checksum;
    uint32_t linger_ms; /* after the last packet, before the port is closed */
    uint32_t n_eal;
    const char *eal[OPTIONS_EAL_MAX];
};

/** Reads it. Thread: main. @return 0; 1 when it is wrong (said on stderr); -1 for --help (printed). */
int options_parse(int argc, char **argv, struct options *out);

#endif
