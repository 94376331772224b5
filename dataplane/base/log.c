/* COLD. One line a call, whole lines even from several threads: a single write(2) each. */
#include "dataplane/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES 1024

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static _Atomic int level_min = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&level_min, (int)level, memory_order_relaxed);
}

int log_level_from_name(const char *name)
{
    ASSERT(name != NULL);
    for (int i = 0; i < (int)ARRAY_LEN(level_names); i++) {
        if (strcmp(level_names[i], name) == 0)
            return i;
    }
    return -1;
}

static size_t line_prefix(char *line, enum log_level level, const char *module)
{
    struct timespec now;
    struct tm tm;
    int n;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    n = snprintf(line, LINE_BYTES,
                 "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s %s: ", tm.tm_year + 1900, tm.tm_mon + 1,
                 tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, now.tv_nsec / 1000000,
                 level_names[level], module);
    return n < 0 ? 0 : (size_t)n;
}

void log_line(enum log_level level, const char *module, const char *format, ...)
{
    char line[LINE_BYTES];
    va_list args;
    size_t len;
    int n;

    ASSERT(level <= LOG_LEVEL_ERROR);
    if ((int)level < atomic_load_explicit(&level_min, memory_order_relaxed))
        return;
    len = line_prefix(line, level, module);
    va_start(args, format);
    n = vsnprintf(line + len, LINE_BYTES - len, format, args);
    va_end(args);
    if (n > 0)
        len += (size_t)n;
    if (len > LINE_BYTES - 1)
        len = LINE_BYTES - 1;
    line[len++] = '\n';
    if (write(STDERR_FILENO, line, len) < 0)
        return; /* nowhere left to say it */
}
