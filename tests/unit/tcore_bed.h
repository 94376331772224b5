/*
 * A worker in this process, on loopback, with a journal on a replaceable disk, a keeper thread, and
 * small HTTP clients with blocking or watched sockets. Fails the test (cmocka) when it cannot be
 * set up.
 */
#ifndef PENSTOCK_TESTS_TCORE_BED_H
#define PENSTOCK_TESTS_TCORE_BED_H

#include <pthread.h>

#include "dataplane/lane.h"
#include "dataplane/worker.h"
#include "tests/unit/tcore_read.h"
#include "tests/unit/tcore_storage.h"

#define TCORE_SEGMENT_BYTES (4u << 20)

/** Everything around one worker. Fill config, journal_config, disk and lanes between init and
 * start. */
struct tcore_bed {
    struct worker_config config;
    struct journal_config journal_config;
    struct tcore_storage *disk; /* NULL: the operating system's files */
    struct lane *lane[SINK_THREADS_MAX];
    uint32_t n_lanes;
    struct type_set types;
    struct type_config type[2];
    struct schema *order_schema, *json_schema;
    char *dir, *journal_dir;
    struct journal *journal;
    struct worker *worker;
    uint16_t port, tcp_port, acked_port, udp_port;
    pthread_t keeper;
    bool keeping;
    _Atomic bool keeper_stop;
    _Atomic lsn_t free_lsn;
};

/** Sets the defaults: small blocks, type "order" with a schema, everything else without. */
void tcore_bed_init(struct tcore_bed *b, bool with_disk);

/** Opens the journal and starts keeper and worker. */
void tcore_bed_start(struct tcore_bed *b);

/** Ends worker and keeper, closes the journal; tcore_bed_start() may follow. */
void tcore_bed_stop(struct tcore_bed *b);

/** Frees all. */
void tcore_bed_fini(struct tcore_bed *b);

/** The storage that the journal is on. */
const struct storage *tcore_bed_storage(const struct tcore_bed *b);

/** Opens the journal for reading, reads all lines, closes it. The bed is stopped. @return blocks.
 */
int tcore_bed_read(struct tcore_bed *b, tcore_line line, void *ctx);

/** Waits until a counter of the worker has reached v. @return false after timeout_ms. */
bool tcore_wait(const _Atomic uint64_t *counter, uint64_t v, int timeout_ms);

/** A connection to the worker: to its HTTP port, or to another one. */
int tcore_connect(const struct tcore_bed *b);
int tcore_connect_port(uint16_t port);

/** Sends all bytes. @return false when the peer is gone. */
bool tcore_send(int fd, const void *bytes, size_t len);

/** Sends a POST with Content-Length. */
void tcore_post(int fd, const char *path, const char *body, size_t len);

/** Whether something (or the end) can be read within timeout_ms. */
bool tcore_readable(int fd, int timeout_ms);

/** One whole answer. @return its status; 0 at the end of the connection; -1 after timeout_ms. */
int tcore_answer(int fd, char *body, size_t body_len, int timeout_ms);

#endif
