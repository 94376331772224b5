/*
 * Peer: RapidJSON, line by line, with its check of UTF-8 switched on, so that it validates everything. SAX
 * with a handler that picks the members as they come, and DOM from a pool that is taken once.
 */
#define RAPIDJSON_SSE42 1
#include <rapidjson/document.h>
#include <rapidjson/encodedstream.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>

#include <cstring>
#include <string_view>
#include <vector>

#include "perf/json_peer.h"

using namespace rapidjson;
using std::string_view;

namespace
{

constexpr unsigned FLAGS = kParseValidateEncodingFlag;
constexpr size_t POOL = 1 << 20;

struct fields {
    string_view type, outer, inner, time;
};

constexpr struct fields corpus_fields[] = {
#define X(symbol, name, t, o, i, at) {t, o, i, at},
    JSON_CORPORA(X)
#undef X
};

using stream = EncodedInputStream<UTF8<>, MemoryStream>;

// ---- SAX: which member the next value is, by depth and key ----

struct handler : BaseReaderHandler<UTF8<>, handler> {
    enum which { NONE, TYPE, OUTER, WANTED };
    const struct fields *f;
    struct json_found *found;
    unsigned depth = 0;
    which next = NONE;
    bool inside = false; // of the outer object

    bool Default()
    {
        next = NONE;
        return true;
    }

    bool Key(const char *text, SizeType len, bool)
    {
        string_view key(text, len);

        next = NONE;
        if (depth == 1)
            next = key == f->type || key == f->time ? WANTED : key == f->outer ? OUTER : NONE;
        else if (depth == 2 && inside && key == f->inner)
            next = WANTED;
        return true;
    }

    bool String(const char *, SizeType len, bool)
    {
        if (next == WANTED)
            found->bytes += len;
        return Default();
    }

    bool StartObject()
    {
        if (++depth == 2)
            inside = next == OUTER;
        return Default();
    }

    bool EndObject(SizeType)
    {
        if (depth-- == 2)
            inside = false;
        return Default();
    }

    bool StartArray()
    {
        depth++;
        return Default();
    }

    bool EndArray(SizeType)
    {
        depth--;
        return Default();
    }
};

struct sax_state {
    Reader reader;
    const struct fields *f;
};

void *sax_create(enum json_corpus corpus, size_t)
{
    return corpus == JSON_CORPUS_MIXED ? nullptr : new sax_state{{}, &corpus_fields[corpus]};
}

bool sax_run(void *state, const char *buf, size_t len, struct json_found *found)
{
    auto s = static_cast<sax_state *>(state);
    const char *end = buf + len;

    for (const char *p = buf, *stop; p < end; p = stop + 1) {
        handler h;

        stop = json_line_end(p, end);
        MemoryStream memory(p, static_cast<size_t>(stop - p));
        stream in(memory);
        h.f = s->f;
        h.found = found;
        if (s->reader.Parse<FLAGS>(in, h).IsError())
            return false;
        found->events++;
    }
    return true;
}

// ---- DOM ----

struct dom_state {
    enum json_corpus corpus;
    std::vector<char> memory, stack;
};

void *dom_create(enum json_corpus corpus, size_t)
{
    return new dom_state{corpus, std::vector<char>(POOL), std::vector<char>(POOL)};
}

void take(const Value &object, string_view key, struct json_found *found)
{
    auto member = object.FindMember(StringRef(key.data(), static_cast<SizeType>(key.size())));

    if (member != object.MemberEnd() && member->value.IsString())
        found->bytes += member->value.GetStringLength();
}

void take_event(const Value &doc, enum json_corpus corpus, struct json_found *found)
{
    if (corpus == JSON_CORPUS_MIXED) {
        auto type = doc.FindMember("type");

        if (type == doc.MemberEnd())
            corpus = JSON_CORPUS_COMMERCE;
        else
            corpus = type->value == JSON_MIXED_ORDER ? JSON_CORPUS_KIBANA : JSON_CORPUS_GITHUB;
    }
    const struct fields &f = corpus_fields[corpus];
    auto outer = doc.FindMember(StringRef(f.outer.data(), static_cast<SizeType>(f.outer.size())));

    found->events++;
    take(doc, f.type, found);
    if (outer != doc.MemberEnd() && outer->value.IsObject())
        take(outer->value, f.inner, found);
    take(doc, f.time, found);
}

bool dom_run(void *state, const char *buf, size_t len, struct json_found *found)
{
    using pool = MemoryPoolAllocator<>;
    auto s = static_cast<dom_state *>(state);
    const char *end = buf + len;

    for (const char *p = buf, *stop; p < end; p = stop + 1) {
        pool values(s->memory.data(), s->memory.size()), stack(s->stack.data(), s->stack.size());
        GenericDocument<UTF8<>, pool, pool> doc(&values, 4096, &stack);

        stop = json_line_end(p, end);
        MemoryStream memory(p, static_cast<size_t>(stop - p));
        stream in(memory);
        if (doc.ParseStream<FLAGS>(in).HasParseError() || !doc.IsObject())
            return false;
        take_event(doc, s->corpus, found);
    }
    return true;
}

template <class State> void destroy(void *state)
{
    delete static_cast<State *>(state);
}

} // namespace

#define NAME(what) "RapidJSON " RAPIDJSON_VERSION_STRING " " what

extern "C" __attribute__((visibility("default"))) const struct json_subject json_subjects[] = {
    {NAME("SAX, line by line"), "native", PEER_COMPILER, JSON_JOB_FIELDS, true, false, false, false,
     sax_create, sax_run, destroy<sax_state>},
    {NAME("DOM, line by line"), "native", PEER_COMPILER, JSON_JOB_FIELDS, true, false, false, false,
     dom_create, dom_run, destroy<dom_state>},
    {nullptr, nullptr, nullptr, JSON_JOB_FIELDS, false, false, false, false, nullptr, nullptr,
     nullptr},
};
