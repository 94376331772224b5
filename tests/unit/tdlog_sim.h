/*
 * Storage in memory for tests of the delivery log: keeps what is durable apart from what was only
 * written, fails the n-th operation, cuts the power. And small makers of plans and records.
 */
#ifndef PENSTOCK_TESTS_TDLOG_SIM_H
#define PENSTOCK_TESTS_TDLOG_SIM_H

#include "sinks/delivery/dlog_internal.h"

enum tdlog_op {
    TDLOG_OPEN,
    TDLOG_PREAD,
    TDLOG_PWRITE,
    TDLOG_SYNC,
    TDLOG_SYNC_DIR,
    TDLOG_ALLOCATE,
    TDLOG_RENAME,
    TDLOG_OPS
};

struct tdlog_sim;

/** A fresh, empty disk. */
struct tdlog_sim *tdlog_sim_create(void);
void tdlog_sim_destroy(struct tdlog_sim *s);
struct storage tdlog_sim_storage(struct tdlog_sim *s);

/** Fails the n-th (from 1) coming operation of a kind with -EIO; n 0: none. Torn writes leave a
 * random part. */
void tdlog_sim_fail(struct tdlog_sim *s, enum tdlog_op op, unsigned int n, unsigned int times);

/** After n more operations of any kind that change the disk, everything fails until the reboot. 0:
 * never. */
void tdlog_sim_cut_after(struct tdlog_sim *s, unsigned int n);

/** Forbids growing and creating files (a full disk). */
void tdlog_sim_full(struct tdlog_sim *s, bool full);

/** Operations so far. */
unsigned int tdlog_sim_count(struct tdlog_sim *s, enum tdlog_op op);
unsigned int tdlog_sim_changes(struct tdlog_sim *s);

/** Power loss and reboot: unsynced blocks and names survive or not, by the seed. Every descriptor
 * is gone. */
void tdlog_sim_reboot(struct tdlog_sim *s, uint64_t seed);

/** The bytes of a file, to look at or damage; NULL if there is none. */
uint8_t *tdlog_sim_file(struct tdlog_sim *s, const char *path, size_t *len);

/** Next pseudo-random number. */
uint64_t tdlog_random(uint64_t *state);

/** Fills a plan with one range. */
void tdlog_plan(struct plan *p, uint64_t id, const char *type, unsigned int journal, lsn_t from,
                lsn_t to);

/** The uuid of test journal n. */
struct journal_uuid tdlog_journal(unsigned int n);

/** A new directory under TMPDIR; tdlog_rmdir() removes it with its files. */
char *tdlog_mkdir(void);
void tdlog_rmdir(char *dir);

/** Opens, failing the test on error. */
struct dlog *tdlog_open(const char *dir, const struct storage *st, uint32_t ports);

/** Opens; gives the result. */
int tdlog_try_open(const char *dir, const struct storage *st, uint32_t ports, struct dlog **out,
                   char *error, size_t error_len);

/** Submits and waits until it is durable. @return false when that took longer than timeout_ms. */
bool tdlog_do(struct dlog_port *p, const struct record *r, int timeout_ms);

/** The state as bytes, for comparing. Owner: caller frees. */
uint8_t *tdlog_state_bytes(const struct delivery_state *s, size_t *len);

#endif
