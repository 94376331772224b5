/* COLD. `penstock verify`: runs the comparisons and writes the answer; see verify.h. */
#include "control/verify.h"

#include <inttypes.h>

#include "control/protocol.h"
#include "control/verify_internal.h"
#include "sinks/engine/auth.h"

static const char *kind_name(enum difference_kind kind)
{
    static const char *const names[] = {"missing_object", "unknown_object", "changed_object",
                                        "rows", "planned"};

    ASSERT((size_t)kind < ARRAY_LEN(names));
    return names[kind];
}

void verify_difference(struct verify *v, enum difference_kind kind, const char *name,
                       uint64_t ledger, uint64_t found, const char *meaning)
{
    struct textbuf *b = &v->differences;

    ASSERT(meaning != NULL);
    v->n_differences++;
    if (v->json) {
        textbuf_add(b, "%s{\"kind\":\"%s\",\"name\":", b->len > 0 ? "," : "", kind_name(kind));
        textbuf_json(b, span_of(name));
        textbuf_add(b, ",\"ledger\":%" PRIu64 ",\"found\":%" PRIu64 ",\"meaning\":", ledger, found);
        textbuf_json(b, span_of(meaning));
        textbuf_add(b, "}");
        return;
    }
    textbuf_add(b, "difference: %s ", kind_name(kind));
    textbuf_printable(b, span_of(name));
    textbuf_add(b, ": ledger %" PRIu64 ", found %" PRIu64 ": %s\n", ledger, found, meaning);
}

void verify_error(struct verify *v, const char *what, const char *why)
{
    ASSERT(why != NULL);
    v->n_errors++;
    if (v->json) {
        struct textbuf line = {0};

        textbuf_add(&line, "%s: %s", what, why);
        textbuf_add(&v->errors, "%s", v->errors.len > 0 ? "," : "");
        textbuf_json(&v->errors, (struct span){.ptr = textbuf_str(&line), .len = line.len});
        textbuf_fini(&line);
        return;
    }
    textbuf_add(&v->errors, "not checked: ");
    textbuf_printable(&v->errors, span_of(what));
    textbuf_add(&v->errors, ": ");
    textbuf_printable(&v->errors, span_of(why));
    textbuf_add(&v->errors, "\n");
}

/* Nothing may be planned that was not acknowledged, in sum and, while no restart hides it, per
 * type. */
static void verify_planned(struct verify *v, const struct totals *t)
{
    uint64_t planned = t->gcs.planned + t->gcs_dead.planned + t->gcs.removed;

    ASSERT(v->d != NULL);
    if (!t->ledger_read)
        verify_error(v, "the ledger", "cannot be read");
    if (planned > t->durable_ever)
        verify_difference(
            v, DIFFERENCE_PLANNED, "all types", t->durable_ever, planned,
            "more events are planned than these journals ever acknowledged: a journal directory is "
            "missing, or events are doubled");
    if (t->durable_ever != t->durable)
        return;
    for (uint32_t i = 0; i < t->n_types; i++) {
        uint64_t mine = t->type[i].gcs.planned + t->type[i].gcs.removed;

        if (mine > t->type[i].events)
            verify_difference(v, DIFFERENCE_PLANNED, t->type[i].name, t->type[i].events, mine,
                              "more events of this type are planned than were accepted");
    }
}

static void sink_line(struct verify *v, struct textbuf *b, const char *type, const char *sink,
                      const struct sink_total *s)
{
    ASSERT(sink != NULL);
    if (s->planned + s->removed == 0)
        return;
    if (v->json) {
        textbuf_add(b, "%s{\"type\":", b->ptr[b->len - 1] == '[' ? "" : ",");
        textbuf_json(b, span_of(type));
        textbuf_add(b,
                    ",\"sink\":\"%s\",\"planned\":%" PRIu64 ",\"delivered\":%" PRIu64
                    ",\"refused\":%" PRIu64 ",\"duplicates_removed\":%" PRIu64
                    ",\"pending\":%" PRIu64 ",\"parked\":%" PRIu64 "}",
                    sink, s->planned, s->delivered, s->refused, s->removed, sink_total_pending(s),
                    s->parked);
        return;
    }
    textbuf_add(b, "  ");
    textbuf_printable(b, type[0] != '\0' ? span_of(type) : span_of("(none)"));
    textbuf_add(b,
                "%*s %-12s %12" PRIu64 " %12" PRIu64 " %12" PRIu64 " %12" PRIu64 " %12" PRIu64
                " %12" PRIu64 "\n",
                strlen(type) < 28 ? (int)(28 - (type[0] != '\0' ? strlen(type) : 6)) : 0, "", sink,
                s->planned, s->delivered, s->refused, s->removed, sink_total_pending(s), s->parked);
}

static void write_types(struct verify *v, const struct totals *t, struct textbuf *b)
{
    ASSERT(t->type != NULL || t->n_types == 0);
    for (uint32_t i = 0; i < t->n_types; i++) {
        sink_line(v, b, t->type[i].name, "gcs", &t->type[i].gcs);
        sink_line(v, b, t->type[i].name, "bigquery", &t->type[i].bigquery);
        sink_line(v, b, t->type[i].name, "dead_letter", &t->type[i].dead);
    }
}

