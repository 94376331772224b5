/*
 * Peer: simdjson. DOM parse_many (validates everything), On-Demand line by line and iterate_many (checks what
 * it looks at), rows by On-Demand and a hand-written encoder; stage 1 and minify as ceilings. PEER_ISA says
 * which of simdjson's implementations: it is compiled in for On-Demand, chosen at run time for the others.
 */
#include <simdjson.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>

#include "perf/json_peer.h"
#include "perf/json_row_put.h"

using namespace simdjson;
using std::string_view;

namespace
{

constexpr size_t BATCH =
    1 << 20; // of a stream: simdjson's own choice, 10 % faster than 256 KiB here
constexpr size_t CHUNK = 256 * 1024; // of the ceilings; fits the second cache
constexpr size_t EVENT_MAX = 64 * 1024;
constexpr bool AVX512 = PEER_AVX512;
constexpr const char *ISA = AVX512 ? "avx512" : "avx2";
constexpr const char *IMPLEMENTATION = AVX512 ? "icelake" : "haswell";

template <enum json_corpus> struct fields;
#define X(symbol, name, t, o, i, at)                                            \
    template <> struct fields<JSON_CORPUS_##symbol> {                           \
        static constexpr string_view type = t, outer = o, inner = i, time = at; \
    };
JSON_CORPORA(X)
#undef X

bool choose()
{
    auto found = get_available_implementations()[IMPLEMENTATION];

    if (found == nullptr || !found->supported_by_runtime_system())
        return false;
    get_active_implementation() = found;
    return true;
}

template <class T> void take(simdjson_result<T> &&found, struct json_found *out)
{
    string_view text;

    if (!found.get_string().get(text))
        out->bytes += text.size();
}

// Whether a key is one of those that are taken as they are. is(text) compares.
template <enum json_corpus C, class Is> bool is_plain(Is is)
{
    if constexpr (C == JSON_CORPUS_MIXED)
        return is_plain<JSON_CORPUS_COMMERCE>(is) || is_plain<JSON_CORPUS_GITHUB>(is) ||
               is_plain<JSON_CORPUS_KIBANA>(is);
    else
        return is(fields<C>::type) || is(fields<C>::time);
}

// What is taken out of the object with this key; empty: nothing.
template <enum json_corpus C, class Is> string_view inner_of(Is is)
{
    if constexpr (C == JSON_CORPUS_MIXED) {
        string_view inner = inner_of<JSON_CORPUS_COMMERCE>(is);

        if (inner.empty())
            inner = inner_of<JSON_CORPUS_GITHUB>(is);
        return !inner.empty() ? inner : inner_of<JSON_CORPUS_KIBANA>(is);
    } else {
        return is(fields<C>::outer) ? fields<C>::inner : string_view();
    }
}

// One way through the members until all three are found: faster than looking each one up, with DOM as with
// On-Demand, and most where producers order them differently.
template <enum json_corpus C> void take_event(dom::object &o, struct json_found *out)
{
    unsigned missing = 3;

    out->events++;
    for (auto field : o) {
        auto is = [&](string_view text) { return field.key == text; };

        if (is_plain<C>(is)) {
            take(simdjson_result<dom::element>(dom::element(field.value)), out);
        } else {
            string_view inner = inner_of<C>(is);

            if (inner.empty())
                continue;
            take(field.value[inner], out);
        }
        if (--missing == 0)
            break;
    }
}

template <enum json_corpus C> void take_event(ondemand::object &o, struct json_found *out)
{
    unsigned missing = 3;

    out->events++;
    for (auto field : o) {
        ondemand::raw_json_string key;

        if (field.key().get(key))
            return;
        auto is = [&](string_view text) { return key.unsafe_is_equal(text); };

        if (is_plain<C>(is)) {
            take(field.value(), out);
        } else {
            string_view inner = inner_of<C>(is);

            if (inner.empty())
                continue;
            take(field.value()[inner], out);
        }
        if (--missing == 0)
            break;
    }
}

// ---- DOM ----

struct dom_state {
    dom::parser parser;
    size_t batch;
    bool (*run)(dom_state *, const char *, size_t, struct json_found *);
};

