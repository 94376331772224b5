/*
 * The versions of tables whose columns are inferred or added (rows.h), durable in a folder: one
 * small file each, written to a temporary name, flushed and renamed, before a plan refers to it.
 *
 *     DIR/TABLE-NUMBER-HASH.rows    TABLE cut to 64 bytes, with its CRC-32C; NUMBER from 1
 *
 *     PENSTOCK ROWS 1 NUMBER HASH BYTES CRC TABLE\n     hexadecimal, but for NUMBER and BYTES
 *     the text of rows.h, BYTES long
 *
 * Thread: a file is written and removed by the sink thread that owns the table; read at start.
 */
#ifndef PENSTOCK_DELIVERY_ROWS_STORE_H
#define PENSTOCK_DELIVERY_ROWS_STORE_H

#include "dataplane/base/storage.h"
#include "dataplane/event/rows.h"
#include "sinks/delivery/plan.h"

/** One version of one table. */
struct rows_file {
    char table[TABLE_NAME_BYTES_MAX];
    uint32_t number; /* counts the table's versions from 1 on */
    struct rows *rows;
};

/**
 * Makes a version durable.
 * Thread: sink.
 * @return 0; -errno with one sentence in error.
 */
int rows_store_save(const struct storage *storage, const char *dir, const struct rows_file *f,
                    char *error, size_t error_len) WARN_UNUSED;

/**
 * Reads every version; what an interrupted rows_store_save() left is removed.
 * Thread: init.
 * @param visit takes f->rows over.
 * @return 0; -EUCLEAN with error for a file that is not what was written; -errno; what visit
 * returned, if not 0.
 */
int rows_store_each(const char *dir, int (*visit)(void *ctx, struct rows_file *f), void *ctx,
                    char *error, size_t error_len) WARN_UNUSED;

/**
 * Reads the newest version of one table, while its sink thread may write and remove versions.
 * Thread: control.  Owner: caller, of f->rows.
 * @return 0; -ENOENT when there is none; -EUCLEAN or another -errno with error.
 */
int rows_store_newest(const char *dir, const char *table, struct rows_file *f, char *error,
                      size_t error_len) WARN_UNUSED;

/** Removes a version that nothing refers to any more. Thread: init, sink. */
void rows_store_remove(const struct storage *storage, const char *dir, const struct rows_file *f);

#endif
