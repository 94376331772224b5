/* COLD. The knob table, see knobs.h. Times are in microseconds here. */
#include "control/knobs.h"
#include "control/nearest.h"

#include <inttypes.h>
#include <stdio.h>

#include "dataplane/packet/nics.h"
#include "dataplane/worker.h"
#include "sinks/bigquery/bq_insert.h"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define TIB (UINT64_C(1) << 40)
#define MS  UINT64_C(1000)
#define SEC (UINT64_C(1000) * MS)
#define DAY (UINT64_C(86400) * SEC)

#define AT(field) offsetof(struct config, field)
#define K(name, kind, field, min, max, fallback, choices, help)                       \
    {                                                                                 \
        name, KNOB_##kind, AT(field), min, max, fallback, choices, KNOB_STARTUP, help \
    }
/* The same, but `penstock set` may change it. */
#define R(name, kind, field, min, max, fallback, choices, help)                       \
    {                                                                                 \
        name, KNOB_##kind, AT(field), min, max, fallback, choices, KNOB_RUNTIME, help \
    }

static const struct knob table[] = {
    K("node", TEXT, node, 0, 63, "", "",
      "Name of this node in object names and metadata: a-z, 0-9, '-'. Without it, the host name."),
    K("data_dir", TEXT, data_dir, 1, 4000, "/var/lib/penstock", "",
      "Directory of journals and delivery log; created with mode 0700. One daemon at a time."),
    K("workers", WORKERS, workers, 1, CONFIG_WORKERS_MAX, "1", "",
      "Worker threads: a count, or a list with the core of each, such as [2, 3]."),
    K("worker.pin", CHOICE, worker_pin, 0, 0, "auto", "auto|off",
      "Whether a count of workers is pinned to cores: auto takes one core each when there are "
      "enough."),
    R("worker.spin", BOOL, worker_spin, 0, 0, "false", "",
      "An idle worker spins instead of sleeping: lower latency for a whole core."),
    K("durability", CHOICE, durability, 0, 0, "disk", "disk|memory",
      "When the client hears 200: after the flush (disk), or before it (memory, for benchmarks: a "
      "crash loses "
      "acknowledged events)."),
    K("http.listen", ADDRESS, http_listen, 0, 0, "127.0.0.1:8080", "",
      "Where events come in: POST /v1/events and /v1/events/{event_type}. \"\" turns it off."),
    K("http.connections_max", COUNT, http_connections_max, 1, 1000000, "4096", "",
      "Open connections per worker; more are closed at once."),
    K("http.body_max", SIZE, http_body_max, 64 * KIB, GIB, "16MiB", "",
      "Largest request body; larger: 413."),
    K("http.event_max", SIZE, http_event_max, KIB, 64 * MIB, "1MiB", "",
      "Largest event; larger ones become dead letters."),
    K("http.header_max", SIZE, http_header_max, KIB, 60 * KIB, "16KiB", "",
      "Largest request line and headers."),
    R("http.idle_timeout", DURATION, http_idle_timeout, SEC, DAY, "75s", "",
      "A kept-alive connection without a request is closed after this."),
    R("http.request_timeout", DURATION, http_request_timeout, SEC, DAY, "30s", "",
      "A request must arrive within this, from its first byte to its last."),
    K("http.tokens", TEXT, http_tokens, 0, 4000, "", "",
      "File with the hashes of bearer tokens, what each may send and how much: see "
      "docs/security.md. "
      "With it, requests by HTTP and HTTPS need a token. Read again when it changes, and by "
      "`penstock reload`. TCP and UDP have no tokens."),
    K("http.cors.origins", LIST, http_cors_origins, 0, 64, "", "",
      "Pages whose scripts may send events, such as https://shop.example, or * for all; a request "
      "that names another origin hears 403. Without it, origins are neither checked nor answered."),
    K("http.cors.max_age", DURATION, http_cors_max_age, 0, DAY, "10m", "",
      "How long a browser may remember the answer to its question whether it may send."),
    K("https.listen", ADDRESS, https_listen, 0, 0, "", "",
      "The same over TLS, such as 0.0.0.0:8443. Without it, off."),
    K("https.certificate", TEXT, https_certificate, 0, 4000, "", "",
      "File (PEM) with the server's certificate and those between it and the authority. Read again "
      "when it changes, and by `penstock reload`."),
    K("https.key", TEXT, https_key, 0, 4000, "", "",
      "File (PEM) with its key, without a pass phrase. Read again as the certificate is."),
    K("https.min_version", CHOICE, https_min_version, 0, 0, "1.2", "1.2|1.3",
      "The oldest TLS that is spoken."),
    K("https.ciphers", TEXT, https_ciphers, 1, 1000, "ECDHE+AESGCM:ECDHE+CHACHA20", "",
      "Ciphers of TLS 1.2, as OpenSSL lists them; those of TLS 1.3 are all good."),
    K("https.client_certs", CHOICE, https_client_certs, 0, 0, "off", "off|optional|required",
      "Whether clients are asked for a certificate of https.client_ca: one that has none is taken "
      "(optional) or refused (required); one that has a bad one is always refused."),
    K("https.client_ca", TEXT, https_client_ca, 0, 4000, "", "",
      "File (PEM) with the authorities of clients' certificates. Read again as the certificate "
      "is."),
    K("https.handshake_timeout", DURATION, https_handshake_timeout, SEC, 600 * SEC, "10s", "",
      "A TLS handshake must be done within this, or the connection is closed."),
    K("tcp.listen", ADDRESS, tcp_listen, 0, 0, "", "",
      "Where NDJSON comes in over TCP: nothing is answered, a full journal stops the reading. "
      "Without "
      "it, off."),
    K("tcp.acked_listen", ADDRESS, tcp_acked_listen, 0, 0, "", "",
      "The same, such as 127.0.0.1:8082, but the client hears how many of its lines are durable. "
      "Without it, off."),
    K("tcp.connections_max", COUNT, tcp_connections_max, 1, 1000000, "1024", "",
      "Open TCP connections per worker, both kinds together; more are closed at once."),
    K("tcp.receive_buffers", COUNT, tcp_receive_buffers, 4, 32768, "64", "",
      "64 KiB receive buffers, per worker, shared by all TCP connections; a power of two."),
    R("tcp.idle_timeout", DURATION, tcp_idle_timeout, 0, DAY, "0", "",
      "A TCP connection on which nothing comes for this long is closed; 0: never."),
    R("tcp.line_timeout", DURATION, tcp_line_timeout, 0, DAY, "30s", "",
      "A line must arrive within this, from its first byte to its last, or the connection is "
      "closed; "
      "0: no limit."),
    K("udp.listen", ADDRESS, udp_listen, 0, 0, "", "",
      "Where datagrams with events come in, such as 127.0.0.1:8083: nothing is answered, and what "
      "finds "
      "no room is lost and counted. Without it, off."),
    K("udp.datagram_max", SIZE, udp_datagram_max, KIB, 64 * KIB, "64KiB", "",
      "Largest datagram; larger ones are dropped and counted."),
    K("udp.receive_buffers", COUNT, udp_receive_buffers, 8, 32768, "128", "",
      "Receive buffers of udp.datagram_max, per worker; a power of two."),
    K("udp.receive_buffer", SIZE, udp_receive_buffer, 64 * KIB, GIB, "8MiB", "",
      "The kernel's buffer of the socket, per worker. More than net.core.rmem_max takes "
      "CAP_NET_ADMIN."),
    K("dpdk.ports", LIST, dpdk_ports, 0, NICS_MAX, "", "",
      "DPDK devices that events come in by: PCI addresses of cards, or virtual devices with their "
      "arguments, such as net_af_xdp0,iface=eth1. docs/dpdk.md has examples. Without it, off."),
    K("dpdk.udp_ports", LIST, dpdk_udp_ports, 0, PACKET_UDP_PORTS_MAX, "", "",
      "UDP ports whose datagrams are events, on all of dpdk.ports; every other packet is the "
      "kernel's."),
    K("dpdk.exception", CHOICE, dpdk_exception, 0, 0, "off", "off|tap|virtio_user",
      "An interface for each of dpdk.ports, by which the kernel gets and sends what is not ours "
      "(ARP, ping, ssh, HTTP); off: such packets are dropped and counted."),
    K("dpdk.exception_interface", TEXT, dpdk_exception_interface, 1, 13, "penstock", "",
      "Name of these interfaces; the port's index in dpdk.ports follows: penstock0."),
    K("dpdk.descriptors", COUNT, dpdk_descriptors, 64, 32768, "1024", "",
      "Packets that each receive queue holds while its worker is busy; a power of two."),
    K("dpdk.waiting", COUNT, dpdk_waiting, 32, 65536, "1024", "",
      "Datagrams that wait for commit blocks, per worker, up to a second; more are dropped and "
      "counted."),
    K("dpdk.mtu", COUNT, dpdk_mtu, 576, 9600, "1500", "",
      "Largest packet, without its Ethernet header; packet buffers are made for it."),
    K("dpdk.checksums", CHOICE, dpdk_checksums, 0, 0, "check", "check|trust",
      "IP and UDP checksums: checked, by the card where it can; or trusted, for links within one "
      "machine, which may leave them out."),
    K("dpdk.promiscuous", BOOL, dpdk_promiscuous, 0, 0, "false", "",
      "Also packets that are not addressed to the card, such as those of a mirrored port."),
    R("dpdk.idle_sleep", DURATION, dpdk_idle_sleep, 0, 10 * MS, "100us", "",
      "A worker polls its ports; after a while without packets it sleeps between looks, up to "
      "this. 0: it never does, for a whole core."),
    K("admin.listen", ADDRESS, admin_listen, 0, 0, "127.0.0.1:9464", "",
      "Where /metrics, /healthz and /readyz are served."),
    K("control.socket", TEXT, control_socket, 0, 107, "", "",
      "Unix socket of the `penstock` command. Without it, penstock.sock in data_dir."),
    K("journal.limit", SIZE, journal_limit, 32 * MIB, 1024 * TIB, "4GiB", "",
      "Space of all journals together, shared equally by the workers; when full, clients hear "
      "429."),
    K("journal.segment", SIZE, journal_segment, 8 * MIB, 2 * GIB, "64MiB", "",
      "Size of a journal file; a multiple of 4KiB."),
    K("journal.spares", COUNT, journal_spares, 1, 16, "4", "",
      "Journal files kept ready ahead of each worker."),
    R("block.bytes", SIZE, block_bytes, 64 * KIB, 64 * MIB, "1MiB", "",
      "A commit block is written when full to this, or earlier when the disk is free. Live: at "
      "most its value at start."),
    R("block.age_max", DURATION, block_age_max, 0, SEC, "0", "",
      "A block that is not full waits this long for more events: fewer writes, later answers. 0: "
      "it is written as soon as the disk is free and no more input is at hand."),
    K("block.count", COUNT, block_count, 4, 4096, "32", "", "Commit blocks in memory, per worker."),
    R("block.lane_max", COUNT, block_lane_max, 1, 4094, "16", "",
      "Blocks lent to sink threads at once, per worker; sink threads read the rest from disk. "
      "Live: at most its value at start."),
    K("input.leases_small", COUNT, leases_small, 1, 65536, "64", "",
      "64 KiB body buffers, per worker."),
    K("input.leases_middle", COUNT, leases_middle, 1, 16384, "64", "",
      "256 KiB body buffers, per worker."),
    K("input.leases_medium", COUNT, leases_medium, 1, 16384, "16", "",
      "1 MiB body buffers, per worker."),
    K("input.leases_large", COUNT, leases_large, 1, 1024, "2", "",
      "Body buffers of http.body_max, per worker; a body that finds none free hears 503."),
    K("input.receive_buffers", COUNT, receive_buffers, 8, 32768, "256", "",
      "64 KiB receive buffers, per worker, shared by all connections; a power of two."),
    K("json.isa", CHOICE, json_isa, 0, 0, "auto", "auto|avx512|avx2|scalar",
      "What the JSON parser runs on: auto takes the fastest that this CPU has. All find the same; "
      "naming one is for comparisons."),
    K("types.field", TEXT, type_field, 1, 255, "event_type", "",
      "Path of the event type in an event, such as event_type or meta.kind."),
    K("types.time_field", TEXT, time_field, 0, 255, "", "",
      "Path of the event time for types that name none. Without it, the time of receipt."),
    K("types.max", COUNT, types_max, 1, 1000000, "10000", "",
      "Event types known at once; events of more types become dead letters."),
    K("types.unlisted", CHOICE, types_unlisted, 0, 0, "json", "json|infer|dead_letter",
      "Events of types that types.list does not name: to a table with one JSON column, to a table "
      "whose columns are inferred from the events, or dead letters."),
    R("types.lateness", DURATION, types_lateness, 0, 3650 * DAY, "1h", "",
      "Events older than their type's newest by more than this go to objects of their own, named "
      "late."),
    R("types.sampling", FRACTION, types_sampling, 0, 1000000, "1", "",
      "Part of the events that is kept, of types that name none: 1 keeps all. The choice follows "
      "from the event's bytes; what is left out is acknowledged and counted as sampled_out."),
    K("types.list", TYPES, types, 0, 0, "", "", "The known event types; see below."),
    K("schema.columns_max", COUNT, schema_columns_max, 5, SCHEMA_FIELDS_MAX, "2000", "",
      "Columns of a table whose columns are inferred or added, nested ones included; fields past "
      "it go to the column penstock_overflow."),
    K("gcs.enabled", BOOL, gcs_enabled, 0, 0, "true", "",
      "Events go to Cloud Storage: the archive, from which BigQuery loads. Only true so far."),
    K("gcs.endpoint", TEXT, gcs_endpoint, 0, 1024, "https://storage.googleapis.com", "",
      "Scheme, host and port of the service or an emulator. STORAGE_EMULATOR_HOST is used when "
      "this is not set."),
    K("gcs.bucket", TEXT, gcs_bucket, 0, 222, "", "", "The bucket; it must exist."),
    R("gcs.concurrency", COUNT, gcs_concurrency, 1, 1024, "16", "",
      "Uploads under way at once, per sink thread."),
    K("gcs.objects_per_second", COUNT, gcs_objects_per_second, 1, 1000000, "1000", "",
      "Objects written or deleted a second, by all sink threads, to begin with: 20 minutes at the "
      "limit double it, 429 halves it again."),
    R("gcs.resumable_bytes", SIZE, gcs_resumable_bytes, 256 * KIB, 4 * GIB, "16MiB", "",
      "Larger objects go up chunk by chunk in a resumable session, smaller ones in one request."),
    K("gcs.chunk_bytes", SIZE, gcs_chunk_bytes, 256 * KIB, GIB, "16MiB", "",
      "Chunk of a resumable session: what an interruption costs at most. A multiple of 256KiB."),
    R("gcs.gzip", BOOL, gcs_gzip, 0, 0, "false", "",
      "New objects are gzip files, named .json.gz; those that are planned keep their form."),
    R("gcs.gzip_level", COUNT, gcs_gzip_level, 1, 9, "6", "",
      "1 is fastest, 9 smallest; about 250, 110 and 40 MB/s of events per sink thread at 1, 6 and "
      "9."),
    K("gcs.owner", BOOL, gcs_owner, 0, 0, "true", "",
      "Whether an object in the bucket, below penstock/owner/, tells copies of a data directory "
      "from the one that may deliver."),
    K("gcs.owner_renew", DURATION, gcs_owner_renew, SEC, 3600 * SEC, "30s", "",
      "How often that object is renewed. A process that was killed on another machine is waited "
      "for, three times this, before what it left is delivered."),
    K("gcs.user_project", TEXT, gcs_user_project, 0, 63, "", "",
      "Project that pays for requests, when another."),
    K("bigquery.enabled", BOOL, bigquery_enabled, 0, 0, "true", "",
      "Whether events go to BigQuery, by load jobs from the objects."),
    K("bigquery.endpoint", TEXT, bigquery_endpoint, 0, 1024, "https://bigquery.googleapis.com", "",
      "Scheme, host and port of the service or an emulator. BIGQUERY_EMULATOR_HOST is used when "
      "this is not set."),
    K("bigquery.project", TEXT, bigquery_project, 0, 63, "", "",
      "The project. GOOGLE_CLOUD_PROJECT is used when this is not set."),
    K("bigquery.dataset", TEXT, bigquery_dataset, 0, 1024, "", "",
      "The dataset, created when missing. Without it, {environment}_events_dataset."),
    K("bigquery.location", TEXT, bigquery_location, 0, 63, "", "",
      "Location of a new dataset, such as EU; without it, BigQuery's choice."),
    K("bigquery.environment", TEXT, bigquery_environment, 1, 63, "prod", "",
      "The environment: label of new tables and start of the dataset's name."),
    K("bigquery.labels", MAP, bigquery_labels, 0, 12, "", "",
      "More labels of new datasets and tables, beside environment, managed_by, table_type and "
      "auto_created."),
    K("bigquery.table_expiration", DURATION, bigquery_table_expiration, 0, 36500 * DAY, "90d", "",
      "Tables of a new dataset are deleted after this; 0 keeps them."),
    K("bigquery.method", CHOICE, bigquery_method, 0, 0, "load", "load|insert_all",
      "How rows reach BigQuery, for types that name no method: load jobs from the objects (exactly "
      "once, within bigquery.load_cadence), or insertAll (within seconds; at least once, see "
      "docs)."),
    R("bigquery.load_cadence", DURATION, bigquery_load_cadence, SEC, DAY, "120s", "",
      "Least time between two load jobs of a table. BigQuery allows 1,500 a day: below 60s is for "
      "tests."),
    R("bigquery.load_bytes", SIZE, bigquery_load_bytes, MIB, 10 * TIB, "1GiB", "",
      "Most bytes of one load job."),
    R("bigquery.split_jobs", COUNT, bigquery_split_jobs, 0, 1000, "300", "",
      "Load jobs a day and table for finding what is at fault in a load that BigQuery refuses: it "
      "is "
      "cut into parts, down to the row, which becomes a dead letter, and the rest is loaded. A "
      "day's "
      "worth may be used at once. 0: such a load is set aside as a whole."),
    K("bigquery.user_project", TEXT, bigquery_user_project, 0, 63, "", "",
      "Project that pays for requests, when another."),
    K("credentials.source", CHOICE, credentials_source, 0, 0, "auto", "auto|search|metadata|none",
      "Without a file below: auto searches as Google's clients do (environment, gcloud's file, "
      "metadata server), but sends no credentials to http:// endpoints; search sends them there "
      "too; metadata asks the metadata server only; none sends none."),
    K("credentials.file", TEXT, key_file, 0, 4000, "", "",
      "Key file in JSON: a service account's, or one that gcloud made for a user."),
    K("credentials.token_file", TEXT, token_file, 0, 4000, "", "",
      "File with an OAuth access token that something else renews."),
    R("insert.rows", COUNT, insert_rows, 1, BQ_INSERT_ROWS_MAX, "500", "",
      "Rows of one insertAll request; BigQuery advises 500."),
    R("insert.bytes", SIZE, insert_bytes, 64 * KIB, 9 * MIB, "4MiB", "",
      "Bytes of one insertAll request; BigQuery takes 10 MB. A larger row is sent alone, up to "
      "that."),
    R("insert.age_max", DURATION, insert_age_max, 10 * MS, DAY, "1s", "",
      "Rows for insertAll gather at most this long, while their table keeps up; up to "
      "group.age_max "
      "when it does not."),
    R("insert.concurrency", COUNT, insert_concurrency, 1, 1024, "16", "",
      "insertAll requests under way at once, per sink thread."),
    R("insert.table_concurrency", COUNT, insert_table_concurrency, 1, 1024, "4", "",
      "Of these, for one table: a slow one leaves the rest to the others."),
    R("insert.table_wait", DURATION, insert_table_wait, SEC, DAY, "10m", "",
      "A table that was made or changed and that insertAll does not find is waited for this long; "
      "then its rows are parked."),
    R("group.bytes_max", SIZE, group_bytes_max, 64 * KIB, 4 * GIB, "64MiB", "",
      "Events of one type and minute become an object when they are this many bytes..."),
    R("group.age_max", DURATION, group_age_max, 10 * MS, DAY, "60s", "",
      "...or when the oldest is this old."),
    K("group.memory", SIZE, group_memory, 64 * MIB, TIB, "256MiB", "",
      "Memory for open and unsent groups, per sink thread."),
    K("sinks.threads", COUNT, sinks_threads, 1, SINK_THREADS_MAX, "1", "",
      "Sink threads; tables are shared out."),
    K("sinks.discard", BOOL, sinks_discard, 0, 0, "false", "",
      "Throws all events away as soon as they are in the journal: to measure inputs without a "
      "cloud, never for data. Only in a data_dir of its own."),
    R("sinks.backlog_share", FRACTION, backlog_share, 10000, 1000000, "0.5", "",
      "While events come in, the part of a sink thread's time for what it reads back from "
      "journals, "
      "from 0.01 on; the rest is left to the workers. All of it when nothing comes in, or a "
      "journal "
      "is more than half full."),
    R("sinks.park_retry", DURATION, park_retry, SEC, DAY, "60s", "",
      "What was refused for good (rights, names) is tried again after this."),
    R("sinks.spool_bytes", SIZE, spool_bytes, 0, 1024 * TIB, "4GiB", "",
      "When a journal is half full, events whose objects or rows are refused for good (or whose "
      "type "
      "is paused) move to files in data_dir/spool. Past so many bytes in all, new events of their "
      "types are refused with 429; other types go on. 0: they stay in the journal."),
    R("sinks.connect_timeout", DURATION, connect_timeout, 100 * MS, 600 * SEC, "10s", "",
      "For a new connection."),
    R("sinks.stall_timeout", DURATION, stall_timeout, SEC, 3600 * SEC, "60s", "",
      "A call on which no byte moves for this long has failed, and is retried."),
    K("sinks.ca_file", TEXT, ca_file, 0, 4000, "", "",
      "Certificate authorities (PEM) instead of the system's."),
    K("delivery_log.file", SIZE, delivery_log_file, 8 * MIB, 2 * GIB, "64MiB", "",
      "Size of each of the two files of the delivery log."),
    K("eal.huge_pages", CHOICE, eal_huge_pages, 0, 0, "auto", "auto|on|off",
      "Huge pages for DPDK: auto uses them when some are free."),
    K("eal.args", LIST, eal_args, 0, 32, "", "", "More arguments for DPDK's EAL, for experts."),
    R("log.level", CHOICE, log_level, 0, 0, "info", "debug|info|warn|error",
      "Lines below this are not written."),
    R("shutdown.grace", DURATION, shutdown_grace, 0, DAY, "30s", "",
      "On SIGTERM, how long to wait for delivery before stopping; the rest is delivered after the "
      "next start."),
};

