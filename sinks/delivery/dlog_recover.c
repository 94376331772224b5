/*
 * COLD. Recovery of the delivery log: see dlog_recover.h and "Recovery" in README.md of this
 * folder.
 *
 * Every write is durable before the next begins, so a frame that is followed by a later one was
 * durable: a bad frame with a good one behind it that says so is damage, and only a bad last frame
 * is a torn tail.
 */
#include "sinks/delivery/dlog_recover.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "dataplane/base/log.h"
#include "sinks/delivery/bytes.h"

static bool frame_at(const struct log_image *im, const struct file_header *h, uint64_t offset,
                     struct frame_header *out)
{
    ASSERT(offset % STORAGE_ALIGN == 0);
    if (offset >= im->len)
        return false;
    return frame_decode(im->data + offset, im->len - offset, &h->log, offset, out) == 0 &&
           out->file_seq == h->file_seq;
}

void dlog_scan_file(const struct log_image *im, struct file_scan *s)
{
    struct frame_header f;

    *s = (struct file_scan){.end = FILE_HEADER_BYTES, .last = FILE_HEADER_BYTES};
    s->has_header = im->data != NULL && file_header_decode(im->data, im->len, &s->header) == 0;
    if (!s->has_header)
        return;
    while (frame_at(im, &s->header, s->end, &f)) {
        s->complete |= f.kind == FRAME_END_SNAPSHOT;
        s->last = s->end;
        s->end += frame_span(f.payload_len);
    }
    for (uint64_t at = s->end + STORAGE_ALIGN; at < im->len && s->damage == 0;
         at += STORAGE_ALIGN) {
        if (frame_at(im, &s->header, at, &f) && f.durable_offset > s->end)
            s->damage = at;
    }
    ASSERT(s->end % STORAGE_ALIGN == 0);
}

uint64_t dlog_frames_end(const struct log_image *image, uint64_t *last)
{
    struct file_scan s;

    ASSERT(image != NULL);
    dlog_scan_file(image, &s);
    *last = s.last;
    return s.has_header ? s.end : 0;
}

/* Whether a file without a usable header holds frames that count: newer than file_seq; of any log
 * if log is NULL. */
static bool holds_frames(const struct log_image *im, const struct journal_uuid *log,
                         uint64_t file_seq)
{
    struct frame_header f;

    for (uint64_t at = FILE_HEADER_BYTES; at < im->len; at += STORAGE_ALIGN) {
        struct byte_reader r = {.p = im->data + at, .left = im->len - at};

        if (log == NULL && get_u32(&r) == FRAME_MAGIC)
            return true;
        if (log != NULL && frame_decode(im->data + at, im->len - at, log, at, &f) == 0 &&
            f.file_seq > file_seq && f.kind != FRAME_SNAPSHOT)
            return true;
    }
    return false;
}

static int damaged(char *error, size_t error_len, int file, uint64_t bad, uint64_t behind)
{
    snprintf(error, error_len,
             "dlog-%d is damaged at offset %llu, in front of records that were acknowledged "
             "(offset %llu): restore "
             "the file from the disk's other copy, or move the log away and let the journal be "
             "delivered anew",
             file, (unsigned long long)bad, (unsigned long long)behind);
    return -EUCLEAN;
}

/* The file that counts, by sequence number and completeness. -1 for a new log, -EUCLEAN for damage.
 */
static int choose_without_winner(const struct log_image *image, const struct file_scan *scan,
                                 char *error, size_t error_len)
{
    for (int i = 0; i < DLOG_FILES; i++) {
        bool lost = scan[i].has_header ? (scan[i].header.flags & FILE_FIRST) == 0
                                       : image[i].data != NULL && holds_frames(&image[i], NULL, 0);

        ASSERT(!scan[i].complete);
        if (lost) {
            snprintf(error, error_len,
                     "neither file of the delivery log is complete, and dlog-%d is not the first "
                     "of a new log: the "
                     "other file is missing or its header is damaged",
                     i);
            return -EUCLEAN;
        }
    }
    return -1;
}

static int choose(const struct log_image *image, const struct file_scan *scan, char *error,
                  size_t error_len)
{
    int newest = scan[1].has_header &&
                 (!scan[0].has_header || scan[1].header.file_seq > scan[0].header.file_seq);
    int winner = -1;

    if (scan[0].has_header && scan[1].has_header &&
        memcmp(&scan[0].header.log, &scan[1].header.log, sizeof(scan[0].header.log)) != 0) {
        snprintf(error, error_len, "dlog-0 and dlog-1 are of two different delivery logs");
        return -EUCLEAN;
    }
    for (int k = 0; k < DLOG_FILES && winner < 0; k++) {
        int i = k == 0 ? newest : 1 - newest;

        if (scan[i].damage != 0)
            return damaged(error, error_len, i, scan[i].end, scan[i].damage);
        if (scan[i].complete)
            winner = i;
    }
    if (winner < 0)
        return choose_without_winner(image, scan, error, error_len);
    ASSERT(scan[winner].has_header && scan[winner].damage == 0);
    if (!scan[1 - winner].has_header && image[1 - winner].data != NULL &&
        holds_frames(&image[1 - winner], &scan[winner].header.log, scan[winner].header.file_seq)) {
        snprintf(error, error_len,
                 "the header of dlog-%d is damaged, and the file holds records newer than dlog-%d",
                 1 - winner, winner);
        return -EUCLEAN;
    }
    return winner;
}

