/* COLD. See packets.h. */
#include "control/packets.h"

#include <inttypes.h>

void packets_total(struct daemon *d, struct totals *t)
{
    struct nic_stats s;

    ASSERT(t != NULL);
    for (uint32_t i = 0; i < nics_count(d->nics); i++) {
        nics_stats(d->nics, i, &s);
        if (!s.is_exception)
            t->nic_missed += s.missed + s.no_buffer;
    }
}

static uint64_t dropped(const struct totals *t)
{
    uint64_t n = 0;

    ASSERT(t != NULL);
    for (int i = REASON_DEAD_END + 1; i < REASON_END; i++)
        n += t->packet_dropped[i];
    return n;
}

/* Of the packets received, those whose datagram went in. Counters are read one after the other, so a
 * difference may be behind for a moment. */
static uint64_t taken(const struct totals *t)
{
    uint64_t others = t->packet_forwarded + t->packet_waiting + dropped(t);

    ASSERT(t != NULL);
    return t->packet_received > others ? t->packet_received - others : 0;
}

static void json_ports(struct daemon *d, struct textbuf *b)
{
    struct nic_stats s;

    ASSERT(nics_count(d->nics) > 0);
    textbuf_add(b, ",\"ports\":[");
    for (uint32_t i = 0; i < nics_count(d->nics); i++) {
        nics_stats(d->nics, i, &s);
        textbuf_add(b, "%s{\"device\":", i > 0 ? "," : "");
        textbuf_json(b, span_of(s.device));
        textbuf_add(b,
                    ",\"driver\":\"%s\",\"exception\":%s,\"link\":\"%s\",\"received\":%" PRIu64
                    ",\"missed\":%" PRIu64 ",\"errors\":%" PRIu64 ",\"no_buffer\":%" PRIu64
                    ",\"sent\":%" PRIu64 "}",
                    s.driver, s.is_exception ? "true" : "false", s.link_up ? "up" : "down",
                    s.received, s.missed, s.errors, s.no_buffer, s.sent);
    }
    textbuf_add(b, "]");
}

void packets_json(struct daemon *d, const struct totals *t, struct textbuf *b)
{
    const char *comma = "";

    if (d->nics == NULL)
        return;
    textbuf_add(b,
                ",\"dpdk\":{\"received\":%" PRIu64 ",\"taken\":%" PRIu64 ",\"forwarded\":%" PRIu64
                ",\"waiting\":%" PRIu64 ",\"missed\":%" PRIu64 ",\"datagrams\":%" PRIu64
                ",\"fragments\":%" PRIu64 ",\"copied\":%" PRIu64 ",\"busy_us\":%" PRIu64
                ",\"returned\":%" PRIu64 ",\"send_full\":%" PRIu64 ",\"dropped_lines\":%" PRIu64
                ",\"dropped\":{",
                t->packet_received, taken(t), t->packet_forwarded, t->packet_waiting, t->nic_missed,
                t->packet_datagrams, t->packet_fragments, t->packet_copied, t->packet_busy_us,
                t->packet_returned, t->packet_send_full, t->packet_dropped_lines);
    for (int i = REASON_DEAD_END + 1; i < REASON_END; i++) {
        if (t->packet_dropped[i] == 0)
            continue;
        textbuf_add(b, "%s\"%s\":%" PRIu64, comma, reason_name((enum reason)i),
                    t->packet_dropped[i]);
        comma = ",";
    }
    textbuf_add(b, "}");
    json_ports(d, b);
    textbuf_add(b, "}");
    ASSERT(b->len > 0);
}

void packets_text(struct daemon *d, const struct totals *t, struct textbuf *b)
{
    if (d->nics == NULL)
        return;
    textbuf_add(b,
                "  by DPDK      %12" PRIu64 "  packets: %" PRIu64 " taken, %" PRIu64
                " to the kernel, %" PRIu64 " waiting; the cards missed %" PRIu64 " more; %" PRIu64
                " lines in those dropped here\n",
                t->packet_received, taken(t), t->packet_forwarded, t->packet_waiting, t->nic_missed,
                t->packet_dropped_lines);
    for (int i = REASON_DEAD_END + 1; i < REASON_END; i++) {
        if (t->packet_dropped[i] > 0)
            textbuf_add(b, "  %-12s %12" PRIu64 "  %s\n", "DPDK dropped", t->packet_dropped[i],
                        reason_name((enum reason)i));
    }
    ASSERT(b->len > 0);
}

#define STAT(field, name, type, help)                       \
    {                                                       \
        offsetof(struct nic_stats, field), name, type, help \
    }

void packets_metrics(struct daemon *d, struct textbuf *b)
{
    static const struct {
        size_t offset;
        const char *name, *type, *help;
    } list[] = {
        STAT(received, "received_packets_total", "counter", "Packets received by a DPDK port."),
        STAT(received_bytes, "received_bytes_total", "counter", "Their bytes."),
        STAT(missed, "missed_packets_total", "counter", "Packets that found its queues full."),
        STAT(errors, "receive_errors_total", "counter", "Packets that it refused as broken."),
        STAT(no_buffer, "no_buffer_total", "counter", "Times that it found no packet buffer."),
        STAT(sent, "sent_packets_total", "counter", "Packets sent by a DPDK port."),
        STAT(send_errors, "send_errors_total", "counter", "Packets that it could not send."),
    };
    struct nic_stats s[2 * NICS_MAX];
    uint32_t n = nics_count(d->nics);
    uint64_t v;

    ASSERT(n <= ARRAY_LEN(s));
    for (uint32_t i = 0; i < n; i++)
        nics_stats(d->nics, i, &s[i]);
    for (size_t k = 0; n > 0 && k < ARRAY_LEN(list); k++) {
        textbuf_add(b, "# HELP penstock_nic_%s %s\n# TYPE penstock_nic_%s %s\n", list[k].name,
                    list[k].help, list[k].name, list[k].type);
        for (uint32_t i = 0; i < n; i++) {
            memcpy(&v, (const char *)&s[i] + list[k].offset, sizeof(v));
            textbuf_add(b, "penstock_nic_%s{port=\"%.*s\",driver=\"%s\"} %" PRIu64 "\n",
                        list[k].name, (int)strcspn(s[i].device, ",\"\\"), s[i].device, s[i].driver,
                        v);
        }
    }
}