static const struct type_knob entry_table[] = {
    {"name", "text of 1 to 128 bytes", "The event type as events carry it. Required."},
    {"table", "letters, digits and '_'", "Table id. Without it, the escaped name."},
    {"time_field", "a path", "Path of the event's time. Without it, types.time_field."},
    {"schema", "a file name, or infer",
     "Schema in BigQuery's JSON format, relative to this configuration's folder; or infer: columns "
     "come from the events themselves, and new ones are added live. Without it, the table has one "
     "JSON column."},
    {"sampling", "a number from 0 to 1 with at most 6 decimal places",
     "Part of this type's events that is kept. Without it, types.sampling. Live: `penstock set "
     "types.NAME.sampling 0.1`."},
    {"description", "text", "Description of a new table."},
    {"clustering", "up to 4 columns", "Clustering columns of a new table: top-level and scalar."},
    {"method", "load|insert_all",
     "How its rows reach BigQuery. Without it, bigquery.method. A change holds for new events; "
     "what "
     "was taken before goes the old way."},
    {"dedupe", "a map of field, window and ids_max",
     "Removes events whose id was taken within a window before: field is the path of the id (a "
     "string "
     "or a number), window (default 1h, from 1s to 7d), and ids_max (default 1000000, from 1000 to "
     "1000000000) the ids that are known at once: about 40 bytes of memory and 20 of disk each, "
     "taken "
     "at start. Past it the window is shorter, and says so. Events without an id are kept."},
    {"unknown_fields", "overflow|add_column|dead_letter",
     "Fields that the schema file does not name: moved to the column penstock_overflow (default), "
     "added to the table as new columns, or the event becomes a dead letter."},
};

