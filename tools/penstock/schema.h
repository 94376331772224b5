/*
 * `penstock schema infer` and `penstock schema ddl`: work on files, without a daemon.
 */
#ifndef PENSTOCK_TOOLS_PENSTOCK_SCHEMA_H
#define PENSTOCK_TOOLS_PENSTOCK_SCHEMA_H

#include <stdio.h>

#include "dataplane/event/rows.h"

/** The command line of both. */
struct schema_options {
    const char **files;
    int n_files;
    const char *type_field, *type, *time_field;
    const char *out; /* a directory, or NULL */
    bool name_map;   /* print how names are mapped instead of the schema */
    bool infer;      /* ddl: the files hold events */
    const char *table, *partition, *cluster;
};

/** What was found in events of one type. */
struct inferred {
    char *type; /* "" without a type field */
    struct rows *rows;
    uint64_t events;
};

/** All of them. */
struct inference {
    const struct schema_options *options;
    struct inferred *list;
    uint32_t n, last;
    uint64_t events, bad, untyped, other_types;
    char *out; /* of rows_encode_counted() */
    size_t out_room;
    char *line; /* an event without line breaks */
    size_t line_room;
    struct rows_counts counts;
};

/**
 * Runs `penstock schema ARGUMENT...`.
 * Thread: main.
 * @return the exit status: 0 done, 1 error or bad documents, 2 wrong usage.
 */
int schema_main(int argc, char **argv);

/** Prints how both are used. Thread: main. */
void schema_usage(FILE *to);

/**
 * Reads all files. Bad documents are named on stderr and counted.
 * Thread: main.  Owner: caller, until inference_fini().
 * @return false after an error that ends it, which is said on stderr.
 */
bool inference_run(struct inference *in, const struct schema_options *options);

/** Frees everything. Thread: main. */
void inference_fini(struct inference *in);

/**
 * Says on stderr what was found and what would become of the events under these schemas.
 * Thread: main.  @return the exit status.
 */
int inference_report(struct inference *in);

/** Prints the schemas, or the names, as the options ask. Thread: main. @return the exit status. */
int inference_print(const struct inference *in);

/** Prints CREATE TABLE for a schema. Thread: main. @return the exit status. */
int schema_ddl(const struct schema *s, const struct schema_options *options);

#endif
