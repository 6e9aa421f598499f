/* The log: what a line holds, resuming drops what came after and what was half-written, curves are drawn and say why not,
 * event files hold the bytes that TensorBoard's own reader took. */
#include "train/log.h"
#include "train/log_events.h"
#include "base/io.h"
#include "base/mem.h"
#include "t.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/sky-log-XXXXXX", path[64], svg[64];
static sky_err e;

static char *content(const char *p)
{
    static char *text;
    size_t n;
    sky_free(text);
    text = NULL;
    return sky_read_file(&text, &n, p, 1 << 24, &e) ? "" : text;
}

static sky_log_step step_of(double total, uint64_t k)
{
    return (sky_log_step){.name = {"total", "rec", "vae"}, .loss = {total, 0.75 * total, 0.25 * total}, .n = 3, .lr = 2e-4 * (double)k, .norm = 2 * total, .samples = 4, .waited = 0};
}

static void lines(void)
{
    sky_log *l = NULL;
    OK(sky_log_open(&l, path, 0, &e) == 0 && sky_log_interval(l, 0, &e) == 0 && !*content(path), "opened; nothing yet: %s", e.msg);
    for (uint64_t k = 1; k <= 4; k++) {
        sky_log_step s = step_of((double)k, k);
        sky_log_add(l, &s);
        if (k % 2 == 0 && sky_log_interval(l, k, &e))
            printf("# %s\n", e.msg);
    }
    json_t *val = json_pack("{s:i, s:{s:f}}", "step", 4, "val", "miou", 0.5);
    OK(sky_log_write(l, val, &e) == 0, "a line of the caller's");
    json_decref(val);
    sky_log_step bad = step_of(NAN, 5);
    sky_log_add(l, &bad);
    OK(sky_log_interval(l, 5, &e) == 0, "a loss that is not a number");
    OK(!strcmp(sky_log_text(l), "loss nan (rec nan, vae nan), lr 1.0e-03, norm nan, wait 0%") || strstr(sky_log_text(l), "nan"), "for a terminal: %s", sky_log_text(l));
    sky_log_close(l);
    char *p = content(path);
    json_t *j = NULL;
    OK(sky_json_parse(&j, p, strcspn(p, "\n"), "line", &e) == 0, "the first line: %.*s", (int)strcspn(p, "\n"), p);
    const json_t *loss = json_object_get(j, "loss");
    OK(json_integer_value(json_object_get(j, "step")) == 2 && json_number_value(json_object_get(loss, "total")) == 1.5 && json_number_value(json_object_get(loss, "vae")) == 0.375, "means of two steps");
    OK(json_number_value(json_object_get(j, "norm")) == 3 && json_number_value(json_object_get(j, "lr")) == 4e-4 && json_integer_value(json_object_get(j, "memory")) > 1 << 20 && json_number_value(json_object_get(j, "samples_per_s")) > 0, "norm, last rate, memory, speed");
    json_decref(j);
    OK(strstr(p, "{\"step\":5,\"loss\":{\"total\":null,") != NULL, "not a number is null");
}

static void resumed(void)
{
    FILE *f = fopen(path, "a");
    if (f) {
        fputs("{\"step\":6,\"loss\":{\"tot", f); /* killed while writing */
        fclose(f);
    }
    sky_log *l = NULL;
    OK(sky_log_open(&l, path, 4, &e) == 0, "resumed at step 4: %s", e.msg);
    sky_log_step s = step_of(9, 5);
    sky_log_add(l, &s);
    OK(sky_log_interval(l, 5, &e) == 0, "and goes on: %s", sky_log_text(l));
    sky_log_close(l);
    char *p = content(path);
    int n = 0;
    for (char *q = p; (q = strchr(q, '\n')); q++)
        n++;
    OK(n == 4 && strstr(p, "\"miou\":0.5") && !strstr(p, "null") && strstr(p, "{\"step\":5,\"loss\":{\"total\":9.0") && !strstr(p, "\"step\":6"), "each step once: %d lines", n);
    OK(sky_log_open(&l, "/nonexistent/log", 0, &e) == SKY_EIO, "no directory: %s", e.msg);
}

