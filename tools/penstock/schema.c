/* The command line of `penstock schema infer|ddl`. See schema.h. */
#include "tools/penstock/schema.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { STATUS_OK = 0, STATUS_ERROR = 1, STATUS_USAGE = 2 };

void schema_usage(FILE *to)
{
    fprintf(to,
            "  schema infer FILE|-...       the schema of events: NDJSON, a JSON array or objects;"
            " gzip and zstd too\n"
            "      --time-field F           the event's time: a TIMESTAMP where its texts fit\n"
            "      --type-field F           one schema for each value of this field\n"
            "      --type T                 only events of this type\n"
            "      --out DIR                write DIR/TYPE.json instead of printing all\n"
            "      --name-map               how names become columns, instead of the schema\n"
            "  schema ddl SCHEMA            CREATE TABLE for a schema file\n"
            "      --infer                  SCHEMA is a file of events; options as above\n"
            "      --table [PROJECT.]DATASET.TABLE\n"
            "      --partition COLUMN|none  by day (event_date)\n"
            "      --cluster A,B            up to four columns\n");
}

static int wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int wrong(const char *format, ...)
{
    va_list args;

    fprintf(stderr, "penstock schema: ");
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    return STATUS_USAGE;
}

/* Takes argv[*i] if it is this option, with its value behind '=' or as the next argument. */
static bool take_value(int argc, char **argv, int *i, const char *name, const char **out,
                       int *status)
{
    size_t n = strlen(name);

    if (strncmp(argv[*i], name, n) != 0 || (argv[*i][n] != '\0' && argv[*i][n] != '='))
        return false;
    if (argv[*i][n] == '=')
        *out = argv[*i] + n + 1;
    else if (*i + 1 < argc)
        *out = argv[++*i];
    else
        *status = wrong("%s needs a value", name);
    if (*status == STATUS_OK && **out == '\0')
        *status = wrong("%s needs a value", name);
    return true;
}

static int parse_one(int argc, char **argv, int *i, struct schema_options *o)
{
    const struct {
        const char *name;
        const char **value;
    } values[] = {
        {"--time-field", &o->time_field},
        {"--type-field", &o->type_field},
        {"--type", &o->type},
        {"--out", &o->out},
        {"--table", &o->table},
        {"--partition", &o->partition},
        {"--cluster", &o->cluster},
    };
    int status = STATUS_OK;

    for (size_t k = 0; k < ARRAY_LEN(values); k++) {
        if (take_value(argc, argv, i, values[k].name, values[k].value, &status))
            return status;
    }
    if (strcmp(argv[*i], "--name-map") == 0)
        o->name_map = true;
    else if (strcmp(argv[*i], "--infer") == 0)
        o->infer = true;
    else if (argv[*i][0] == '-' && argv[*i][1] != '\0')
        return wrong("unknown option \"%s\"; `penstock help` lists all", argv[*i]);
    else
        o->files[o->n_files++] = argv[*i];
    return STATUS_OK;
}

/* A path as json_paths_add() takes it. */
static int check_path(const char *option, const char *text)
{
    struct json_paths paths = {0};

    if (text == NULL || json_paths_add(&paths, text) == 0)
        return STATUS_OK;
    return wrong("%s \"%s\": a field, or up to four names with dots between", option, text);
}

static int check(const struct schema_options *o, bool ddl)
{
    bool infer = !ddl || o->infer;
    int status = check_path("--time-field", o->time_field);

    if (status == STATUS_OK)
        status = check_path("--type-field", o->type_field);
    if (status != STATUS_OK)
        return status;
    if (o->n_files == 0)
        return wrong("%s needs a file", ddl ? "ddl" : "infer");
    if (ddl && !o->infer && o->n_files > 1)
        return wrong("ddl takes one schema file");
    if (!infer && (o->time_field != NULL || o->type_field != NULL))
        return wrong("--time-field and --type-field need --infer");
    if (o->type != NULL && o->type_field == NULL)
        return wrong("--type needs --type-field");
    if (ddl && o->type_field != NULL && o->type == NULL)
        return wrong("ddl makes one table: --type-field needs --type");
    if (ddl && (o->out != NULL || o->name_map))
        return wrong("--out and --name-map are infer's");
    if (!ddl && (o->infer || o->table != NULL || o->partition != NULL || o->cluster != NULL))
        return wrong("--infer, --table, --partition and --cluster are ddl's");
    if (o->out != NULL && (o->type_field == NULL || o->type != NULL))
        return wrong("--out writes a file for each type: it needs --type-field, and no --type");
    return STATUS_OK;
}

static int run_infer(const struct schema_options *o)
{
    struct inference in;
    int status = STATUS_ERROR, printed;

    if (inference_run(&in, o)) {
        status = inference_report(&in);
        printed = inference_print(&in);
        status = status > printed ? status : printed;
    }
    inference_fini(&in);
    return status;
}

static int run_ddl_of_events(const struct schema_options *o)
{
    struct inference in;
    int status = STATUS_ERROR, printed;

    if (inference_run(&in, o)) {
        status = inference_report(&in);
        printed = in.n > 0 ? schema_ddl(in.list[0].rows->schema, o) : STATUS_ERROR;
        status = status > printed ? status : printed;
    }
    inference_fini(&in);
    return status;
}

static int run_ddl(const struct schema_options *o)
{
    struct schema *s = NULL;
    char error[512] = "";
    int status;

    if (o->infer)
        return run_ddl_of_events(o);
    if (schema_load(o->files[0], &s, error, sizeof(error)) != 0) {
        fprintf(stderr, "penstock schema: %s\n", error);
        return STATUS_ERROR;
    }
    status = schema_ddl(s, o);
    schema_destroy(s);
    return status;
}

int schema_main(int argc, char **argv)
{
    struct schema_options o = {0};
    int status = STATUS_OK;
    bool ddl = argc > 0 && strcmp(argv[0], "ddl") == 0;

    if (argc == 0 || (!ddl && strcmp(argv[0], "infer") != 0)) {
        fprintf(stderr, "usage: penstock schema infer|ddl ...\n\n");
        schema_usage(stderr);
        return STATUS_USAGE;
    }
    o.files = calloc((size_t)argc, sizeof(o.files[0]));
    if (o.files == NULL)
        return STATUS_ERROR;
    for (int i = 1; i < argc && status == STATUS_OK; i++)
        status = parse_one(argc, argv, &i, &o);
    if (status == STATUS_OK)
        status = check(&o, ddl);
    if (status == STATUS_OK)
        status = ddl ? run_ddl(&o) : run_infer(&o);
    free(o.files);
    return status;
}
