/*
 * The words behind `penstock dlq`, taken apart. In the request each word is percent-encoded (bytes
 * outside '!' to '~' and '%' as %HH), because types and sources may hold any byte.
 * Thread: any.
 */
#ifndef PENSTOCK_CONTROL_DLQ_OPTIONS_H
#define PENSTOCK_CONTROL_DLQ_OPTIONS_H

#include "control/dlq_line.h"
#include "control/textbuf.h"
#include "dataplane/event/names.h"

#define DLQ_WORD_BYTES    512 /* decoded, with its NUL */
#define DLQ_LIMIT_DEFAULT 1000u
#define DLQ_LIMIT_MAX     10000u /* of a list: what one answer holds */
#define DLQ_IDS_MAX       512u

enum dlq_verb { DLQ_LIST, DLQ_SHOW, DLQ_REPLAY, DLQ_DROP, DLQ_HELP };

/** What has become of a dead letter. The numbers are in dlq.db. */
enum dlq_state {
    DLQ_NEW = 0,
    DLQ_INTENT = 1, /* its replay is under way, or was cut off and is not known yet */
    DLQ_REPLAYED = 2,
    DLQ_DROPPED = 3,
    DLQ_STATES
};

/** Which letters are meant: all that fulfil everything that is set. */
struct dlq_filter {
    bool has_type; /* type_len 0: those without a type */
    uint8_t type_len;
    char type[TYPE_NAME_BYTES_MAX + 1];
    char reason[DLQ_REASON_BYTES]; /* "": any */
    char source[DLQ_SOURCE_BYTES]; /* a part of it; "": any */
    int64_t since_us, until_us;    /* [since, until) of the time of receipt */
    bool has_minute;               /* only objects of this minute; no option sets it */
    int32_t minute;
    unsigned states; /* bits by enum dlq_state */
    uint32_t n_ids;  /* 0: any */
    struct dlq_id id[DLQ_IDS_MAX];
};

/** A whole command. */
struct dlq_options {
    enum dlq_verb verb;
    struct dlq_filter filter;
    bool json, group, raw, all, dry_run, yes, delete_objects, others;
    bool filtered; /* any filter but --state was given */
    bool has_as_type;
    uint8_t as_type_len;
    char as_type[TYPE_NAME_BYTES_MAX + 1];
    uint64_t limit; /* 0: none */
};

/**
 * Takes the words of a request apart, those behind "dlq".
 * @param now_us what durations such as "2h" count from.
 * @return PROTOCOL_OK, or PROTOCOL_USAGE with a message in error.
 */
int dlq_options_parse(struct span words, int64_t now_us, struct dlq_options *out,
                      struct textbuf *error) WARN_UNUSED;

/** "new", "replaying", "replayed", "dropped". */
const char *dlq_state_name(enum dlq_state s);

/** The help text of the verbs and their options. */
void dlq_help(bool json, struct textbuf *body);

#endif
