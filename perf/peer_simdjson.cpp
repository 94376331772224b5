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

constexpr size_t CHUNK = 256 * 1024; // of a stream: what one stage 1 covers; fits the second cache
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
    return buffer_max < 2 * CHUNK ? buffer_max : CHUNK;
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

using value = simdjson_result<ondemand::value>;

template <class V> inline bool put_string(uint8_t *&out, int field, V &&v)
{
    string_view text;

    if (v.get_string().get(text))
        return false;
    out = row_bytes(out, field, text.data(), text.size());
    return true;
}

inline bool put_double(uint8_t *&out, int field, value v)
{
    double number;

    if (v.get_double().get(number))
        return false;
    out = row_double(out, field, number);
    return true;
}

inline bool put_int(uint8_t *&out, int field, value v)
{
    int64_t number;

    if (v.get_int64().get(number))
        return false;
    out = row_int(out, field, number);
    return true;
}

inline bool put_time(uint8_t *&out, int field, value v)
{
    string_view text;
    int64_t us;

    if (v.get_string().get(text) || !row_time(text.data(), text.size(), &us))
        return false;
    out = row_int(out, field, us);
    return true;
}

inline bool put_item(uint8_t *&out, ondemand::object item)
{
    uint8_t *start = row_open(out, 8), *at = start;

    for (auto field : item) {
        string_view key;
        bool good = false;

        if (field.unescaped_key().get(key))
            return false;
        if (key == "product_id")
            good = put_string(at, 1, field.value());
        else if (key == "product_name")
            good = put_string(at, 2, field.value());
        else if (key == "quantity")
            good = put_int(at, 3, field.value());
        else if (key == "price")
            good = put_double(at, 4, field.value());
        if (!good)
            return false;
    }
    out = row_close(start, at);
    return true;
}

// A record of strings.
template <size_t N>
inline bool put_strings(uint8_t *&out, int number, value v, const string_view (&names)[N])
{
    uint8_t *start = row_open(out, number), *at = start;
    ondemand::object record;

    if (v.get_object().get(record))
        return false;
    for (auto field : record) {
        string_view key;
        size_t i = 0;

        if (field.unescaped_key().get(key))
            return false;
        while (i < N && names[i] != key)
            i++;
        if (i == N || !put_string(at, static_cast<int>(i) + 1, field.value()))
            return false;
    }
    out = row_close(start, at);
    return true;
}

inline bool put_items(uint8_t *&out, value v)
{
    ondemand::array items;

    if (v.get_array().get(items))
        return false;
    for (auto item : items) {
        ondemand::object o;

        if (item.get_object().get(o) || !put_item(out, o))
            return false;
    }
    return true;
}

inline bool put_optional(uint8_t *&out, string_view key, value v)
{
    ondemand::value there;
    bool flag;

    if (v.get(there))
        return false;
    if (bool(there.is_null()))
        return true;
    if (key == "coupon")
        return put_string(out, 12, there);
    if (key != "gift" || there.get_bool().get(flag))
        return false;
    out = row_int(out, 11, flag);
    return true;
}

inline bool put_member(uint8_t *&out, string_view key, value v)
{
    static constexpr string_view address[] = {"name", "street", "city", "postal_code", "country"};
    static constexpr string_view metadata[] = {"session_id", "platform"};

    switch (key.size()) {
    case 5:
        return key == "items" && put_items(out, v);
    case 6:
        return key == "status" ? put_string(out, 5, v) : put_optional(out, key, v);
    case 8:
        if (key == "order_id")
            return put_string(out, 2, v);
        return key == "currency" ? put_string(out, 6, v)
                                 : key == "metadata" && put_strings(out, 10, v, metadata);
    case 10:
        if (key == "event_type")
            return put_string(out, 1, v);
        return key == "order_date" && put_time(out, 4, v);
    case 11:
        return key == "customer_id" && put_int(out, 3, v);
    case 12:
        return key == "total_amount" && put_double(out, 7, v);
    case 16:
        return key == "shipping_address" && put_strings(out, 9, v, address);
    default:
        return put_optional(out, key, v);
    }
}

bool rows_run(demand_state *s, const char *buf, size_t len, struct json_found *found)
{
    const char *end = buf + len;

    for (const char *p = buf, *stop; p < end; p = stop + 1) {
        ondemand::document doc;
        ondemand::object o;
        uint8_t *out = s->row;

        stop = json_line_end(p, end);
        size_t n = static_cast<size_t>(stop - p);
        if (s->parser.iterate(padded_string_view(p, n, n + SIMDJSON_PADDING)).get(doc) ||
            doc.get_object().get(o))
            return false;
        for (auto field : o) {
            string_view key;

            if (field.unescaped_key().get(key) || !put_member(out, key, field.value()))
                return false;
        }
        row_found(found, s->row, out);
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

#define FIELDS(what, validates, create, state)                                                 \
    {                                                                                          \
        name(what), ISA, PEER_COMPILER, JSON_JOB_FIELDS, validates, false, create, run<state>, \
            destroy<state>                                                                     \
    }
#define CEILING(what, function)                                                                   \
    {                                                                                             \
        name(what), ISA, PEER_COMPILER, JSON_JOB_CEILING, false, false, ceiling_create, function, \
            destroy<ceiling_state>                                                                \
    }

extern "C" __attribute__((visibility("default"))) const struct json_subject json_subjects[] = {
    FIELDS("DOM parse_many", true, dom_create, dom_state),
    FIELDS("On-Demand, line by line", false, lines_create, demand_state),
    FIELDS("On-Demand iterate_many", false, many_create, demand_state),
    {name("On-Demand, by-hand rows"), ISA, PEER_COMPILER, JSON_JOB_ROWS, false, false, rows_create,
     run<demand_state>, destroy<demand_state>},
    CEILING("stage 1", stage1_run),
    CEILING("minify", minify_run),
    CEILING("validate_utf8", utf8_run),
    {nullptr, nullptr, nullptr, JSON_JOB_FIELDS, false, false, nullptr, nullptr, nullptr},
};
