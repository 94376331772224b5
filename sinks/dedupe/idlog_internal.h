/* What the files of the decision log share. Included only in this folder and by its tests. */
#ifndef PENSTOCK_DEDUPE_IDLOG_INTERNAL_H
#define PENSTOCK_DEDUPE_IDLOG_INTERNAL_H

#include <stdatomic.h>

#include "dataplane/event/names.h"
#include "sinks/dedupe/idlog.h"

#define ID_HEADER_BYTES 4096u /* of a segment */
#define ID_FRAME_BYTES  64u   /* of a frame's header */
#define ID_FRAME_ALIGN  512u  /* no sector is written twice */
#define ID_BATCH_FIXED  56u   /* of a decision, without bitmap and ids */
#define ID_RETRY_US     1000000
#ifndef ID_SEGMENT_MIN                /* the simulation takes smaller ones */
#define ID_PENDING_MAX   (1u << 20)   /* bytes that may wait: past it append refuses */
#define ID_PENDING_WRITE (256u << 10) /* bytes that are written unasked */
#define ID_SEGMENT_MIN   (2u << 20)
#define ID_SEGMENT_MAX   (64u << 20)
#define ID_RUN_MAX       16384u /* lines in one run */
#endif

static_assert(ID_PENDING_MAX + ID_BATCH_FIXED + ID_RUN_MAX / 8 + ID_RUN_MAX * 16 +
                      2 * ID_FRAME_ALIGN + ID_HEADER_BYTES <=
                  ID_SEGMENT_MIN,
              "a frame fits a segment");

/** A segment in use. */
struct id_segment {
    uint64_t number;
    struct id_reach reach;
};

/** Bytes on their way; the first ID_FRAME_BYTES are the frame's header. */
struct id_buffer {
    uint8_t *data;
    size_t len, room; /* len 0: empty */
    uint32_t n_decisions;
    struct id_reach reach;
};

struct id_log {
    char dir[ID_LOG_PATH_BYTES];
    char type[TYPE_NAME_BYTES_MAX + 1];
    uint8_t key[ID_KEY_BYTES];
    uint32_t segment_bytes;
    uint32_t reserve; /* segments kept at least, free ones included */
    struct loop *loop;
    const struct storage *storage;
    struct id_log_stats stats;
    /* Segments in use, oldest first; the last one is written when fd >= 0. */
    struct id_segment *segment;
    size_t n_segments, segments_room;
    uint64_t *spare; /* numbers of free files */
    size_t n_spare, spare_room;
    uint64_t next_number; /* never used before */
    int fd;
    uint64_t offset;   /* of the next frame in it */
    uint64_t frame_no; /* of the next frame */
    struct id_buffer pending, writing;
    struct loop_read write;
    bool busy;  /* a write is under way */
    bool again; /* the frame in `writing` must be written again: its write failed, or */
    bool found; /* it was the last one at start, which may be in memory only */
    int64_t retry_us;
    uint64_t appended, durable;
};

/** Path of a file of the log. */
void id_log_path(const struct id_log *l, uint64_t number, const char *suffix, char *out);

/** Adds a segment to those in use. @return NULL without memory. */
struct id_segment *id_log_add_segment(struct id_log *l, uint64_t number);

/** Notes a free file. @return 0 or -ENOMEM. */
int id_log_add_spare(struct id_log *l, uint64_t number) WARN_UNUSED;

/** Makes a free file of full size. @return 0 or -errno. */
int id_log_make_spare(struct id_log *l) WARN_UNUSED;

/** Opens the next segment for writing: l->fd. @return 0 or -errno. */
int id_log_next_segment(struct id_log *l) WARN_UNUSED;

/** Fills the header of a frame: data starts with it. */
void id_frame_seal(uint8_t *data, size_t payload, uint32_t n_decisions, uint64_t segment,
                   uint64_t offset, uint64_t frame_no);

/** Raises a reach by another. */
void id_reach_raise(struct id_reach *to, const struct id_reach *by);

/** Keeps the last frame that was found: it must be written again before it counts as durable. @return 0
 * or -ENOMEM. */
int id_log_found(struct id_log *l, struct span payload, uint32_t n_decisions,
                 const struct id_reach *reach) WARN_UNUSED;

/** Reads every segment in l->segment and visits it. @return 0 or -errno. */
int id_log_read(struct id_log *l, id_decision_visitor visit, void *ctx) WARN_UNUSED;

/** Reads one segment's bytes. @return 0; -EBADMSG when its header is not of this log and number;
 * -ENOMEM. */
int id_segment_read(struct id_log *l, struct id_segment *s, const uint8_t *data, size_t len,
                    id_decision_visitor visit, void *ctx) WARN_UNUSED;

#endif
