/* HOT. See gen_json.h. */
#include "tools/gen/gen_json.h"

#include "tools/gen/gen_assert.h"

static char *put_hex_escape(char *out, uint32_t unit)
{
    static const char digits[] = "0123456789abcdef";
    GEN_ASSERT(unit <= 0xffff);
    out = gen_put_lit(out, "\\u");
    for (int shift = 12; shift >= 0; shift -= 4) {
        *out++ = digits[unit >> shift & 15];
    }
    return out;
}

/* One character of valid UTF-8 beyond ASCII: its number, and how many bytes it takes. */
static uint32_t decode(const unsigned char *at, uint32_t *bytes)
{
    *bytes = at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    uint32_t character = at[0] & (0x7fU >> *bytes);
    for (uint32_t i = 1; i < *bytes; i++) {
        GEN_ASSERT((at[i] & 0xc0) == 0x80);
        character = character << 6 | (at[i] & 0x3f);
    }
    return character;
}

static char *put_escaped(char *out, uint32_t character)
{
    if (character > 0xffff) {
        out = put_hex_escape(out, 0xd800 + ((character - 0x10000) >> 10));
        character = 0xdc00 + (character & 0x3ff);
    }
    return put_hex_escape(out, character);
}

void gen_json_part(struct gen_json *j, struct gen_str text)
{
    const unsigned char *at = (const unsigned char *)text.text, *end = at + text.bytes;
    GEN_ASSERT(text.text != NULL);
    while (at < end) {
        uint32_t bytes = 1;
        if (*at == '"' || *at == '\\') {
            *j->at++ = '\\';
            *j->at++ = (char)*at;
        } else if (*at == '\n') {
            j->at = gen_put_lit(j->at, "\\n");
        } else if (*at == '\t') {
            j->at = gen_put_lit(j->at, "\\t");
        } else if (*at < ' ') {
            j->at = put_hex_escape(j->at, *at);
        } else if (*at >= 0x80 && j->ascii) {
            j->at = put_escaped(j->at, decode(at, &bytes));
        } else {
            *j->at++ = (char)*at;
        }
        at += bytes;
    }
}