static void curves(void)
{
    sky_log *l = NULL;
    sky_err f = {0};
    unlink(path);
    OK(sky_log_open(&l, path, 0, &e) == 0 && sky_log_draw(path, svg, &f) == 1, "nothing to draw: %s", f.msg);
    for (uint64_t k = 1; k <= 3000; k++) {
        sky_log_step s = step_of(4 * exp(-(double)k / 600) + 0.05 + 0.02 * sin((double)k), k);
        s.lr = 2e-4 * (k < 300 ? (double)k / 300 : (3000 - (double)k) / 2700);
        sky_log_add(l, &s);
        if (sky_log_interval(l, 10 * k, &e))
            break;
        if (k % 300 == 0) {
            json_t *val = json_pack("{s:I, s:{s:f, s:f}}", "step", (json_int_t)(10 * k), "val", "miou", 0.7 - 0.6 * exp(-(double)k / 900), "it's_\\odd_{f}", 0.8 - 0.5 * exp(-(double)k / 900));
            if (sky_log_write(l, val, &e))
                printf("# %s\n", e.msg);
            json_decref(val);
        }
    }
    sky_log_close(l);
    f = (sky_err){0};
    int rc = sky_log_draw(path, svg, &f);
    char *p = content(svg);
    if (rc == 1)
        SKIP("gnuplot is not installed", f.msg);
    else
        OK(rc == 0 && strstr(p, "<svg") && strstr(p, "</svg>") && strstr(p, ">learning rate<") && strstr(p, "miou") && strstr(p, "odd_{f}"), "four diagrams in %zu bytes: %s", strlen(p), f.msg);
    char *was = sky_strdup(getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin");
    setenv("PATH", dir, 1);
    OK(sky_log_draw(path, svg, &f) == 1 && strstr(f.msg, "not installed"), "without gnuplot: %s", f.msg);
    char tool[80];
    snprintf(tool, sizeof tool, "%s/gnuplot", dir);
    FILE *t = fopen(tool, "w");
    if (t) {
        fputs("#!/bin/sh\nexit 3\n", t);
        fclose(t);
    }
    chmod(tool, 0755);
    f = (sky_err){0};
    OK(sky_log_draw(path, svg, &f) == SKY_EIO, "one that fails: %s", f.msg);
    unlink(tool);
    setenv("PATH", was, 1);
    sky_free(was);
}

/* A file that begins at step 300, and one line. Made by a few lines of Python from the format's description and read by the
 * EventAccumulator of tensorboard 2.21.0: loss/total 0.5, lr 0.25, norm nan at step 300. */
static const char event_bytes[] =
    "\x1a\x00\x00\x00\x00\x00\x00\x00\x12\x9b\xd8\x2d\x09\x00\x00\x00\x00\x00\x00\xf8\x3f\x10\x00\x1a\x0d\x62\x72\x61\x69\x6e\x2e\x45"
    "\x76\x65\x6e\x74\x3a\x32\xd3\xdc\x53\x1e\x10\x00\x00\x00\x00\x00\x00\x00\x95\xfb\xfe\x18\x09\x00\x00\x00\x00\x00\x00\xf8\x3f\x10"
    "\xac\x02\x3a\x02\x08\x01\x71\x3b\x78\x8a\x39\x00\x00\x00\x00\x00\x00\x00\x8b\x07\x37\xf1\x09\x00\x00\x00\x00\x00\x00\x04\x40\x10"
    "\xac\x02\x2a\x2b\x0a\x11\x0a\x0a\x6c\x6f\x73\x73\x2f\x74\x6f\x74\x61\x6c\x15\x00\x00\x00\x3f\x0a\x09\x0a\x02\x6c\x72\x15\x00\x00"
    "\x80\x3e\x0a\x0b\x0a\x04\x6e\x6f\x72\x6d\x15\x00\x00\xc0\x7f\x77\x93\x34\x45";

static void events(void)
{
    sky_buf b = {0};
    json_t *line = json_pack("{s:i, s:{s:f}, s:f, s:n, s:b, s:s}", "step", 300, "loss", "total", 0.5, "lr", 0.25, "norm", "best", 1, "note", "no number");
    sky_events_head(&b, 299, 1.5);
    sky_events_line(&b, line, 2.5);
    OK(b.n == sizeof event_bytes - 1 && !memcmp(b.p, event_bytes, b.n), "%zu bytes of an event file", b.n);
    sky_buf_free(&b);
    sky_events *w = NULL;
    OK(sky_events_open(&w, "/nonexistent", 0, &e) == SKY_EIO && !w, "no directory: %s", e.msg);
    sky_log *l = NULL;
    char name[100] = "";
    OK(sky_log_open(&l, path, 0, &e) == 0 && sky_log_events(l, dir, 7, &e) == 0 && sky_log_write(l, line, &e) == 0, "a log that writes one: %s", e.msg);
    sky_log_close(l);
    json_decref(line);
    DIR *d = opendir(dir);
    for (struct dirent *f; d && (f = readdir(d));)
        if (!strncmp(f->d_name, "events.out.tfevents.", 20))
            snprintf(name, sizeof name, "%s/%.60s", dir, f->d_name);
    if (d)
        closedir(d);
    struct stat s;
    OK(strlen(name) > 9 && !strcmp(name + strlen(name) - 9, ".00000007") && stat(name, &s) == 0 && s.st_size == (off_t)sizeof event_bytes - 1 - 1, "%s", name);
    unlink(name);
}

int main(int argc, char **argv)
{
    if (!mkdtemp(dir))
        return 1;
    snprintf(path, sizeof path, "%s/log.jsonl", dir);
    snprintf(svg, sizeof svg, "%s/curves.svg", dir);
    lines();
    resumed();
    curves();
    events();
    if (argc == 1) { /* with an argument the files stay, to be looked at */
        char gp[64];
        snprintf(gp, sizeof gp, "%s/curves.gp", dir);
        unlink(path);
        unlink(svg);
        unlink(gp);
        rmdir(dir);
    } else {
        printf("# %s\n", dir);
    }
    (void)argv;
    return END();
}
