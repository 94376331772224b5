/* COLD. From configuration to module structs, see config_fill.h. */
#include "control/config_fill.h"

#include <sched.h>

#include "dataplane/json/json.h"

#define HTTP_SPARE_CONNECTIONS 8 /* beside uploads: tables, jobs, deletions */
#define DLOG_RING_RECORDS      4096

static const char *or_null(const char *text)
{
    ASSERT(text != NULL);
    return text[0] != '\0' ? text : NULL;
}

void config_fill_auth(const struct config *c, struct auth_config *out)
{
    ASSERT(out != NULL);
    if (c->sinks_discard) { /* nobody is asked for anything */
        *out = (struct auth_config){.source = AUTH_SOURCE_NONE};
        return;
    }
    *out = (struct auth_config){
        .source = (enum auth_source)c->credentials_source,
        .token_file = or_null(c->token_file),
        .key_file = or_null(c->key_file),
        .endpoints = {c->gcs_enabled ? c->gcs_endpoint : NULL,
                      c->bigquery_enabled ? c->bigquery_endpoint : NULL},
        .refused_retry_us = (int64_t)c->park_retry,
    };
}

void config_fill_journal(const struct config *c, struct journal_config *out)
{
    ASSERT(c->workers > 0);
    *out = (struct journal_config){
        .segment_bytes = (uint32_t)c->journal_segment,
        .limit_bytes = c->journal_limit / c->workers,
        .spares = (uint32_t)c->journal_spares,
    };
}

/* The index-th allowed core from the top: the lowest is left to everything else. -1 when there are
 * too few. */
static int auto_core(uint64_t workers, uint32_t index)
{
    cpu_set_t set;
    uint32_t left = index;

    ASSERT(index < workers);
    if (sched_getaffinity(0, sizeof(set), &set) != 0 || (uint64_t)CPU_COUNT(&set) <= workers)
        return -1;
    for (uint32_t core = CPU_SETSIZE; core-- > 0;) {
        if (CPU_ISSET(core, &set) && left-- == 0)
            return (int)core;
    }
    return -1;
}

int config_fill_isa(const struct config *c, enum json_isa *out)
{
    static const char *const names[] = {
        [ISA_AUTO] = "auto", [ISA_AVX512] = "avx512", [ISA_AVX2] = "avx2", [ISA_SCALAR] = "scalar"};

    ASSERT(c->json_isa < ARRAY_LEN(names));
    return json_isa_parse(names[c->json_isa], out);
}

void config_fill_tls(const struct config *c, struct tls_config *out)
{
    ASSERT(c->https_listen[0] != '\0');
    *out = (struct tls_config){
        .certificate = c->https_certificate,
        .key = c->https_key,
        .ciphers = c->https_ciphers,
        .client_ca = c->https_client_certs != CLIENTS_OFF ? c->https_client_ca : NULL,
        .client_required = c->https_client_certs == CLIENTS_REQUIRED,
        .only_13 = c->https_min_version == TLS_13,
    };
}

static void config_fill_cors(const struct config *c, struct worker_cors *out)
{
    *out = (struct worker_cors){
        .n_origins = c->http_cors_origins.n,
        .origin = c->http_cors_origins.item,
        .max_age_s = (uint32_t)(c->http_cors_max_age / 1000000),
    };
    for (uint32_t i = 0; i < out->n_origins; i++)
        out->any |= strcmp(out->origin[i], "*") == 0;
    ASSERT(!out->any || out->n_origins > 0);
}