static_assert(ARRAY_LEN(table) <= CONFIG_KNOBS_MAX, "origin[] holds every knob");
static_assert(CONFIG_WORKERS_MAX + SINK_THREADS_MAX <= LIVE_READERS_MAX, "each thread reads");

const struct knob *knobs_all(uint32_t *n)
{
    ASSERT(n != NULL);
    *n = ARRAY_LEN(table);
    return table;
}

const struct type_knob *knobs_of_type(uint32_t *n)
{
    ASSERT(n != NULL);
    *n = ARRAY_LEN(entry_table);
    return entry_table;
}

int knob_index(const char *name)
{
    ASSERT(name != NULL);
    for (uint32_t i = 0; i < ARRAY_LEN(table); i++) {
        if (strcmp(table[i].name, name) == 0)
            return (int)i;
    }
    return -1;
}

const struct knob *knob_get(const char *name)
{
    int i = knob_index(name);

    ASSERT(i >= 0);
    return &table[i];
}

bool knob_is_section(const char *name)
{
    size_t len = strlen(name);

    ASSERT(ARRAY_LEN(table) > 0);
    for (uint32_t i = 0; i < ARRAY_LEN(table); i++) {
        if (strncmp(table[i].name, name, len) == 0 && table[i].name[len] == '.')
            return true;
    }
    return false;
}

