/* COLD. See gen_sample.h. */
#include "tools/gen/gen_sample.h"

#include <stdbool.h>
#include <stdio.h>

static void new_line(int depth)
{
    printf("\n%*s", depth * 2, "");
}

/* Our own compact JSON: no escapes, no empty objects or arrays. */
static void print_indented(const char *text, size_t bytes)
{
    bool in_string = false;
    int depth = 0;
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        in_string ^= c == '"';
        if (in_string || c == '"') {
            putchar(c);
        } else if (c == '{' || c == '[') {
            putchar(c);
            new_line(++depth);
        } else if (c == '}' || c == ']') {
            new_line(--depth);
            putchar(c);
        } else {
            putchar(c);
            if (c == ',') {
                new_line(depth);
            } else if (c == ':') {
                putchar(' ');
            }
        }
    }
    putchar('\n');
}

void gen_sample_print(const struct gen_event_config *config, enum gen_type type)
{
    char text[GEN_EVENT_BYTES_MAX];
    struct gen_events events;
    gen_events_init(&events, config);
    print_indented(text, gen_events_write_type(&events, 0, type, text));
}
