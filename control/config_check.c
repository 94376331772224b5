/* COLD. What one key alone cannot show: relations between keys, names of the cloud, and defaults
 * made of others. */
#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/config_fill.h"
#include "control/config_internal.h"
#include "control/door_tokens.h"
#include "control/protocol.h"
#include "control/values.h"

#define NODE_BYTES_MAX       63
#define SEGMENTS_MIN         4
#define BLOCKS_A_SEGMENT     4
#define DIRECTORY_BYTES      ((uint64_t)1 << 20) /* at most, behind a block's lines */
#define KIB                  ((uint64_t)1 << 10)
#define NAME_BYTES           256
#define ORIGIN_BYTES_MAX     200
#define GZIP_GROUP_BYTES_MAX ((uint64_t)3 << 30)

static bool made_of(const char *text, const char *set)
{
    ASSERT(set[0] != '\0');
    return text[strspn(text, set)] == '\0';
}

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGIT "0123456789"

/* The host name as a node name: lower case, everything else a '-'. */
static void default_node(struct loader *l)
{
    char name[NODE_BYTES_MAX + 1] = "";
    size_t len;

    if (gethostname(name, sizeof(name) - 1) != 0 || name[0] == '\0')
        snprintf(name, sizeof(name), "node");
    len = strcspn(name, ".");
    name[len] = '\0';
    for (size_t i = 0; i < len; i++) {
        name[i] = (char)tolower((unsigned char)name[i]);
        if (strchr(LOWER DIGIT "-", name[i]) == NULL)
            name[i] = '-';
    }
    ASSERT(len <= NODE_BYTES_MAX);
    l->c->node = len > 0 ? config_keep(l->c, name, len) : "node";
}

static void complete_defaults(struct loader *l)
{
    struct config *c = l->c;
    char text[NAME_BYTES * 20];

    if (c->node[0] == '\0')
        default_node(l);
    if (c->control_socket[0] == '\0') {
        snprintf(text, sizeof(text), "%s/%s", c->data_dir, PROTOCOL_SOCKET_NAME);
        c->control_socket = config_keep(c, text, strlen(text));
    }
    if (c->bigquery_dataset[0] == '\0') {
        snprintf(text, sizeof(text), "%s_events_dataset", c->bigquery_environment);
        c->bigquery_dataset = config_keep(c, text, strlen(text));
    }
    ASSERT(c->node[0] != '\0');
}

static void found(struct loader *l, const char *key, const char *value, const char *allowed)
{
    ASSERT(allowed != NULL);
    problem_at(l, config_where(l, key), key, "found \"%.200s\"; allowed: %s", value, allowed);
}

static void check_isa(struct loader *l)
{
    enum json_isa isa;

    ASSERT(l->c != NULL);
    if (config_fill_isa(l->c, &isa) != 0)
        problem_at(l, config_where(l, "json.isa"), "json.isa",
                   "this CPU does not run %s; the fastest that it runs is %s: set auto or that",
                   json_isa_name(isa), json_isa_name(json_isa_best()));
}