static void format_size(uint64_t v, struct textbuf *out)
{
    static const char *const units[] = {"", "KiB", "MiB", "GiB", "TiB"};
    uint32_t i = 0;

    while (v >= 1024 && v % 1024 == 0 && i + 1 < ARRAY_LEN(units)) {
        v /= 1024;
        i++;
    }
    textbuf_add(out, "%" PRIu64 "%s", v, units[i]);
}

static void format_duration(uint64_t us, struct textbuf *out)
{
    static const struct {
        const char *unit;
        uint64_t us;
    } units[] = {{"d", DAY}, {"h", 3600 * SEC}, {"m", 60 * SEC}, {"s", SEC}, {"ms", MS}, {"us", 1}};

    for (uint32_t i = 0; i < ARRAY_LEN(units); i++) {
        if (us >= units[i].us && us % units[i].us == 0) {
            textbuf_add(out, "%" PRIu64 "%s", us / units[i].us, units[i].unit);
            return;
        }
    }
    textbuf_add(out, "0");
}

static void format_fraction(uint64_t ppm, struct textbuf *out)
{
    char digits[16];
    int n =
        snprintf(digits, sizeof(digits), "%" PRIu64 ".%06" PRIu64, ppm / 1000000, ppm % 1000000);

    ASSERT(n > 2 && (size_t)n < sizeof(digits));
    while (digits[n - 1] == '0')
        n--;
    if (digits[n - 1] == '.')
        n--;
    textbuf_bytes(out, digits, (size_t)n);
}

