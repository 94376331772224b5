/*
 * Peer: protobuf's own way from JSON to a message, JsonStringToMessage(), with a dynamic message of
 * perf/schemas/commerce.json. It cannot make microseconds of a time, so that one is a Timestamp: its rows have
 * other bytes than everybody else's.
 */
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/timestamp.pb.h>
#include <google/protobuf/util/json_util.h>

#include <memory>
#include <string>

#include "perf/json_peer.h"
#include "perf/json_row_put.h"

using namespace google::protobuf;

namespace
{

constexpr size_t STREAM_MIN = 16 << 20; // streams are left out: to compare 200 MB takes ten seconds

struct column {
    const char *name;
    FieldDescriptorProto::Type type;
    const char *type_name; // of a message
    bool repeated;
};

void add_columns(DescriptorProto *message, std::initializer_list<column> columns)
{
    int number = 1;

    for (const column &c : columns) {
        auto field = message->add_field();

        field->set_name(c.name);
        field->set_number(number++);
        field->set_type(c.type);
        field->set_label(c.repeated ? FieldDescriptorProto::LABEL_REPEATED
                                    : FieldDescriptorProto::LABEL_OPTIONAL);
        if (c.type_name != nullptr)
            field->set_type_name(c.type_name);
    }
}

constexpr auto STRING = FieldDescriptorProto::TYPE_STRING;
constexpr auto INT64 = FieldDescriptorProto::TYPE_INT64;
constexpr auto DOUBLE = FieldDescriptorProto::TYPE_DOUBLE;
constexpr auto MESSAGE = FieldDescriptorProto::TYPE_MESSAGE;

FileDescriptorProto describe()
{
    FileDescriptorProto file;
    auto root = file.add_message_type();

    file.set_name("commerce.proto");
    file.add_dependency("google/protobuf/timestamp.proto");
    root->set_name("root");
    add_columns(root, {{"event_type", STRING, nullptr, false},
                       {"order_id", STRING, nullptr, false},
                       {"customer_id", INT64, nullptr, false},
                       {"order_date", MESSAGE, ".google.protobuf.Timestamp", false},
                       {"status", STRING, nullptr, false},
                       {"currency", STRING, nullptr, false},
                       {"total_amount", DOUBLE, nullptr, false},
                       {"items", MESSAGE, ".item", true},
                       {"shipping_address", MESSAGE, ".address", false},
                       {"metadata", MESSAGE, ".metadata", false},
                       {"gift", FieldDescriptorProto::TYPE_BOOL, nullptr, false},
                       {"coupon", STRING, nullptr, false}});
    auto item = file.add_message_type();
    item->set_name("item");
    add_columns(item, {{"product_id", STRING, nullptr, false},
                       {"product_name", STRING, nullptr, false},
                       {"quantity", INT64, nullptr, false},
                       {"price", DOUBLE, nullptr, false}});
    auto address = file.add_message_type();
    address->set_name("address");
    add_columns(address, {{"name", STRING, nullptr, false},
                          {"street", STRING, nullptr, false},
                          {"city", STRING, nullptr, false},
                          {"postal_code", STRING, nullptr, false},
                          {"country", STRING, nullptr, false}});
    auto metadata = file.add_message_type();
    metadata->set_name("metadata");
    add_columns(metadata,
                {{"session_id", STRING, nullptr, false}, {"platform", STRING, nullptr, false}});
    return file;
}

struct state {
    DescriptorPool pool;
    DynamicMessageFactory factory;
    std::unique_ptr<Message> message;
    uint8_t row[ROW_BYTES_MAX];
};

void *create(enum json_corpus corpus, size_t buffer_max)
{
    FileDescriptorProto timestamp;

    if (corpus != JSON_CORPUS_COMMERCE || buffer_max > STREAM_MIN)
        return nullptr;
    auto s = std::make_unique<state>();
    Timestamp::descriptor()->file()->CopyTo(&timestamp);
    if (s->pool.BuildFile(timestamp) == nullptr || s->pool.BuildFile(describe()) == nullptr)
        return nullptr;
    auto prototype = s->factory.GetPrototype(s->pool.FindMessageTypeByName("root"));
    s->message.reset(prototype->New());
    return s.release();
}

bool run(void *state_, const char *buf, size_t len, struct json_found *found)
{
    auto s = static_cast<state *>(state_);
    const char *end = buf + len;

    for (const char *p = buf, *stop; p < end; p = stop + 1) {
        stop = json_line_end(p, end);
        s->message->Clear();
        if (!util::JsonStringToMessage(StringPiece(p, stop - p), s->message.get()).ok() ||
            !s->message->SerializeToArray(s->row, sizeof(s->row)))
            return false;
        row_found(found, s->row, s->row + s->message->GetCachedSize());
    }
    return true;
}

void destroy(void *state_)
{
    delete static_cast<state *>(state_);
}

} // namespace

#define STRING_(x) #x
#define TEXT(x)    STRING_(x)

static json_subject subject()
{
    json_subject s{};

    s.name = "protobuf " TEXT(GOOGLE_PROTOBUF_VERSION) " JsonStringToMessage";
    s.isa = "native";
    s.compiler = PEER_COMPILER;
    s.job = JSON_JOB_ROWS;
    s.validates = s.own_bytes = s.slow = true;
    s.create = create;
    s.run = run;
    s.destroy = destroy;
    return s;
}

extern "C" __attribute__((visibility("default")))
const struct json_subject json_subjects[] = {subject(), {}};
