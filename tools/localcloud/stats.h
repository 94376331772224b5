// Counts of calls by service, method and answer, shown by GET /localcloud/stats.
// Thread: any; a lock inside.
#ifndef LOCALCLOUD_STATS_H
#define LOCALCLOUD_STATS_H

#include <stdint.h>

struct lc_req;
struct lc_stats;

/** All zero. Owner: caller, lc_stats_destroy. */
struct lc_stats *lc_stats_create(void);

/** Frees s. */
void lc_stats_destroy(struct lc_stats *s);

/** Counts one call; status 0 means that the connection was cut. service must be a literal. */
void lc_stats_count(struct lc_stats *s, const char *service, const char *method, int status,
                    uint64_t bytes_in);

/** GET /localcloud/stats: calls, objects, tables, rows, load jobs by table. */
void lc_stats_handler(struct lc_req *r);

#endif
