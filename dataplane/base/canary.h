/*
 * Faults that are built in on purpose, by a compile-time switch that only the simulation's canary
 * binaries set (tests/fault/README.md): each of them must be caught by a run, or the simulation sees
 * nothing. Everywhere else CANARY() is the constant false.
 */
#ifndef PENSTOCK_BASE_CANARY_H
#define PENSTOCK_BASE_CANARY_H

#ifndef PENSTOCK_CANARY
#define PENSTOCK_CANARY 0
#endif

#define CANARY_EARLY_ACK   1 /* a block is acknowledged when it is written, before its flush */
#define CANARY_PLAN_SYNC   2 /* a plan is sent before its PLAN is durable */
#define CANARY_FLUSH_RETRY 3 /* a flush that failed is tried again, and believed */
#define CANARY_DECISION_SYNC \
    4 /* a PLAN is submitted before its decisions on duplicates are durable */
#define CANARY_FOUND_DURABLE 5 /* what a start reads of the dedupe log counts as durable */
#define CANARY_ODD_ANSWER    6 /* an answer that makes no sense says that all rows are taken */
#define CANARY_SPOOL_SYNC    8 /* SPOOLED is recorded before the plan's file is durable */

#define CANARY(n) (PENSTOCK_CANARY == (n))

#endif
