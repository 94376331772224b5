/*
 * COLD. What is paused, and the file that remembers it: data_dir/paused, written anew as a whole
 * (temporary file, fsync, rename, fsync of the directory), so that a crash leaves the old list or
 * the new one. One pause a line: gcs|bigquery|type NAME, since and until in microseconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "control/tuning_internal.h"
#include "dataplane/base/clock.h"
#include "dataplane/base/log.h"
#include "dataplane/event/timeval.h"

#define LINE_BYTES   1024
#define TIME_SECONDS 19 /* of "2026-11-21T10:00:00.000000Z" */
#define WORD_FORMAT  "%10s %400s %" SCNd64 " %" SCNd64 "%c"
#define FIELDS       5

static const char *const what_name[] = {"gcs", "bigquery", "type"};

/* ---- for people ---- */

void tuning_time(int64_t wall_us, struct textbuf *out)
{
    char text[TIME_TEXT_BYTES + 1];

    ASSERT(out != NULL);
    time_format(wall_us, text);
    textbuf_bytes(out, text, TIME_SECONDS);
    textbuf_bytes(out, "Z", 1);
}

void tuning_pause_text(const struct tuning_pause *p, struct textbuf *out)
{
    ASSERT(p->what <= TUNING_TYPE);
    textbuf_add(out, "%s", what_name[p->what]);
    if (p->what == TUNING_TYPE) {
        textbuf_add(out, " ");
        textbuf_printable(out, span_of(p->type));
    }
    textbuf_add(out, " since ");
    tuning_time(p->since_us, out);
    if (p->until_us > 0) {
        textbuf_add(out, " until ");
        tuning_time(p->until_us, out);
    }
}

void tuning_pause_json(const struct tuning_pause *p, struct textbuf *out)
{
    ASSERT(p->what <= TUNING_TYPE);
    textbuf_add(out, "{\"what\":\"%s\",\"type\":", what_name[p->what]);
    if (p->what == TUNING_TYPE)
        textbuf_json(out, span_of(p->type));
    else
        textbuf_add(out, "null");
    textbuf_add(out, ",\"since\":\"");
    tuning_time(p->since_us, out);
    textbuf_add(out, "\",\"until\":%s", p->until_us > 0 ? "\"" : "null");
    if (p->until_us > 0)
        tuning_time(p->until_us, out);
    textbuf_add(out, "%s}", p->until_us > 0 ? "\"" : "");
}

/* ---- the file ---- */

static int write_all(int fd, const struct textbuf *b)
{
    size_t at = 0;

    while (at < b->len) {
        ssize_t n = write(fd, b->ptr + at, b->len - at);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        at += (size_t)n;
    }
    ASSERT(at == b->len);
    return fsync(fd) == 0 ? 0 : -errno;
}

static int sync_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

    ASSERT(folder[0] != '\0');
    if (fd < 0)
        return -errno;
    rc = fsync(fd) == 0 ? 0 : -errno;
    close(fd);
    return rc;
}

/* Puts a text in the file's place, durably. */
static int replace_file(const struct tuning *t, const struct textbuf *text)
{
    char *temporary;
    int fd, rc;

    ASSERT(t->pause_path != NULL);
    if (text->failed || asprintf(&temporary, "%s.new", t->pause_path) < 0)
        return -ENOMEM;
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    rc = fd < 0 ? -errno : write_all(fd, text);
    if (fd >= 0)
        close(fd);
    if (rc == 0 && rename(temporary, t->pause_path) != 0)
        rc = -errno;
    if (rc == 0)
        rc = sync_folder(t->start->data_dir);
    if (rc != 0)
        (void)unlink(temporary);
    free(temporary);
    return rc;
}

static int write_pauses(const struct tuning *t, const struct tuning_pause *pause, uint32_t n)
{
    struct textbuf text = {0};
    int rc;

    ASSERT(n <= TUNING_PAUSES_MAX);
    textbuf_add(&text,
                "# Written by `penstock pause` and `resume`: what, since, until (0: for ever)\n");
    for (uint32_t i = 0; i < n; i++) {
        textbuf_add(&text, "%s ", what_name[pause[i].what]);
        if (pause[i].what == TUNING_TYPE)
            tuning_encode_type(pause[i].type, &text);
        else
            textbuf_add(&text, "-");
        textbuf_add(&text, " %" PRId64 " %" PRId64 "\n", pause[i].since_us, pause[i].until_us);
    }
    rc = replace_file(t, &text);
    textbuf_fini(&text);
    return rc;
}

/* One line of the file. @return false when it is none of ours. */
static bool read_line(const char *line, struct tuning_pause *out)
{
    char word[11], name[401], end;

    ASSERT(out != NULL);
    *out = (struct tuning_pause){0};
    if (sscanf(line, WORD_FORMAT, word, name, &out->since_us, &out->until_us, &end) != FIELDS ||
        end != '\n' || out->since_us <= 0 || out->until_us < 0)
        return false;
    for (int i = TUNING_GCS; i <= TUNING_TYPE; i++) {
        if (strcmp(word, what_name[i]) == 0) {
            out->what = (enum tuning_what)i;
            return out->what != TUNING_TYPE || tuning_decode_type(name, strlen(name), out->type);
        }
    }
    return false;
}

static void log_loaded(const struct tuning_pause *p, bool over)
{
    struct textbuf text = {0};

    tuning_pause_text(p, &text);
    ASSERT(text.len > 0);
    log_warn("tuning",
             over ? "was paused: %s; its time is over"
                  : "still paused: %s; `penstock "
                    "resume` ends it",
             textbuf_str(&text));
    textbuf_fini(&text);
}