template <enum json_corpus C>
bool dom_run(dom_state *s, const char *buf, size_t len, struct json_found *out)
{
    dom::document_stream stream;

    if (s->parser.parse_many(reinterpret_cast<const uint8_t *>(buf), len, s->batch).get(stream))
        return false;
    for (auto found : stream) {
        dom::object o;

        if (found.get_object().get(o))
            return false;
        take_event<C>(o, out);
    }
    return stream.truncated_bytes() == 0;
}

template <class State, template <enum json_corpus> class Runner>
bool set_run(State *s, enum json_corpus corpus)
{
    switch (corpus) {
#define X(symbol, name, t, o, i, at)                \
    case JSON_CORPUS_##symbol:                      \
        s->run = Runner<JSON_CORPUS_##symbol>::run; \
        return true;
        JSON_CORPORA(X)
#undef X
    case JSON_CORPUS_MIXED:
        s->run = Runner<JSON_CORPUS_MIXED>::run;
        return true;
    default:
        return false;
    }
}

template <enum json_corpus C> struct dom_runner {
    static constexpr auto run = dom_run<C>;
};

size_t batch_of(size_t buffer_max)
{
    return buffer_max < BATCH ? buffer_max : BATCH;
}

void *dom_create(enum json_corpus corpus, size_t buffer_max)
{
    if (!choose())
        return nullptr;
    auto s = new dom_state;
#ifdef SIMDJSON_THREADS_ENABLED
    s->parser.threaded = false; // one core
#endif
    s->batch = batch_of(buffer_max);
    if (s->parser.allocate(s->batch) || !set_run<dom_state, dom_runner>(s, corpus)) {
        delete s;
        return nullptr;
    }
    return s;
}

template <class State> bool run(void *state, const char *buf, size_t len, struct json_found *out)
{
    auto s = static_cast<State *>(state);

    return s->run(s, buf, len, out);
}

template <class State> void destroy(void *state)
{
    delete static_cast<State *>(state);
}

// ---- On-Demand ----

struct demand_state {
    ondemand::parser parser;
    size_t batch;
    bool (*run)(demand_state *, const char *, size_t, struct json_found *);
    uint8_t row[ROW_BYTES_MAX];
};

template <enum json_corpus C>
bool lines_run(demand_state *s, const char *buf, size_t len, struct json_found *out)
{
    const char *end = buf + len;

    for (const char *p = buf, *stop; p < end; p = stop + 1) {
        ondemand::document doc;
        ondemand::object o;

        stop = json_line_end(p, end);
        size_t n = static_cast<size_t>(stop - p);
        if (s->parser.iterate(padded_string_view(p, n, n + SIMDJSON_PADDING)).get(doc) ||
            doc.get_object().get(o))
            return false;
        take_event<C>(o, out);
    }
    return true;
}

template <enum json_corpus C>
bool many_run(demand_state *s, const char *buf, size_t len, struct json_found *out)
{
    ondemand::document_stream stream;

    if (s->parser.iterate_many(reinterpret_cast<const uint8_t *>(buf), len, s->batch).get(stream))
        return false;
    for (auto found : stream) {
        ondemand::object o;

        if (found.get_object().get(o))
            return false;
        take_event<C>(o, out);
    }
    return stream.truncated_bytes() == 0;
}

template <enum json_corpus C> struct lines_runner {
    static constexpr auto run = lines_run<C>;
};
template <enum json_corpus C> struct many_runner {
    static constexpr auto run = many_run<C>;
};

demand_state *demand_new(size_t capacity)
{
    auto s = new demand_state;

#ifdef SIMDJSON_THREADS_ENABLED
    s->parser.threaded = false;
#endif
    s->batch = capacity;
    if (s->parser.allocate(capacity)) {
        delete s;
        return nullptr;
    }
    return s;
}

void *lines_create(enum json_corpus corpus, size_t buffer_max)
{
    demand_state *s = choose() && buffer_max > 0 ? demand_new(EVENT_MAX) : nullptr;

    if (s != nullptr)
        set_run<demand_state, lines_runner>(s, corpus);
    return s;
}

void *many_create(enum json_corpus corpus, size_t buffer_max)
{
    demand_state *s = choose() ? demand_new(batch_of(buffer_max)) : nullptr;

    if (s != nullptr)
        set_run<demand_state, many_runner>(s, corpus);
    return s;
}

// ---- Rows: by hand, in the order in which the members come ----
// Keys are compared as they stand, and strings are unescaped straight into the row: both faster than asking for
// unescaped keys and strings. A key that has an escape would not be found.