static void check_names(struct loader *l)
{
    const struct config *c = l->c;

    ASSERT(c->node != NULL);
    if (!made_of(c->node, LOWER DIGIT "-"))
        found(l, "node", c->node, "a-z, 0-9 and '-'");
    if (strlen(c->control_socket) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        found(l, "control.socket", c->control_socket,
              "a path below 108 bytes; set control.socket when data_dir is long");
    if (!made_of(c->bigquery_dataset, LOWER UPPER DIGIT "_"))
        found(l, "bigquery.dataset", c->bigquery_dataset, "letters, digits and '_'");
    if (!made_of(c->bigquery_environment, LOWER DIGIT "_-"))
        found(l, "bigquery.environment", c->bigquery_environment, "a-z, 0-9, '_' and '-'");
    for (uint32_t i = 0; i < c->bigquery_labels.n; i++) {
        const char *key = c->bigquery_labels.key[i], *value = c->bigquery_labels.value[i];

        if (key[0] < 'a' || key[0] > 'z' || strlen(key) > 63 || !made_of(key, LOWER DIGIT "_-"))
            found(l, "bigquery.labels", key,
                  "keys of 1 to 63 of a-z, 0-9, '_' and '-', a letter first");
        if (strlen(value) > 63 || !made_of(value, LOWER DIGIT "_-"))
            found(l, "bigquery.labels", value, "values of at most 63 of a-z, 0-9, '_' and '-'");
    }
}

/* An endpoint is scheme, host and port, nothing behind them. */
static void check_endpoint(struct loader *l, const char *key, const char *url)
{
    const char *host = strncmp(url, "https://", 8) == 0  ? url + 8
                       : strncmp(url, "http://", 7) == 0 ? url + 7
                                                         : "";
    size_t len = strlen(host);

    ASSERT(key != NULL);
    if (len == 0 || strcspn(host, "/?#@ ") != len)
        found(l, key, url, "http:// or https://, host and port, without a path");
}

/* Reads the key file as a start would, and takes its project where none is named. */
static void check_credentials(struct loader *l)
{
    struct config *c = l->c;
    const char *key = c->token_file[0] != '\0' ? "credentials.token_file"
                      : c->key_file[0] != '\0' ? "credentials.file"
                                               : "credentials.source";
    struct auth_config credentials;
    char error[AUTH_ERROR_BYTES];
    struct auth auth;

    if (c->token_file[0] != '\0' && c->key_file[0] != '\0')
        found(l, key, c->token_file, "only one of credentials.token_file and credentials.file");
    if ((c->token_file[0] != '\0' || c->key_file[0] != '\0') &&
        c->credentials_source != AUTH_SOURCE_AUTO)
        problem_at(l, config_where(l, "credentials.source"), "credentials.source",
                   "allowed: auto, because %s is set", key);
    ASSERT(l->source != NULL);
    if (l->source->no_schemas) /* nothing is read */
        return;
    config_fill_auth(c, &credentials);
    if (auth_init(&auth, &credentials, error, sizeof(error)) != 0) {
        problem_at(l, config_where(l, key), key, "%s", error);
        return;
    }
    if (c->bigquery_project[0] == '\0' && auth_project(&auth) != NULL)
        c->bigquery_project = config_keep(c, auth_project(&auth), strlen(auth_project(&auth)));
    auth_fini(&auth);
}

static void check_sinks(struct loader *l)
{
    const struct config *c = l->c;
    size_t bucket = strlen(c->gcs_bucket);

    if (!c->gcs_enabled && !c->sinks_discard)
        found(l, "gcs.enabled", "false",
              "true: it is the only archive, and BigQuery loads its objects");
    if (c->gcs_enabled) {
        check_endpoint(l, "gcs.endpoint", c->gcs_endpoint);
        if (bucket < 3 || !made_of(c->gcs_bucket, LOWER DIGIT "-_."))
            found(l, "gcs.bucket", c->gcs_bucket, "3 to 222 of a-z, 0-9, '-', '_' and '.'; set it");
    }
    if (c->gcs_chunk_bytes % GCS_CHUNK_UNIT != 0)
        problem_at(l, config_where(l, "gcs.chunk_bytes"), "gcs.chunk_bytes",
                   "found %" PRIu64 " bytes; allowed: a multiple of 256KiB", c->gcs_chunk_bytes);
    if (c->gcs_gzip && c->bigquery_enabled && c->group_bytes_max > GZIP_GROUP_BYTES_MAX)
        problem_at(l, config_where(l, "group.bytes_max"), "group.bytes_max",
                   "found %" PRIu64 " bytes; allowed: at most 3GiB with gcs.gzip, because BigQuery "
                   "loads gzip objects of at most 4 GB",
                   c->group_bytes_max);
    if (c->bigquery_enabled) {
        check_endpoint(l, "bigquery.endpoint", c->bigquery_endpoint);
        if (strlen(c->bigquery_project) < 4 || !made_of(c->bigquery_project, LOWER DIGIT "-:."))
            found(l, "bigquery.project", c->bigquery_project,
                  "a project id of a-z, 0-9 and '-'; set it, GOOGLE_CLOUD_PROJECT, or "
                  "bigquery.enabled: false");
    }
    ASSERT(c->gcs_bucket != NULL);
}

static void check_groups(struct loader *l)
{
    const struct config *c = l->c;

    if (c->group_bytes_max > c->group_memory / 2)
        problem_at(l, config_where(l, "group.bytes_max"), "group.bytes_max",
                   "found %" PRIu64 " bytes; allowed: at most half of group.memory (%" PRIu64
                   " bytes)",
                   c->group_bytes_max, c->group_memory);
    if (c->http_event_max > c->group_memory / 8)
        problem_at(l, config_where(l, "group.memory"), "group.memory",
                   "found %" PRIu64 " bytes; allowed: at least 8 times http.event_max (%" PRIu64
                   " bytes)",
                   c->group_memory, c->http_event_max);
    ASSERT(c->sinks_threads > 0);
}

static void check_journal(struct loader *l)
{
    const struct config *c = l->c;
    uint64_t share = c->journal_limit / c->workers;

    ASSERT(c->workers > 0);
    if (c->journal_segment % 4096 != 0)
        problem_at(l, config_where(l, "journal.segment"), "journal.segment",
                   "found %" PRIu64 " bytes; allowed: a multiple of 4KiB", c->journal_segment);
    if (share / c->journal_segment < SEGMENTS_MIN ||
        share / c->journal_segment < c->journal_spares + 2)
        problem_at(l, config_where(l, "journal.limit"), "journal.limit",
                   "%" PRIu64 " workers share it: %" PRIu64
                   " bytes each; allowed: at least %d segments of "
                   "journal.segment (%" PRIu64 " bytes) each, and journal.spares + 2",
                   c->workers, share, SEGMENTS_MIN, c->journal_segment);
    if (c->journal_segment / BLOCKS_A_SEGMENT < c->block_bytes ||
        c->journal_segment / 2 < c->block_bytes + c->http_event_max + DIRECTORY_BYTES)
        problem_at(l, config_where(l, "journal.segment"), "journal.segment",
                   "found %" PRIu64 " bytes; allowed: at least %d blocks of block.bytes, and twice "
                   "block.bytes + http.event_max + 1MiB",
                   c->journal_segment, BLOCKS_A_SEGMENT);
}

/* The kernel's buffer rings have a power of two of slots. */
static void check_buffers(struct loader *l, const char *key, uint64_t count)
{
    ASSERT(count > 0);
    if ((count & (count - 1)) != 0)
        problem_at(l, config_where(l, key), key, "found %" PRIu64 "; allowed: a power of two",
                   count);
}

/* What TLS needs, and whether its files can be used. */
static void check_tls(struct loader *l)
{
    const struct config *c = l->c;
    struct tls_config tls;
    struct tls_context *context = NULL;
    char error[TLS_ERROR_BYTES];

    ASSERT(c->https_listen != NULL);
    if (c->https_listen[0] == '\0')
        return;
    if (c->https_certificate[0] == '\0' || c->https_key[0] == '\0') {
        const char *key = c->https_certificate[0] == '\0' ? "https.certificate" : "https.key";

        found(l, key, "", "a file (PEM): https.listen needs it");
        return;
    }
    if ((c->https_client_certs != CLIENTS_OFF) != (c->https_client_ca[0] != '\0')) {
        found(l, "https.client_ca", c->https_client_ca,
              "a file (PEM) together with https.client_certs: optional or required");
        return;
    }
    if (l->source->no_schemas) /* nothing is read */
        return;
    config_fill_tls(c, &tls);
    if (tls_context_create(&tls, NULL, &context, error, sizeof(error)) != 0)
        problem_at(l, config_where(l, "https.listen"), "https.listen", "%s", error);
    tls_context_destroy(context);
}

static void check_tokens(struct loader *l)
{
    const char *file = l->c->http_tokens;
    struct tokens *tokens = NULL;
    char error[TLS_ERROR_BYTES];

    ASSERT(file != NULL);
    if (file[0] == '\0' || l->source->no_schemas) /* nothing is read */
        return;
    if (door_tokens_load(file, &tokens, error, sizeof(error)) != 0)
        problem_at(l, config_where(l, "http.tokens"), "http.tokens", "%s", error);
    tokens_destroy(tokens);
}

/* An origin is what a browser sends: scheme, host, and a port that is not the scheme's own. */
static bool is_origin(const char *text)
{
    const char *host = strncmp(text, "https://", 8) == 0  ? text + 8
                       : strncmp(text, "http://", 7) == 0 ? text + 7
                                                          : "";
    size_t len = strlen(host);

    ASSERT(text != NULL);
    return strcmp(text, "*") == 0 || strcmp(text, "null") == 0 ||
           (len > 0 && strlen(text) <= ORIGIN_BYTES_MAX && made_of(host, LOWER DIGIT "-._:[]"));
}

static void check_origins(struct loader *l)
{
    const struct config_list *origins = &l->c->http_cors_origins;

    ASSERT(origins->n == 0 || origins->item != NULL);
    for (uint32_t i = 0; i < origins->n; i++) {
        if (!is_origin(origins->item[i]))
            found(l, "http.cors.origins", origins->item[i],
                  "*, or origins as browsers send them: https://host or http://host:port, in lower "
                  "case, without a path, at most 200 bytes");
    }
}

static void check_input(struct loader *l)
{
    const struct config *c = l->c;

    if (c->http_event_max > c->http_body_max)
        problem_at(l, config_where(l, "http.event_max"), "http.event_max",
                   "found %" PRIu64 " bytes; allowed: at most http.body_max (%" PRIu64 " bytes)",
                   c->http_event_max, c->http_body_max);
    if (c->http_event_max > 16 * c->block_bytes)
        problem_at(l, config_where(l, "http.event_max"), "http.event_max",
                   "found %" PRIu64 " bytes; allowed: at most 16 times block.bytes (%" PRIu64
                   " bytes)",
                   c->http_event_max, c->block_bytes);
    if (c->http_event_max > (c->block_count - 2) * c->block_bytes / 2 - KIB)
        problem_at(l, config_where(l, "http.event_max"), "http.event_max",
                   "found %" PRIu64
                   " bytes; allowed: less than half of (block.count - 2) * block.bytes (%" PRIu64
                   " bytes), by 1KiB",
                   c->http_event_max, (c->block_count - 2) * c->block_bytes);
    if (c->http_body_max > (c->block_count - 2) * c->block_bytes)
        problem_at(l, config_where(l, "http.body_max"), "http.body_max",
                   "found %" PRIu64
                   " bytes; allowed: at most (block.count - 2) * block.bytes (%" PRIu64
                   " bytes), because a body is admitted whole",
                   c->http_body_max, (c->block_count - 2) * c->block_bytes);
    if (c->block_lane_max > c->block_count - 2)
        problem_at(l, config_where(l, "block.lane_max"), "block.lane_max",
                   "found %" PRIu64 "; allowed: at most block.count - 2", c->block_lane_max);
    check_buffers(l, "input.receive_buffers", c->receive_buffers);
    check_buffers(l, "tcp.receive_buffers", c->tcp_receive_buffers);
    check_buffers(l, "udp.receive_buffers", c->udp_receive_buffers);
    check_buffers(l, "dpdk.descriptors", c->dpdk_descriptors);
    ASSERT(c->block_count >= 4);
}

/* One of dpdk.udp_ports. */
static void check_udp_port(struct loader *l, const char *text)
{
    struct packet_udp_ports *p = &l->c->dpdk_udp;
    uint64_t port = 0;

    ASSERT(p->n <= PACKET_UDP_PORTS_MAX);
    if (value_count(text, &port) != 0 || port == 0 || port > UINT16_MAX)
        found(l, "dpdk.udp_ports", text, "numbers from 1 to 65535");
    else if (p->n < PACKET_UDP_PORTS_MAX)
        p->port[p->n++] = htons((uint16_t)port);
}

static void check_packets(struct loader *l)
{
    struct config *c = l->c;

    c->dpdk_udp.n = 0;
    for (uint32_t i = 0; i < c->dpdk_udp_ports.n; i++)
        check_udp_port(l, c->dpdk_udp_ports.item[i]);
    for (uint32_t i = 0; i < c->dpdk_ports.n; i++) {
        const char *device = c->dpdk_ports.item[i];
        size_t name = strcspn(device, ",");

        if (!nic_is_pci(device) && strncmp(device, "net_", 4) != 0 &&
            strncmp(device, "eth_", 4) != 0)
            found(l, "dpdk.ports", device,
                  "a PCI address such as 0000:00:05.0, or a device of DPDK such as "
                  "net_af_xdp0,iface=eth1 (in the file: commas separate values of --set)");
        for (uint32_t k = 0; k < i; k++) {
            const char *other = c->dpdk_ports.item[k];

            if (strcspn(other, ",") == name && strncmp(device, other, name) == 0)
                found(l, "dpdk.ports", device, "devices with different names");
        }
    }
    if (c->dpdk_ports.n > 0 && c->dpdk_udp_ports.n == 0)
        found(l, "dpdk.udp_ports", "", "at least one port, because dpdk.ports is set");
    if (!made_of(c->dpdk_exception_interface, LOWER UPPER DIGIT "_-"))
        found(l, "dpdk.exception_interface", c->dpdk_exception_interface,
              "letters, digits, '_' and '-'");
    ASSERT(c->dpdk_ports.n <= NICS_MAX);
}

void config_check_relations(struct loader *l)
{
    ASSERT(l->c != NULL);
    check_groups(l);
    check_journal(l);
    check_input(l);
    check_origins(l);
}

void config_check(struct loader *l)
{
    ASSERT(l->c != NULL);
    complete_defaults(l);
    check_names(l);
    check_isa(l);
    if (l->c->sinks_discard)
        l->c->gcs_enabled = l->c->bigquery_enabled = false;
    else
        check_credentials(l);
    check_tls(l);
    check_tokens(l);
    check_sinks(l);
    check_packets(l);
    config_check_relations(l);
}