int tuning_pauses_load(struct tuning *t, char *error, size_t error_len)
{
    FILE *f = fopen(t->pause_path, "re");
    char line[LINE_BYTES];
    int64_t now_us = clock_wall_us();
    int rc = 0, number = 0;

    if (f == NULL && errno == ENOENT)
        return 0;
    if (f == NULL) {
        snprintf(error, error_len, "cannot read %s: %s", t->pause_path, strerror(errno));
        return -EIO;
    }
    while (rc == 0 && fgets(line, sizeof(line), f) != NULL) {
        struct tuning_pause p;

        number++;
        if (line[0] == '#')
            continue;
        if (t->n_pauses == TUNING_PAUSES_MAX || !read_line(line, &p)) {
            snprintf(error, error_len,
                     "%s, line %d: this is not what penstockd wrote; delete the file to resume "
                     "everything that was paused",
                     t->pause_path, number);
            rc = -EBADMSG;
            continue;
        }
        log_loaded(&p, p.until_us > 0 && p.until_us <= now_us);
        if (p.until_us == 0 || p.until_us > now_us)
            t->pause[t->n_pauses++] = p;
    }
    fclose(f);
    ASSERT(t->n_pauses <= TUNING_PAUSES_MAX);
    return rc;
}

/* ---- changing ---- */

static struct tuning_pause *find(struct tuning *t, enum tuning_what what, const char *type)
{
    ASSERT(type != NULL);
    for (uint32_t i = 0; i < t->n_pauses; i++) {
        if (t->pause[i].what == what && strcmp(t->pause[i].type, type) == 0)
            return &t->pause[i];
    }
    return NULL;
}

static void log_change(const char *verb, const struct tuning_pause *p)
{
    struct textbuf text = {0};

    tuning_pause_text(p, &text);
    ASSERT(text.len > 0);
    log_info("tuning", "%s: %s", verb, textbuf_str(&text));
    textbuf_fini(&text);
}

int tuning_pause(struct tuning *t, enum tuning_what what, const char *type, int64_t for_us)
{
    int64_t now_us = clock_wall_us();
    struct tuning_pause *p, before;
    int rc;

    ASSERT(strlen(type) <= TYPE_NAME_BYTES_MAX && (what == TUNING_TYPE) == (type[0] != '\0'));
    pthread_mutex_lock(&t->lock);
    p = find(t, what, type);
    if (p == NULL && t->n_pauses == TUNING_PAUSES_MAX) {
        pthread_mutex_unlock(&t->lock);
        return -E2BIG;
    }
    if (p == NULL) {
        p = &t->pause[t->n_pauses++];
        *p = (struct tuning_pause){.what = what};
    }
    before = *p;
    if (p->since_us == 0) {
        memcpy(p->type, type, strlen(type));
        p->since_us = now_us;
    }
    p->until_us = for_us > 0 ? now_us + for_us : 0;
    rc = write_pauses(t, t->pause, t->n_pauses);
    if (rc == 0) {
        log_change("paused", p);
        tuning_publish(t, what == TUNING_TYPE);
    } else if (before.since_us == 0) {
        t->n_pauses--;
    } else {
        *p = before;
    }
    pthread_mutex_unlock(&t->lock);
    return rc;
}

int tuning_resume(struct tuning *t, enum tuning_what what, const char *type)
{
    struct tuning_pause *p, gone;
    int rc = -ENOENT;

    pthread_mutex_lock(&t->lock);
    p = find(t, what, type);
    if (p != NULL) {
        gone = *p;
        *p = t->pause[--t->n_pauses];
        rc = write_pauses(t, t->pause, t->n_pauses);
        if (rc == 0) {
            log_change("resumed", &gone);
            tuning_publish(t, what == TUNING_TYPE);
        } else {
            t->pause[t->n_pauses++] = *p;
            *p = gone;
        }
    }
    ASSERT(t->n_pauses <= TUNING_PAUSES_MAX);
    pthread_mutex_unlock(&t->lock);
    return rc;
}

bool tuning_pauses_expire(struct tuning *t)
{
    int64_t now_us = clock_wall_us();
    uint32_t kept = 0, n = t->n_pauses;

    for (uint32_t i = 0; i < n; i++) {
        if (t->pause[i].until_us == 0 || t->pause[i].until_us > now_us)
            t->pause[kept++] = t->pause[i];
        else
            log_change("resumed, its time is over", &t->pause[i]);
    }
    t->n_pauses = kept;
    ASSERT(kept <= n);
    if (kept == n)
        return false;
    /* A list that cannot be written still says until when: the next start reads it right. */
    if (write_pauses(t, t->pause, kept) != 0)
        log_warn("tuning", "%s cannot be written", t->pause_path);
    return true;
}

bool tuning_type_now(struct tuning *t, const char *type, uint32_t *sampling_ppm,
                     struct tuning_pause *pause)
{
    const struct tuning_pause *p = NULL;
    const struct live_settings *s;
    const struct live_type *own;

    ASSERT(type != NULL);
    pthread_mutex_lock(&t->lock);
    s = live_current(t->live);
    own = live_type_find(s, span_of(type));
    *sampling_ppm = own != NULL ? own->sampling_ppm : s->worker.sampling_ppm;
    if (own != NULL && own->paused)
        p = find(t, TUNING_TYPE, type);
    if (p != NULL)
        *pause = *p;
    pthread_mutex_unlock(&t->lock);
    return p != NULL;
}

uint32_t tuning_pauses(struct tuning *t, struct tuning_pause **out)
{
    uint32_t n;

    ASSERT(out != NULL);
    pthread_mutex_lock(&t->lock);
    n = t->n_pauses;
    *out = calloc(n + 1, sizeof(**out));
    if (*out == NULL)
        n = 0;
    else
        memcpy(*out, t->pause, n * sizeof(**out));
    pthread_mutex_unlock(&t->lock);
    return n;
}