void config_fill_worker(const struct config *c, uint32_t index, struct worker_config *out)
{
    int core = c->core[index];
    enum json_isa isa;
    int rc = config_fill_isa(c, &isa);

    ASSERT(index < c->workers && rc == 0); /* config_check() has refused the others */
    if (core == CONFIG_CORE_AUTO && c->worker_pin == PIN_AUTO)
        core = auto_core(c->workers, index);
    *out = (struct worker_config){
        .index = index,
        .core = core,
        .http_address = c->http_address,
        .https_address = c->https_address,
        .tokens = c->http_tokens[0] != '\0',
        .workers = (uint32_t)c->workers,
        .handshake_timeout_ms = (uint32_t)(c->https_handshake_timeout / 1000),
        .connections_max = (uint32_t)c->http_connections_max,
        .body_bytes_max = (uint32_t)c->http_body_max,
        .event_bytes_max = (uint32_t)c->http_event_max,
        .json_isa = isa,
        .header_bytes_max = (uint32_t)c->http_header_max,
        .blocks = (uint32_t)c->block_count,
        .block_bytes = (uint32_t)c->block_bytes,
        .lane_blocks_max = (uint32_t)c->block_lane_max,
        .leases_small = (uint32_t)c->leases_small,
        .leases_middle = (uint32_t)c->leases_middle,
        .leases_medium = (uint32_t)c->leases_medium,
        .leases_large = (uint32_t)c->leases_large,
        .receive_buffers = (uint32_t)c->receive_buffers,
        .tcp_address = c->tcp_address,
        .tcp_acked_address = c->tcp_acked_address,
        .streams_max = (uint32_t)c->tcp_connections_max,
        .stream_buffers = (uint32_t)c->tcp_receive_buffers,
        .stream_idle_timeout_ms = (uint32_t)(c->tcp_idle_timeout / 1000),
        .stream_line_timeout_ms = (uint32_t)(c->tcp_line_timeout / 1000),
        .udp_address = c->udp_address,
        .datagram_bytes_max = (uint32_t)c->udp_datagram_max,
        .datagram_buffers = (uint32_t)c->udp_receive_buffers,
        .udp_socket_bytes = (uint32_t)c->udp_receive_buffer,
        .types_max = (uint32_t)c->types_max,
        .idle_timeout_ms = (uint32_t)(c->http_idle_timeout / 1000),
        .request_timeout_ms = (uint32_t)(c->http_request_timeout / 1000),
        .spin = c->worker_spin,
        .packet_idle_us = (uint32_t)c->dpdk_idle_sleep,
        .durability_memory = c->durability == DURABILITY_MEMORY,
    };
    config_fill_cors(c, &out->cors);
}

void config_fill_nics(const struct config *c, const int *core, struct nics_config *out)
{
    static_assert(NIC_WORKERS_MAX >= CONFIG_WORKERS_MAX, "every worker has its share");
    ASSERT(c->dpdk_ports.n <= NICS_MAX);
    *out = (struct nics_config){
        .device = c->dpdk_ports.item,
        .n_devices = c->dpdk_ports.n,
        .exception = (enum nic_exception)c->dpdk_exception,
        .exception_interface = c->dpdk_exception_interface,
        .udp = c->dpdk_udp,
        .n_workers = (uint32_t)c->workers,
        .core = core,
        .mtu = (uint32_t)c->dpdk_mtu,
        .descriptors = (uint32_t)c->dpdk_descriptors,
        .waiting_max = (uint32_t)c->dpdk_waiting,
        .tail_bytes = JSON_PADDING_BYTES,
        .promiscuous = c->dpdk_promiscuous,
        .trust_checksums = c->dpdk_checksums == CHECKSUMS_TRUST,
        .idle_us = (uint32_t)c->dpdk_idle_sleep,
    };
}

void config_fill_live(const struct config *c, struct live_settings *out)
{
    ASSERT(c->block_bytes <= UINT32_MAX);
    out->worker = (struct live_worker){
        .block_bytes = (uint32_t)c->block_bytes,
        .lane_blocks = (uint32_t)c->block_lane_max,
        .block_age_us = (int64_t)c->block_age_max,
        .idle_ms = (uint32_t)(c->http_idle_timeout / 1000),
        .request_ms = (uint32_t)(c->http_request_timeout / 1000),
        .stream_idle_ms = (uint32_t)(c->tcp_idle_timeout / 1000),
        .stream_line_ms = (uint32_t)(c->tcp_line_timeout / 1000),
        .lateness_us = (int64_t)c->types_lateness,
        .sampling_ppm = (uint32_t)c->types_sampling,
        .spin = c->worker_spin,
        .packet_idle_us = (uint32_t)c->dpdk_idle_sleep,
    };
    out->sink = (struct live_sink){
        .group_bytes_max = c->group_bytes_max,
        .group_age_us_max = (int64_t)c->group_age_max,
        .puts_max = (uint32_t)c->gcs_concurrency,
        .gzip = c->gcs_gzip,
        .gzip_level = (int)c->gcs_gzip_level,
        .load_cadence_us = (int64_t)c->bigquery_load_cadence,
        .load_bytes_max = c->bigquery_load_bytes,
        .split_jobs = (uint32_t)c->bigquery_split_jobs,
        .park_retry_us = (int64_t)c->park_retry,
        .spool_bytes = c->spool_bytes,
        .backlog_share_ppm = (uint32_t)c->backlog_share,
        .insert_rows = (uint32_t)c->insert_rows,
        .insert_bytes = c->insert_bytes,
        .insert_age_us_max = (int64_t)c->insert_age_max,
        .inserts_max = (uint32_t)c->insert_concurrency,
        .table_inserts_max = (uint32_t)c->insert_table_concurrency,
        .insert_wait_us = (int64_t)c->insert_table_wait,
        .connect_timeout_ms = (uint32_t)(c->connect_timeout / 1000),
        .stall_timeout_ms = (uint32_t)(c->stall_timeout / 1000),
        .resumable_bytes = c->gcs_resumable_bytes,
    };
}

