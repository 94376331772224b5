// From a request line to a handler. Thread: the request's.
#ifndef LOCALCLOUD_ROUTE_H
#define LOCALCLOUD_ROUTE_H

struct lc_req;

/** Splits r->uri into decoded path segments and query parameters; sets r->malformed on a bad
 * escape. */
void lc_route_split(struct lc_req *r);

/** Sets r->route and r->args, or answers 400 or 404 (405 when only the method is wrong). */
void lc_route_find(struct lc_req *r);

/** "storage", "bigquery", "localcloud" (never faulted) or "other". */
const char *lc_route_service(const struct lc_req *r);

#endif
