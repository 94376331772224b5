/* COLD. docs/configuration.md, made from the knob table. */
#include <inttypes.h>

#include "control/knobs.h"

static void print_cell(struct textbuf *out, const char *text)
{
    ASSERT(text != NULL);
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '|')
            textbuf_bytes(out, "\\", 1);
        textbuf_bytes(out, p, 1);
    }
}

static void print_knob(struct textbuf *out, const struct knob *k)
{
    struct textbuf allowed = {0};

    ASSERT(k->help != NULL);
    knob_allowed(k, &allowed);
    textbuf_add(out, "| `%s` | ", k->name);
    print_cell(out, textbuf_str(&allowed));
    textbuf_add(out, " | %s%s%s | %s | ", k->fallback[0] != '\0' ? "`" : "", k->fallback,
                k->fallback[0] != '\0' ? "`" : "", k->phase == KNOB_RUNTIME ? "yes" : "no");
    print_cell(out, k->help);
    textbuf_add(out, " |\n");
    textbuf_fini(&allowed);
}

static void print_types(struct textbuf *out)
{
    uint32_t n;
    const struct type_knob *t = knobs_of_type(&n);

    ASSERT(n > 0);
    textbuf_add(out, "\n## Entries of types.list\n\n| key | allowed | meaning |\n|---|---|---|\n");
    for (uint32_t i = 0; i < n; i++) {
        textbuf_add(out, "| `%s` | ", t[i].name);
        print_cell(out, t[i].allowed);
        textbuf_add(out, " | ");
        print_cell(out, t[i].help);
        textbuf_add(out, " |\n");
    }
}

void config_print_docs(struct textbuf *out)
{
    uint32_t n;
    const struct knob *k = knobs_all(&n);

    ASSERT(out != NULL);
    textbuf_add(
        out,
        "# Configuration\n\n"
        "Made by `penstockd --print-config-docs`; do not edit by hand.\n\n"
        "One YAML file, `penstockd --config FILE`. Keys with dots are maps inside maps: "
        "`http.listen` is\n"
        "`listen` under `http`. `--set key=value` (repeatable) wins over the file; lists are "
        "written `a,b`\n"
        "and maps `k=v,k=v` there; `types.list` is set in the file only. `penstockd --check` "
        "reports every\n"
        "mistake at once, with file, line, key, what was found and what is allowed.\n\n"
        "Sizes take `KiB`, `MiB`, `GiB`, `TiB` (1024) or `KB`, `MB`, `GB`, `TB` (1000); durations "
        "take `us`,\n"
        "`ms`, `s`, `m`, `h`, `d`.\n\n"
        "`STORAGE_EMULATOR_HOST`, `BIGQUERY_EMULATOR_HOST` and `GOOGLE_CLOUD_PROJECT` are used "
        "when the\n"
        "configuration does not set `gcs.endpoint`, `bigquery.endpoint` and `bigquery.project`.\n\n"
        "## Keys\n\n"
        "| key | allowed | default | live | meaning |\n|---|---|---|---|---|\n");
    for (uint32_t i = 0; i < n; i++)
        print_knob(out, &k[i]);
    print_types(out);
}