using value = simdjson_result<ondemand::value>;

// Whether the key at raw, behind its first quote, is this.
template <size_t N> inline bool is(const char *raw, const char (&key)[N])
{
    return memcmp(raw, key, N - 1) == 0 && raw[N - 1] == '"';
}

struct row_encoder {
    ondemand::parser &parser;
    uint8_t *out;

    template <class V> bool string(int field, V &&v)
    {
        ondemand::raw_json_string raw;
        string_view text;
        uint8_t *start = row_open(out, field), *end = start;

        if (v.get_raw_json_string().get(raw) || parser.unescape(raw, end).get(text))
            return false;
        out = row_close(start, start + text.size());
        return true;
    }

    bool number(int field, value v)
    {
        double n;

        if (v.get_double().get(n))
            return false;
        out = row_double(out, field, n);
        return true;
    }

    bool integer(int field, value v)
    {
        int64_t n;

        if (v.get_int64().get(n))
            return false;
        out = row_int(out, field, n);
        return true;
    }

    bool time(int field, value v)
    {
        ondemand::raw_json_string raw;
        int64_t us;

        if (v.get_raw_json_string().get(raw))
            return false;
        auto quote = static_cast<const char *>(memchr(raw.raw(), '"', SIMDJSON_PADDING));
        if (quote == nullptr || !row_time(raw.raw(), static_cast<size_t>(quote - raw.raw()), &us))
            return false;
        out = row_int(out, field, us);
        return true;
    }

    // Calls member(key, value) for all of an object.
    template <class Member> bool members(ondemand::object &o, Member member)
    {
        for (auto found : o) {
            ondemand::raw_json_string key;

            if (found.key().get(key) || !member(key.raw(), found.value()))
                return false;
        }
        return true;
    }

    template <class V, class Member> bool record(int field, V &&v, Member member)
    {
        uint8_t *start = row_open(out, field);
        ondemand::object o;

        out = start;
        if (v.get_object().get(o) || !members(o, member))
            return false;
        out = row_close(start, out);
        return true;
    }

    bool items(value v)
    {
        ondemand::array all;

        if (v.get_array().get(all))
            return false;
        for (auto item : all) {
            bool good = record(8, item, [this](const char *key, value member) {
                if (is(key, "product_id"))
                    return string(1, member);
                if (is(key, "product_name"))
                    return string(2, member);
                if (is(key, "quantity"))
                    return integer(3, member);
                return is(key, "price") && number(4, member);
            });

            if (!good)
                return false;
        }
        return true;
    }

    bool address(value v)
    {
        return record(9, v, [this](const char *key, value member) {
            int field = is(key, "name")          ? 1
                        : is(key, "street")      ? 2
                        : is(key, "city")        ? 3
                        : is(key, "postal_code") ? 4
                        : is(key, "country")     ? 5
                                                 : 0;
            return field != 0 && string(field, member);
        });
    }

    bool metadata(value v)
    {
        return record(10, v, [this](const char *key, value member) {
            int field = is(key, "session_id") ? 1 : is(key, "platform") ? 2 : 0;
            return field != 0 && string(field, member);
        });
    }

    bool optional(const char *key, value v)
    {
        ondemand::value there;
        bool flag;

        if (v.get(there))
            return false;
        if (bool(there.is_null()))
            return true;
        if (is(key, "coupon"))
            return string(12, there);
        if (!is(key, "gift") || there.get_bool().get(flag))
            return false;
        out = row_int(out, 11, flag);
        return true;
    }

    // Of keys that begin alike there are three at most.
    bool member(const char *key, value v)
    {
        switch (key[0]) {
        case 'e':
            return is(key, "event_type") && string(1, v);
        case 'o':
            return is(key, "order_id") ? string(2, v) : is(key, "order_date") && time(4, v);
        case 's':
            return is(key, "status") ? string(5, v) : is(key, "shipping_address") && address(v);
        case 't':
            return is(key, "total_amount") && number(7, v);
        case 'i':
            return is(key, "items") && items(v);
        case 'm':
            return is(key, "metadata") && metadata(v);
        case 'c':
            if (is(key, "customer_id"))
                return integer(3, v);
            return is(key, "currency") ? string(6, v) : optional(key, v);
        default:
            return optional(key, v);
        }
    }
};

