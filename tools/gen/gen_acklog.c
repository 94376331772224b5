/* COLD. See gen_acklog.h. */
#include "tools/gen/gen_acklog.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tools/gen/gen_assert.h"
#include "tools/gen/gen_memory.h"
#include "tools/gen/gen_output.h"
#include "tools/gen/gen_text.h"

/* A sequence number, an id, a type name, a kind name, an outcome, spaces and a line end. */
enum { LINE_BYTES_MAX = 20 + GEN_ID_BYTES_MAX + 16 + 32 + 8 };

int gen_acklog_open(struct gen_acklog *log, const char *path)
{
    log->_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
    if (log->_fd < 0) {
        return -errno;
    }
    pthread_mutex_init(&log->_mutex, NULL);
    return 0;
}

int gen_acklog_close(struct gen_acklog *log)
{
    pthread_mutex_destroy(&log->_mutex);
    return close(log->_fd) == 0 ? 0 : -errno;
}

static char *put_text(char *out, const char *text)
{
    size_t bytes = strlen(text);
    memcpy(out, text, bytes);
    return out + bytes;
}

static char *put_line(char *out, const struct gen_events *g, uint64_t seq,
                      struct gen_event_info info, int status)
{
    out = gen_put_u64(out, seq);
    *out++ = ' ';
    out = gen_events_put_id(g, gen_events_origin(g, seq), info.type, out);
    *out++ = ' ';
    out = put_text(out, gen_type_name(info.type));
    *out++ = ' ';
    out = put_text(out, gen_kind_name(info.kind));
    *out++ = ' ';
    out = status == 0 ? put_text(out, "none") : gen_put_u64(out, (uint64_t)status);
    *out++ = '\n';
    return out;
}

int gen_acklog_write(struct gen_acklog *log, struct gen_acklog_lines *lines,
                     const struct gen_events *g, const struct gen_request *q, int status)
{
    size_t needed = (size_t)q->events * LINE_BYTES_MAX;
    GEN_ASSERT(q->infos != NULL);
    if (lines->bytes_max < needed) {
        lines->text = gen_memory_resize(lines->text, needed);
        lines->bytes_max = needed;
    }
    char *end = lines->text;
    for (uint32_t i = 0; i < q->events; i++) {
        end = put_line(end, g, q->first_seq + i, q->infos[i], status);
    }
    size_t bytes = (size_t)(end - lines->text);
    GEN_ASSERT(bytes <= needed);
    pthread_mutex_lock(&log->_mutex);
    int rc = gen_output_all(log->_fd, lines->text, bytes);
    pthread_mutex_unlock(&log->_mutex);
    return rc;
}
