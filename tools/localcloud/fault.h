// Injected faults: rules that tests set over HTTP and that each call is matched against.
// Thread: any; a lock inside. Rules live in memory only.
#ifndef LOCALCLOUD_FAULT_H
#define LOCALCLOUD_FAULT_H

#include <stdbool.h>
#include <stdint.h>

struct lc_req;
struct lc_faults;

/** What to do to one call. */
struct lc_fault_action {
    int status; // 0: no error answer
    char reason[64];
    char message[256];
    int64_t delay_ms;
    int64_t retry_after_s; // 0: no Retry-After header
    bool reset;            // cut the connection before doing anything
    bool lose_answer;      // do the work, then cut the connection
};

/** Empty set of rules. Owner: caller, lc_faults_destroy. */
struct lc_faults *lc_faults_create(void);

/** Frees the rules. */
void lc_faults_destroy(struct lc_faults *f);

/**
 * First rule that matches this call, and one hit counted on it.
 * service: "storage", "bigquery" or "" for other paths; path: as received, with the query, still
 * encoded.
 * @return false when no rule applies (action untouched).
 */
bool lc_fault_match(struct lc_faults *f, const char *service, const char *method, const char *path,
                    struct lc_fault_action *action);

/** @return true while a rule with "refuse" asks that new connections are closed at once. */
bool lc_fault_refuses(struct lc_faults *f);

/** POST /localcloud/faults: adds one rule. */
void lc_fault_add_handler(struct lc_req *r);

/** GET /localcloud/faults: all rules with their hit counts. */
void lc_fault_list_handler(struct lc_req *r);

/** DELETE /localcloud/faults: removes all rules. */
void lc_fault_clear_handler(struct lc_req *r);

#endif
