/*
 * Log lines for people, on stderr: time, level, module, text. For init, sink and control threads;
 * workers count, and control logs what changed.
 */
#ifndef PENSTOCK_BASE_LOG_H
#define PENSTOCK_BASE_LOG_H

#include "dataplane/base/compiler.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

/** Lines below level are not written. Thread: any. */
void log_set_level(enum log_level level);

/** The level of a name (debug, info, warn, error), or -1. Thread: any. */
int log_level_from_name(const char *name);

/**
 * Writes one line with a single write(2).
 * Thread: init, sink, control (not worker).  Alloc: none; longer lines are cut at 1 KiB.
 */
void log_line(enum log_level level, const char *module, const char *format, ...) PRINTF(3, 4);

#define log_debug(module, ...) log_line(LOG_LEVEL_DEBUG, module, __VA_ARGS__)
#define log_info(module, ...)  log_line(LOG_LEVEL_INFO, module, __VA_ARGS__)
#define log_warn(module, ...)  log_line(LOG_LEVEL_WARN, module, __VA_ARGS__)
#define log_error(module, ...) log_line(LOG_LEVEL_ERROR, module, __VA_ARGS__)

#endif