static void write_json(struct verify *v, const struct totals *t, struct textbuf *b)
{
    const struct config *c = v->d->config;

    ASSERT(v->json);
    textbuf_add(b,
                "{\"clean\":%s,\"differences\":[%s],\"errors\":[%s],\"sampled_out\":%" PRIu64
                ",\"discarded\":%" PRIu64 ",\"duplicates_removed\":%" PRIu64
                ",\"acknowledged\":%" PRIu64 ",\"types\":[",
                v->n_differences + v->n_errors == 0 ? "true" : "false",
                textbuf_str(&v->differences), textbuf_str(&v->errors), t->sampled_out, t->discarded,
                t->gcs.removed, t->durable_ever);
    write_types(v, t, b);
    textbuf_add(b,
                "],\"objects\":{\"found\":%" PRIu64 ",\"bytes\":%" PRIu64
                ",\"unconfirmed\":%" PRIu64 ",\"deleted\":%" PRIu64
                ",\"deleted_dead_letters\":%" PRIu64
                "},\"tables\":[%s],\"rows\":[%s],\"pending\":{\"gcs\":%" PRIu64
                ",\"bigquery\":%" PRIu64 "}}\n",
                v->objects, v->bytes, v->unconfirmed, v->deleted, v->deleted_letters,
                textbuf_str(&v->tables), textbuf_str(&v->rows), totals_pending_gcs(t),
                c->bigquery_enabled ? totals_pending_bigquery(t) : 0);
}

static void write_text(struct verify *v, const struct totals *t, struct textbuf *b)
{
    const struct config *c = v->d->config;

    ASSERT(!v->json);
    textbuf_add(b, "acknowledged, ever: %" PRIu64 " events and dead letters\n", t->durable_ever);
    if (t->discard)
        textbuf_add(b, "thrown away by sinks.discard, since start: %" PRIu64 "\n", t->discarded);
    if (t->sampled_out > 0)
        textbuf_add(b, "left out by sampling, since start: %" PRIu64 " events\n", t->sampled_out);
    if (t->gcs.removed > 0)
        textbuf_add(b, "removed as duplicates, ever: %" PRIu64 " events\n", t->gcs.removed);
    textbuf_add(b, "  %-28s %-12s %12s %12s %12s %12s %12s %12s\n", "TYPE", "SINK", "PLANNED",
                "DELIVERED", "REFUSED", "DUPLICATES", "PENDING", "PARKED");
    write_types(v, t, b);
    if (c->gcs_enabled)
        textbuf_add(b,
                    "bucket %s: %" PRIu64 " objects of this node, %" PRIu64
                    " bytes; size, crc32c, plan and events compared with the ledger%s\n",
                    c->gcs_bucket, v->objects, v->bytes,
                    v->unconfirmed > 0 ? "; some are not confirmed yet" : "");
    if (v->deleted > 0)
        textbuf_add(b,
                    "deleted on purpose by dlq drop: %" PRIu64 " objects with %" PRIu64
                    " dead letters\n",
                    v->deleted, v->deleted_letters);
    if (c->bigquery_enabled)
        textbuf_add(b, "dataset %s.%s:\n  %-40s %14s %14s\n%s", c->bigquery_project,
                    c->bigquery_dataset, "TABLE", "LEDGER ROWS", "ROWS", textbuf_str(&v->tables));
    textbuf_add(b, "pending: %" PRIu64 " for Cloud Storage, %" PRIu64 " for BigQuery\n",
                totals_pending_gcs(t), c->bigquery_enabled ? totals_pending_bigquery(t) : 0);
    textbuf_add(b, "%s%s%s", textbuf_str(&v->differences), textbuf_str(&v->rows),
                textbuf_str(&v->errors));
    if (v->n_differences + v->n_errors == 0)
        textbuf_add(b, "clean\n");
    else
        textbuf_add(b, "%" PRIu64 " difference%s%s\n", v->n_differences,
                    v->n_differences == 1 ? "" : "s",
                    v->n_errors > 0 ? ", and not everything could be checked" : "");
}

int verify_run(struct daemon *d, bool json, struct textbuf *body)
{
    struct verify v = {.d = d, .json = json};
    char error[VERIFY_ERROR_BYTES] = "";
    struct auth_config credentials;
    struct auth auth;
    struct totals t;

    ASSERT(body != NULL);
    v.auth = &auth;
    dlog_ledger_sync(d->dlog);
    totals_collect(d, true, &t);
    verify_planned(&v, &t);
    config_fill_auth(d->config, &credentials);
    if (auth_init(&auth, &credentials, error, sizeof(error)) != 0) {
        verify_error(&v, "credentials", error);
    } else {
        if (d->config->gcs_enabled)
            verify_bucket(&v);
        if (d->config->bigquery_enabled)
            verify_tables(&v);
        auth_fini(&auth);
    }
    if (json)
        write_json(&v, &t, body);
    else
        write_text(&v, &t, body);
    totals_fini(&t);
    textbuf_fini(&v.differences);
    textbuf_fini(&v.errors);
    textbuf_fini(&v.tables);
    textbuf_fini(&v.rows);
    return v.n_differences + v.n_errors == 0 ? PROTOCOL_OK : PROTOCOL_ERROR;
}