void knob_format(enum knob_kind kind, uint64_t value, struct textbuf *out)
{
    ASSERT(out != NULL);
    if (kind == KNOB_SIZE)
        format_size(value, out);
    else if (kind == KNOB_DURATION)
        format_duration(value, out);
    else if (kind == KNOB_FRACTION)
        format_fraction(value, out);
    else
        textbuf_add(out, "%" PRIu64, value);
}

static void allowed_range(const struct knob *k, const char *what, struct textbuf *out)
{
    textbuf_add(out, "%s from ", what);
    knob_format(k->kind, k->min, out);
    textbuf_add(out, " to ");
    knob_format(k->kind, k->max, out);
}

void knob_allowed(const struct knob *k, struct textbuf *out)
{
    ASSERT(k != NULL);
    switch (k->kind) {
    case KNOB_SIZE:
        allowed_range(k, "a size", out);
        break;
    case KNOB_DURATION:
        allowed_range(k, "a duration", out);
        break;
    case KNOB_COUNT:
        allowed_range(k, "a whole number", out);
        break;
    case KNOB_FRACTION:
        textbuf_add(out, "a number from 0 to 1 with at most 6 decimal places, such as 0.1");
        break;
    case KNOB_TEXT:
        textbuf_add(out, "text of %" PRIu64 " to %" PRIu64 " bytes", k->min, k->max);
        break;
    case KNOB_ADDRESS:
        textbuf_add(out, "host:port with a numeric host, such as 127.0.0.1:8080 or [::1]:8080");
        break;
    case KNOB_BOOL:
        textbuf_add(out, "true or false");
        break;
    case KNOB_CHOICE:
        textbuf_add(out, "one of %s", k->choices);
        break;
    case KNOB_LIST:
        textbuf_add(out, "a list of at most %" PRIu64 " texts", k->max);
        break;
    case KNOB_MAP:
        textbuf_add(out, "a map of at most %" PRIu64 " texts to texts", k->max);
        break;
    case KNOB_WORKERS:
        textbuf_add(out, "a whole number from 1 to %d, or a list of that many cores",
                    CONFIG_WORKERS_MAX);
        break;
    case KNOB_TYPES:
        textbuf_add(out, "a list of maps");
        break;
    }
}

