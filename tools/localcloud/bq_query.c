#include "tools/localcloud/bq_internal.h"
bool lc_query_run(struct lc_bq *b, struct lc_job *job, json_t *done, struct lc_problem *p)
{ (void)b; (void)job; (void)done; lc_problem_set(p, 400, "invalidQuery", "not yet"); return false; }
void lc_query(struct lc_req *r) { lc_fail(r, 501, "notImplemented", "not yet"); }
void lc_query_results(struct lc_req *r) { lc_fail(r, 501, "notImplemented", "not yet"); }
int lc_bq_print_query(const char *dir, const char *project, const char *sql, int as_json)
{ (void)dir; (void)project; (void)sql; (void)as_json; return 1; }