struct replay {
    const struct recover_hooks *hooks;
    struct recovered *out;
    struct record_view view;
};

static int replay_record(struct replay *r, uint8_t kind, const uint8_t *bytes)
{
    const struct record_view *v = &r->view;
    bool ledger_only = (v->flags & RECORD_FLAG_LEDGER_ONLY) != 0;

    if (kind == FRAME_LOG) {
        if (v->seq != r->out->last_seq + 1 || ledger_only || v->type >= RECORD_SNAP_COUNTERS)
            return -EBADMSG;
        r->out->last_seq = v->seq;
        r->out->records++;
    }
    if (ledger_only && v->type >= RECORD_SNAP_COUNTERS)
        return -EBADMSG;
    if (!ledger_only && state_apply(r->out->state, v) != 0) {
        log_warn("delivery",
                 "the record %s with number %llu does not fit the state; ignored, as when it was "
                 "written",
                 record_type_name(v->type), (unsigned long long)v->seq);
        r->out->ignored++;
    }
    if (kind != FRAME_LOG && v->type == RECORD_SNAP_COUNTERS)
        r->out->last_seq = v->counters.last_seq;
    if ((kind == FRAME_LOG || ledger_only) && r->hooks->record != NULL)
        r->hooks->record(r->hooks->ctx, bytes, v);
    return 0;
}

static int replay_frame(struct replay *r, const struct frame_header *f, const uint8_t *payload)
{
    size_t at = 0;

    ASSERT(f->payload_len <= FRAME_PAYLOAD_MAX);
    for (uint32_t i = 0; i < f->n_records; i++) {
        int rc = record_decode(payload + at, f->payload_len - at, &r->view);

        if (rc == 0)
            rc = replay_record(r, f->kind, payload + at);
        if (rc != 0)
            return rc;
        at += r->view.len;
    }
    if (at != f->payload_len)
        return -EBADMSG;
    if (f->kind == FRAME_END_SNAPSHOT && r->hooks->snapshot != NULL)
        return r->hooks->snapshot(r->hooks->ctx, r->out->state);
    return 0;
}

static int replay_file(const struct log_image *im, const struct file_scan *s, struct replay *r,
                       char *error, size_t error_len)
{
    uint64_t at = FILE_HEADER_BYTES;
    struct frame_header f;

    ASSERT(s->has_header && s->complete && s->end <= im->len);
    while (at < s->end) {
        bool good = frame_at(im, &s->header, at, &f);
        int rc;

        ASSERT(good);
        rc = replay_frame(r, &f, im->data + at + FRAME_HEADER_BYTES);
        if (rc == -EBADMSG) {
            snprintf(error, error_len,
                     "dlog-%d holds a record at offset %llu that this version cannot read, though "
                     "its checksum is right",
                     r->out->winner, (unsigned long long)at);
            return -EUCLEAN;
        }
        if (rc != 0)
            return rc;
        at += frame_span(f.payload_len);
    }
    /* What is behind the end: zeros and older sequence numbers mean a clean end, this file's own a
     * torn frame. */
    if (at + FRAME_HEADER_BYTES <= im->len) {
        struct byte_reader b = {.p = im->data + at, .left = FRAME_HEADER_BYTES};
        bool magic = get_u32(&b) == FRAME_MAGIC;

        (void)get_bytes(&b, 12);
        r->out->cut = magic && get_u64(&b) == s->header.file_seq;
    }
    return 0;
}

int dlog_recover(const struct log_image image[DLOG_FILES], const struct recover_hooks *hooks,
                 struct recovered *out, char *error, size_t error_len)
{
    struct file_scan scan[DLOG_FILES];
    struct replay *r;
    int rc = 0;

    ASSERT(hooks != NULL && error_len > 0);
    error[0] = '\0';
    *out = (struct recovered){.winner = -1};
    for (int i = 0; i < DLOG_FILES; i++) {
        dlog_scan_file(&image[i], &scan[i]);
        if (scan[i].has_header && scan[i].header.file_seq > out->file_seq_max)
            out->file_seq_max = scan[i].header.file_seq;
    }
    out->winner = choose(image, scan, error, error_len);
    if (out->winner < -1)
        return out->winner;
    out->state = state_create();
    if (out->winner < 0)
        return 0;
    out->log = scan[out->winner].header.log;
    ASSERT(out->winner < DLOG_FILES && scan[out->winner].complete);
    r = must_malloc(sizeof(*r));
    r->hooks = hooks;
    r->out = out;
    rc = replay_file(&image[out->winner], &scan[out->winner], r, error, error_len);
    free(r);
    if (rc != 0) {
        state_destroy(out->state);
        out->state = NULL;
    }
    return rc;
}
