// Injected faults: rules that tests set over HTTP and that each call is matched against.
// Thread: any; a lock inside. Rules live in memory only.
#ifndef LOCALCLOUD_FAULT_H
#define LOCALCLOUD_FAULT_H

#include <stdbool.h>
#include <stdint.h>

struct lc_req;
struct lc_faults;

/** Where a rule applies: by its keys. */
enum lc_fault_kind {
    LC_FAULT_CALL,  // any call, before it is served
    LC_FAULT_CHUNK, // data of a resumable session
    LC_FAULT_BODY,  // data of any upload
    LC_FAULT_ROWS,  // rows of insertAll
    LC_FAULT_LOAD,  // a load job that is accepted
    LC_FAULT_WRITE, // an object that is to be written; its name is the path
};

/** What to do to one call. */
struct lc_fault_action {
    int status; // 0: no error answer
    char reason[64];
    char message[256];
    int64_t delay_ms;
    int64_t retry_after_s;  // 0: no Retry-After header
    bool reset;             // cut the connection before doing anything
    bool lose_answer;       // do the work, then cut the connection
    int64_t persist_bytes;  // of the chunk, -1: all
    int drop_session;       // 404 or 410: the session is gone
    char row_reason[64];    // refuse rows with this reason
    int64_t row_every;      // each n-th row, from the first
    char row_contains[128]; // only rows whose JSON has this text
    char job_reason[64];    // the job fails with this reason
    int64_t job_rows;       // added to outputRows
    char load_row[128];     // the load job finds rows bad whose line has this text
    char load_uri[256];     // the load job finds files bad whose URI has this text
    bool load_silent;       // ... and does not say which
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
bool lc_fault_match(struct lc_faults *f, enum lc_fault_kind kind, const char *service,
                    const char *method, const char *path, struct lc_fault_action *action);

/** lc_fault_match for r's service, method and path. */
bool lc_fault_match_req(struct lc_req *r, enum lc_fault_kind kind, struct lc_fault_action *action);

/** @return true while a rule with "refuse" asks that new connections are closed at once. */
bool lc_fault_refuses(struct lc_faults *f);

/** POST /localcloud/faults: adds one rule. */
void lc_fault_add_handler(struct lc_req *r);

/** GET /localcloud/faults: all rules with their hit counts. */
void lc_fault_list_handler(struct lc_req *r);

/** DELETE /localcloud/faults: removes all rules. */
void lc_fault_clear_handler(struct lc_req *r);

#endif
