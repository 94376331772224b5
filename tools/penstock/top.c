/*
 * `penstock top`. The daemon looks for an interval and answers with a screen; here it is only shown:
 * on a terminal in place, with 'q' or Ctrl-C to end; into a pipe or file one after the other.
 */
#include "tools/penstock/top.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "tools/penstock/client.h"

#define BODY_BYTES_MAX ((size_t)64 << 20)

static const char screen_begin[] = "\033[?1049h\033[?25l\033[2J"; /* other screen, no cursor */
static const char screen_end[] = "\033[?25h\033[?1049l";

/* What runs. */
struct top {
    const struct top_request *request;
    int fd;
    FILE *in;
    bool terminal; /* the output is one */
    bool keys;     /* so is the input, and it is read key by key */
    struct termios before;
};

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
    (void)number;
    ended = 1;
}

static void write_text(const char *text)
{
    fputs(text, stdout);
    fflush(stdout);
}

static void terminal_begin(struct top *t)
{
    struct termios raw;

    t->terminal = !t->request->once && !t->request->json && isatty(STDOUT_FILENO) == 1;
    if (!t->terminal)
        return;
    if (isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &t->before) == 0) {
        raw = t->before;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        t->keys = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
    }
    write_text(screen_begin);
}

static void terminal_end(const struct top *t)
{
    if (t->keys)
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &t->before);
    if (t->terminal)
        write_text(screen_end);
}

/* Asks for a screen of the terminal's size. */
static bool ask(const struct top *t)
{
    char line[PROTOCOL_LINE_BYTES];
    struct winsize size;
    int n;

    if (t->request->json || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row < 2 ||
        size.ws_col < 20)
        return client_send(t->fd, t->request->line);
    n = snprintf(line, sizeof(line), "%s --rows %u --columns %u", t->request->line,
                 size.ws_row - 1u, size.ws_col < 1000u ? size.ws_col : 1000u);
    return n > 0 && (size_t)n < sizeof(line) && client_send(t->fd, line);
}

/* Waits for the answer. @return false when the user wants to end. */
static bool wait_answer(struct top *t)
{
    struct pollfd p[] = {{.fd = t->fd, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    char key;

    while (!ended) {
        if (poll(p, t->keys ? 2 : 1, -1) < 0 && errno != EINTR)
            return true; /* reading says what is wrong */
        if (ended)
            return false;
        if (t->keys && (p[1].revents & POLLIN) != 0) {
            if (read(STDIN_FILENO, &key, 1) == 1 && (key == 'q' || key == 'Q'))
                return false;
        } else if (t->keys && p[1].revents != 0) {
            t->keys = false; /* nobody types any more */
        }
        if (p[0].revents != 0)
            return true;
    }
    return false;
}

/* Reads the answer. @return its status, or -1; *body is the caller's. */
static int read_answer(struct top *t, char **body)
{
    size_t bytes = 0;
    int status = client_read_head(t->in, &bytes);

    *body = NULL;
    if (status < 0 || bytes > BODY_BYTES_MAX)
        return -1;
    *body = malloc(bytes + 1);
    if (*body == NULL || fread(*body, 1, bytes, t->in) != bytes)
        return -1;
    (*body)[bytes] = '\0';
    return status;
}

/* Shows a screen in place: each line erases what was behind it. */
static void show(const struct top *t, char *body)
{
    if (!t->terminal) {
        fputs(body, stdout);
        if (!t->request->json && !t->request->once)
            fputs("\n", stdout);
        fflush(stdout);
        return;
    }
    fputs("\033[H", stdout);
    for (char *line = body, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        printf("%s\033[K\n", line);
    }
    write_text("\033[J");
}

static int cannot_write(struct top *t)
{
    int error = errno;

    terminal_end(t);
    t->terminal = t->keys = false;
    fprintf(stderr, "penstock: cannot write the answer: %s\n", strerror(error));
    return PROTOCOL_ERROR;
}

/* One screen. @return the exit status, or -1 to go on. */
static int step(struct top *t)
{
    char *body = NULL;
    int status, result = -1;

    if (!ask(t)) {
        status = -1;
    } else {
        if (!wait_answer(t))
            return PROTOCOL_OK;
        status = read_answer(t, &body);
    }
    if (status == PROTOCOL_OK) {
        show(t, body);
        result = ferror(stdout) ? cannot_write(t) : t->request->once ? PROTOCOL_OK : -1;
    } else {
        terminal_end(t);
        t->terminal = t->keys = false;
        fputs(status < 0 ? "penstock: the daemon ended the connection without a whole answer\n"
                         : body,
              stderr);
        result = status < 0 ? PROTOCOL_ERROR : status;
    }
    free(body);
    return result;
}

int top_run(const struct top_request *r)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct top t = {.request = r, .fd = client_connect(r->socket)};
    int status = -1;

    if (t.fd < 0)
        return PROTOCOL_ERROR;
    t.in = fdopen(t.fd, "r");
    if (t.in == NULL) {
        close(t.fd);
        return PROTOCOL_ERROR;
    }
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    terminal_begin(&t);
    while (status < 0)
        status = step(&t);
    terminal_end(&t);
    fclose(t.in);
    return status;
}
