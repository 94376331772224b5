/*
 * Fills the modules' own *_config structs from a configuration. Texts are borrowed from it.
 * Thread: init.
 */
#ifndef PENSTOCK_CONTROL_CONFIG_FILL_H
#define PENSTOCK_CONTROL_CONFIG_FILL_H

#include "control/config.h"
#include "dataplane/packet/nics.h"
#include "dataplane/tls.h"
#include "dataplane/worker.h"
#include "sinks/sink.h"

/** Of one journal: its share of the limit. */
void config_fill_journal(const struct config *c, struct journal_config *out);

/** The JSON parser's variant. @return 0; -ENOTSUP when this CPU does not run the named one. */
int config_fill_isa(const struct config *c, enum json_isa *out) WARN_UNUSED;

/** Of worker `index`; its core is the configured one, or one of the allowed cores when there are
 * enough. */
void config_fill_worker(const struct config *c, uint32_t index, struct worker_config *out);

/** Of DPDK's ports, for workers on these cores. Owner: texts and cores are borrowed. */
void config_fill_nics(const struct config *c, const int *core, struct nics_config *out);

/** Of the delivery log in dir. */
void config_fill_dlog(const struct config *c, const char *dir, struct dlog_config *out);

/** Of the Cloud Storage client. */
void config_fill_gcs(const struct config *c, struct gcs_config *out);

/**
 * Of the BigQuery client.
 * @param labels room for BQ_LABELS_MAX labels, kept as long as out.
 */
void config_fill_bq(const struct config *c, struct bq_label *labels, struct bq_config *out);

/** Of sink thread `index`; labels as above. */
void config_fill_sink(const struct config *c, uint32_t index, struct bq_label *labels,
                      struct sink_config *out);

/** What threads follow while they run; without the types. */
void config_fill_live(const struct config *c, struct live_settings *out);

/** Of credentials: files, source, and the endpoints that they are for. */
void config_fill_auth(const struct config *c, struct auth_config *out);

/** What TLS is made of. Only with https.listen. */
void config_fill_tls(const struct config *c, struct tls_config *out);

#endif
