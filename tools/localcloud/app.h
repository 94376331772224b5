// What one localcloud process is made of. Built by main.c, read by everyone.
#ifndef LOCALCLOUD_APP_H
#define LOCALCLOUD_APP_H

#include <stdint.h>

struct lc_storage;
struct lc_bq;
struct lc_faults;
struct lc_stats;
struct lc_tokens;

struct lc_app {
    const char *data_dir;
    struct lc_storage *storage;
    struct lc_bq *bq;
    struct lc_faults *faults;
    struct lc_stats *stats;
    struct lc_tokens *tokens;
};

#endif