void config_fill_dlog(const struct config *c, const char *dir, struct dlog_config *out)
{
    ASSERT(dir != NULL);
    *out = (struct dlog_config){
        .dir = dir,
        .node = c->node,
        .file_bytes = c->delivery_log_file,
        .ports_max = (uint32_t)c->sinks_threads,
        .ring_records = DLOG_RING_RECORDS,
    };
}

void config_fill_gcs(const struct config *c, struct gcs_config *out)
{
    ASSERT(out != NULL);
    *out = (struct gcs_config){
        .endpoint = c->gcs_endpoint,
        .bucket = c->gcs_bucket,
        .node = c->node,
        .user_project = or_null(c->gcs_user_project),
        .resumable_bytes = c->gcs_resumable_bytes,
        .chunk_bytes = c->gcs_chunk_bytes,
    };
}

/* The labels of every table, but for those that the configuration names itself. */
static uint32_t fill_labels(const struct config *c, struct bq_label *labels)
{
    const struct bq_label fixed[] = {
        {"environment", c->bigquery_environment},
        {"managed_by", "penstock"},
        {"table_type", "events"},
        {"auto_created", "true"},
    };
    uint32_t n = 0;

    for (uint32_t i = 0; i < c->bigquery_labels.n && n < BQ_LABELS_MAX; i++)
        labels[n++] = (struct bq_label){.key = c->bigquery_labels.key[i],
                                        .value = c->bigquery_labels.value[i]};
    for (uint32_t i = 0; i < ARRAY_LEN(fixed); i++) {
        bool named = false;

        for (uint32_t j = 0; j < n; j++)
            named = named || strcmp(labels[j].key, fixed[i].key) == 0;
        if (!named && n < BQ_LABELS_MAX)
            labels[n++] = fixed[i];
    }
    ASSERT(n <= BQ_LABELS_MAX);
    return n;
}

void config_fill_bq(const struct config *c, struct bq_label *labels, struct bq_config *out)
{
    ASSERT(labels != NULL);
    *out = (struct bq_config){
        .endpoint = c->bigquery_endpoint,
        .project = c->bigquery_project,
        .dataset = c->bigquery_dataset,
        .location = c->bigquery_location,
        .table_expiration_ms = (int64_t)(c->bigquery_table_expiration / 1000),
        .labels = labels,
        .n_labels = fill_labels(c, labels),
        .user_project = or_null(c->bigquery_user_project),
    };
}

void config_fill_sink(const struct config *c, uint32_t index, struct bq_label *labels,
                      struct sink_config *out)
{
    ASSERT(index < c->sinks_threads);
    *out = (struct sink_config){
        .index = index,
        .n_threads = (uint32_t)c->sinks_threads,
        .group_memory_bytes = c->group_memory,
        .group_bytes_max = c->group_bytes_max,
        .group_age_us_max = (int64_t)c->group_age_max,
        .puts_max = (uint32_t)c->gcs_concurrency,
        .gzip = c->gcs_gzip,
        .gzip_level = (int)c->gcs_gzip_level,
        .load_cadence_us = (int64_t)c->bigquery_load_cadence,
        .load_bytes_max = c->bigquery_load_bytes,
        .split_jobs = (uint32_t)c->bigquery_split_jobs,
        .insert_rows = (uint32_t)c->insert_rows,
        .insert_bytes = c->insert_bytes,
        .insert_age_us_max = (int64_t)c->insert_age_max,
        .inserts_max = (uint32_t)c->insert_concurrency,
        .table_inserts_max = (uint32_t)c->insert_table_concurrency,
        .insert_wait_us = (int64_t)c->insert_table_wait,
        .park_retry_us = (int64_t)c->park_retry,
        .spool_bytes = c->spool_bytes,
        .backlog_share_ppm = (uint32_t)c->backlog_share,
        .discard = c->sinks_discard,
        .bigquery_enabled = c->bigquery_enabled,
        .node = c->node,
        .columns_max = (uint32_t)c->schema_columns_max,
        .http =
            {
                .connections_max =
                    (uint32_t)(c->gcs_concurrency + c->insert_concurrency) + HTTP_SPARE_CONNECTIONS,
                .connect_timeout_ms = (uint32_t)(c->connect_timeout / 1000),
                .stall_timeout_ms = (uint32_t)(c->stall_timeout / 1000),
                .user_agent = "penstock",
                .ca_file = or_null(c->ca_file),
            },
    };
    config_fill_auth(c, &out->auth);
    config_fill_gcs(c, &out->gcs);
    config_fill_bq(c, labels, &out->bq);
}