bool rows_run(demand_state *s, const char *buf, size_t len, struct json_found *found)
{
    const char *end = buf + len;

    for (const char *p = buf, *stop; p < end; p = stop + 1) {
        ondemand::document doc;
        ondemand::object o;
        row_encoder e{s->parser, s->row};

        stop = json_line_end(p, end);
        size_t n = static_cast<size_t>(stop - p);
        if (s->parser.iterate(padded_string_view(p, n, n + SIMDJSON_PADDING)).get(doc) ||
            doc.get_object().get(o) ||
            !e.members(o, [&e](const char *key, value v) { return e.member(key, v); }))
            return false;
        row_found(found, s->row, e.out);
    }
    return true;
}

void *rows_create(enum json_corpus corpus, size_t buffer_max)
{
    demand_state *s = nullptr;

    if (corpus == JSON_CORPUS_COMMERCE && buffer_max > 0 && choose())
        s = demand_new(EVENT_MAX);
    if (s != nullptr)
        s->run = rows_run;
    return s;
}

// ---- Ceilings ----

struct ceiling_state {
    dom::parser parser;
    char copy[2 * CHUNK];
};

void *ceiling_create(enum json_corpus, size_t)
{
    if (!choose())
        return nullptr;
    auto s = new ceiling_state;
    if (s->parser.allocate(2 * CHUNK)) {
        delete s;
        return nullptr;
    }
    return s;
}

// Calls part(p, n) for pieces of whole lines.
template <class Part> bool in_chunks(const char *buf, size_t len, Part part)
{
    while (len > 0) {
        size_t n = len;

        if (n > 2 * CHUNK) {
            const char *last = static_cast<const char *>(memrchr(buf, '\n', CHUNK));

            n = last != nullptr ? static_cast<size_t>(last + 1 - buf) : CHUNK;
        }
        if (!part(buf, n))
            return false;
        buf += n;
        len -= n;
    }
    return true;
}

bool stage1_run(void *state, const char *buf, size_t len, struct json_found *)
{
    auto s = static_cast<ceiling_state *>(state);

    return in_chunks(buf, len, [s](const char *p, size_t n) {
        return !s->parser.implementation->stage1(reinterpret_cast<const uint8_t *>(p), n,
                                                 stage1_mode::regular);
    });
}

bool minify_run(void *state, const char *buf, size_t len, struct json_found *)
{
    auto s = static_cast<ceiling_state *>(state);

    return choose() && in_chunks(buf, len, [s](const char *p, size_t n) {
               size_t out;

               return !simdjson::minify(p, n, s->copy, out);
           });
}

bool utf8_run(void *, const char *buf, size_t len, struct json_found *)
{
    return choose() &&
           in_chunks(buf, len, [](const char *p, size_t n) { return validate_utf8(p, n); });
}

} // namespace

#define STRING_(x) #x
#define STRING(x)  STRING_(x)

// The version is a string in newer versions and bare in older ones.
static const char *name(const char *what)
{
    std::string version(STRING(SIMDJSON_VERSION));

    version.erase(std::remove(version.begin(), version.end(), '"'), version.end());
    return strdup(("simdjson " + version + " " + what).c_str());
}

#define FIELDS(what, validates, create, state)                                                   \
    {                                                                                            \
        name(what), ISA, PEER_COMPILER, JSON_JOB_FIELDS, validates, false, false, false, create, \
            run<state>, destroy<state>                                                           \
    }
#define CEILING(what, function)                                                       \
    {                                                                                 \
        name(what), ISA, PEER_COMPILER, JSON_JOB_CEILING, false, false, false, false, \
            ceiling_create, function, destroy<ceiling_state>                          \
    }

extern "C" __attribute__((visibility("default"))) const struct json_subject json_subjects[] = {
    FIELDS("DOM parse_many", true, dom_create, dom_state),
    FIELDS("On-Demand, line by line", false, lines_create, demand_state),
    FIELDS("On-Demand iterate_many", false, many_create, demand_state),
    {name("On-Demand, by-hand rows"), ISA, PEER_COMPILER, JSON_JOB_ROWS, false, false, false, false,
     rows_create, run<demand_state>, destroy<demand_state>},
    CEILING("stage 1", stage1_run),
    CEILING("minify", minify_run),
    CEILING("validate_utf8", utf8_run),
    {nullptr, nullptr, nullptr, JSON_JOB_FIELDS, false, false, false, false, nullptr, nullptr,
     nullptr},
};
