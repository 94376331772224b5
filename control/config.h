/*
 * The configuration: one table of knobs (knobs.c), one YAML file, --set on top, checked as a whole.
 * What the other modules need is copied from it into their own *_config structs.
 *
 * Order of precedence: default, environment (emulator hosts, project), file, --set. Every mistake
 * is reported at once, with file and line, key, what was found, what is allowed, and the nearest
 * known key.
 *
 * A loaded configuration is immutable: any thread may read it. It lives until config_destroy().
 */
#ifndef PENSTOCK_CONTROL_CONFIG_H
#define PENSTOCK_CONTROL_CONFIG_H

#include <sys/socket.h>

#include "control/textbuf.h"
#include "dataplane/event/type.h"
#include "dataplane/packet/headers.h"

#define CONFIG_FILE_BYTES_MAX ((size_t)1 << 20)
#define CONFIG_KNOBS_MAX      192
#define CONFIG_WORKERS_MAX    64
#define CONFIG_CORE_AUTO      (-1)

/* Values of choices, in the order in which the knob table names them. */
enum config_durability { DURABILITY_DISK, DURABILITY_MEMORY };
enum config_huge_pages { HUGE_PAGES_AUTO, HUGE_PAGES_ON, HUGE_PAGES_OFF };
enum config_pin { PIN_AUTO, PIN_OFF };
enum config_isa { ISA_AUTO, ISA_AVX512, ISA_AVX2, ISA_SCALAR };
enum config_tls { TLS_12, TLS_13 };
enum config_clients { CLIENTS_OFF, CLIENTS_OPTIONAL, CLIENTS_REQUIRED };
enum config_checksums { CHECKSUMS_CHECK, CHECKSUMS_TRUST };
enum config_method { METHOD_LOAD, METHOD_INSERT_ALL };

/** Texts of a list. */
struct config_list {
    uint32_t n;
    const char **item;
};

/** Pairs of a map, in the file's order. */
struct config_map {
    uint32_t n;
    const char **key;
    const char **value;
};

/** Where a value came from. */
struct config_origin {
    uint32_t line;    /* of the file; 0: not from the file */
    const char *from; /* "default", "file", "--set", or an environment variable's name */
};

struct config_memory; /* allocations, freed together */

/** Sizes in bytes, durations in microseconds. Texts are never NULL. */
struct config {
    const char *file;
    const char *node, *data_dir;
    uint64_t workers;
    int core[CONFIG_WORKERS_MAX]; /* CONFIG_CORE_AUTO, or the core that the file named */
    uint64_t worker_pin;          /* enum config_pin */
    bool worker_spin;
    uint64_t durability; /* enum config_durability */
    const char *http_listen;
    uint64_t http_connections_max, http_body_max, http_event_max, http_header_max;
    uint64_t http_idle_timeout, http_request_timeout;
    const char *https_listen, *https_certificate, *https_key, *https_ciphers, *https_client_ca;
    uint64_t https_min_version;  /* enum config_tls */
    uint64_t https_client_certs; /* enum config_clients */
    uint64_t https_handshake_timeout;
    const char *http_tokens;
    struct config_list http_cors_origins;
    uint64_t http_cors_max_age;
    const char *tcp_listen, *tcp_acked_listen;
    uint64_t tcp_connections_max, tcp_receive_buffers, tcp_idle_timeout, tcp_line_timeout;
    const char *udp_listen;
    uint64_t udp_datagram_max, udp_receive_buffers, udp_receive_buffer;
    struct config_list dpdk_ports, dpdk_udp_ports;
    uint64_t dpdk_exception; /* enum nic_exception */
    const char *dpdk_exception_interface;
    uint64_t dpdk_descriptors, dpdk_waiting, dpdk_mtu, dpdk_idle_sleep;
    uint64_t dpdk_checksums; /* enum config_checksums */
    bool dpdk_promiscuous;
    const char *admin_listen, *control_socket;
    uint64_t journal_limit, journal_segment, journal_spares;
    uint64_t block_bytes, block_age_max, block_count, block_lane_max;
    uint64_t leases_small, leases_middle, leases_medium, leases_large, receive_buffers;
    const char *type_field, *time_field;
    uint64_t json_isa; /* enum config_isa */
    uint64_t types_max, types_unlisted, types_lateness, types_sampling;
    uint64_t schema_columns_max;
    bool gcs_enabled;
    const char *gcs_endpoint, *gcs_bucket, *gcs_user_project;
    uint64_t gcs_concurrency, gcs_objects_per_second, gcs_resumable_bytes, gcs_chunk_bytes,
        gcs_gzip_level, gcs_owner_renew;
    bool gcs_gzip, gcs_owner;
    bool bigquery_enabled;
    const char *bigquery_endpoint, *bigquery_project, *bigquery_dataset, *bigquery_location;
    const char *bigquery_environment, *bigquery_user_project;
    uint64_t bigquery_table_expiration, bigquery_load_cadence, bigquery_load_bytes,
        bigquery_split_jobs;
    uint64_t bigquery_method; /* enum config_method */
    uint64_t insert_rows, insert_bytes, insert_age_max, insert_concurrency;
    uint64_t insert_table_concurrency, insert_table_wait;
    struct config_map bigquery_labels;
    const char *token_file, *key_file;
    uint64_t credentials_source; /* enum auth_source */
    uint64_t group_bytes_max, group_age_max, group_memory;
    bool sinks_discard; /* then neither gcs_enabled nor bigquery_enabled */
    uint64_t sinks_threads, backlog_share, park_retry, spool_bytes, connect_timeout, stall_timeout;
    const char *ca_file;
    uint64_t delivery_log_file;
    uint64_t eal_huge_pages; /* enum config_huge_pages */
    struct config_list eal_args;
    uint64_t log_level; /* enum log_level */
    uint64_t shutdown_grace;

    struct type_set types;                                               /* schemas loaded */
    struct sockaddr_storage http_address, https_address, admin_address;  /* UNSPEC: off */
    struct packet_udp_ports dpdk_udp;                                    /* parsed */
    struct sockaddr_storage tcp_address, tcp_acked_address, udp_address; /* AF_UNSPEC: off */
    struct config_origin origin[CONFIG_KNOBS_MAX];                       /* by knob index */
    struct config_memory *_memory;
};

/** What to load. text is used instead of the file's content when not NULL (tests, fuzzing). */
struct config_source {
    const char *file; /* name for messages; schema files are relative to its folder */
    const char *text;
    size_t text_len;
    const char *const *sets; /* "key=value" */
    uint32_t n_sets;
    bool no_schemas; /* schema files are not opened (fuzzing) */
};

/**
 * Loads and checks a configuration.
 * Thread: init.  Owner: caller, until config_destroy().
 * @param problems receives one line per mistake.
 * @return 0; -EINVAL with problems; -ENOMEM.
 */
int config_load(const struct config_source *source, struct config **out,
                struct textbuf *problems) WARN_UNUSED;

/** Frees everything that the configuration points to. NULL is allowed. Thread: init, control. */
void config_destroy(struct config *c);

/** Writes docs/configuration.md, made from the knob table. Thread: any. */
void config_print_docs(struct textbuf *out);

#endif