static const void *field_at(const struct knob *k, const struct config *c)
{
    ASSERT(k->offset < sizeof(*c));
    return (const char *)c + k->offset;
}

uint64_t knob_number(const struct knob *k, const struct config *c)
{
    uint64_t v = 0;
    bool b;

    if (k->kind == KNOB_BOOL) {
        memcpy(&b, field_at(k, c), sizeof(b));
        return b ? 1 : 0;
    }
    ASSERT(k->kind == KNOB_SIZE || k->kind == KNOB_DURATION || k->kind == KNOB_COUNT ||
           k->kind == KNOB_FRACTION || k->kind == KNOB_CHOICE);
    memcpy(&v, field_at(k, c), sizeof(v));
    return v;
}

void knob_copy(const struct knob *k, const struct config *from, struct config *to)
{
    size_t bytes = k->kind == KNOB_BOOL ? sizeof(bool) : sizeof(uint64_t);

    ASSERT(k->phase == KNOB_RUNTIME);
    memcpy((char *)to + k->offset, field_at(k, from), bytes);
}

static void choice_name(const struct knob *k, uint64_t index, struct textbuf *out)
{
    const char *p = k->choices;

    ASSERT(k->kind == KNOB_CHOICE);
    for (; index > 0; index--)
        p += strcspn(p, "|") + 1;
    textbuf_bytes(out, p, strcspn(p, "|"));
}

static void workers_value(const struct config *c, struct textbuf *out)
{
    ASSERT(c->workers <= CONFIG_WORKERS_MAX);
    if (c->core[0] == CONFIG_CORE_AUTO) {
        textbuf_add(out, "%" PRIu64, c->workers);
        return;
    }
    for (uint64_t i = 0; i < c->workers; i++)
        textbuf_add(out, "%s%d", i > 0 ? "," : "", c->core[i]);
}

static void list_value(const struct knob *k, const struct config *c, struct textbuf *out)
{
    const struct config_map *map = field_at(k, c);
    const struct config_list *list = field_at(k, c);
    uint32_t n = k->kind == KNOB_MAP ? map->n : list->n;

    ASSERT(k->kind == KNOB_MAP || k->kind == KNOB_LIST);
    for (uint32_t i = 0; i < n; i++) {
        textbuf_add(out, "%s", i > 0 ? "," : "");
        if (k->kind == KNOB_MAP)
            textbuf_add(out, "%s=%s", map->key[i], map->value[i]);
        else
            textbuf_add(out, "%s", list->item[i]);
    }
}

void knob_value(const struct knob *k, const struct config *c, struct textbuf *out)
{
    const char *text;

    ASSERT(out != NULL);
    switch (k->kind) {
    case KNOB_TEXT:
    case KNOB_ADDRESS:
        memcpy(&text, field_at(k, c), sizeof(text));
        textbuf_add(out, "%s", text);
        break;
    case KNOB_LIST:
    case KNOB_MAP:
        list_value(k, c, out);
        break;
    case KNOB_WORKERS:
        workers_value(c, out);
        break;
    case KNOB_TYPES:
        textbuf_add(out, "%" PRIu32 " types", c->types.n_types);
        break;
    case KNOB_BOOL:
        textbuf_add(out, knob_number(k, c) != 0 ? "true" : "false");
        break;
    case KNOB_CHOICE:
        choice_name(k, knob_number(k, c), out);
        break;
    default:
        knob_format(k->kind, knob_number(k, c), out);
    }
}

/* Offers name's leading part of len bytes as a candidate. */
static void nearest_offer(const char *word, const char *name, size_t len, unsigned *least,
                          uint32_t i, int *best)
{
    char part[NEAREST_WORD_MAX];
    unsigned d;

    ASSERT(len < sizeof(part));
    memcpy(part, name, len);
    part[len] = '\0';
    d = nearest_distance(word, part);
    if (d < *least) {
        *least = d;
        *best = (int)i;
    }
}

const char *knob_nearest(const char *name)
{
    unsigned least = NEAREST_WORD_MAX;
    int best = -1;

    ASSERT(name != NULL);
    for (uint32_t i = 0; i < ARRAY_LEN(table); i++)
        nearest_offer(name, table[i].name, strlen(table[i].name), &least, i, &best);
    if (best >= 0 && nearest_is_close(name, least))
        return table[best].name;
    for (uint32_t i = 0; i < ARRAY_LEN(table);
         i++) { /* http.lisen: the last part alone, in the right section */
        const char *dot = strrchr(table[i].name, '.'), *own = strrchr(name, '.');

        if (dot != NULL && strcmp(dot + 1, own != NULL ? own + 1 : name) == 0)
            return table[i].name;
    }
    return NULL;
}
