#include "base/cli.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct sky_progress {
    pthread_mutex_t lock;
    const char *prog, *what;
    int json;
    uint64_t items, bytes, total, total_bytes; /* totals: 0 when unknown */
    double begin, shown;
    char text[120]; /* instead of the bytes, when it is not empty */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

sky_progress *sky_progress_begin(const sky_cli *c, const char *what, uint64_t total)
{
    int json = !strcmp(c->progress, "json");
    if (!json && (c->quiet || !strcmp(c->progress, "none") || !isatty(2)))
        return NULL;
    sky_progress *p = sky_calloc(1, sizeof *p);
    if (!p)
        return NULL; /* progress is not worth failing for */
    pthread_mutex_init(&p->lock, NULL);
    p->prog = c->prog;
    p->what = what;
    p->json = json;
    p->total = total;
    p->begin = p->shown = now();
    return p;
}

void sky_progress_expect(sky_progress *p, uint64_t bytes)
{
    if (p)
        p->total_bytes = bytes;
}

/* Share done: of the items, else of the bytes; 0 when neither total is known. */
static double done(const sky_progress *p)
{
    if (p->total)
        return (double)p->items / (double)p->total;
    return p->total_bytes ? (double)p->bytes / (double)p->total_bytes : 0;
}

static void show(const sky_progress *p, double t, int last)
{
    double s = t - p->begin, rate = s > 0 ? (double)p->items / s : 0;
    if (p->json) {
        fprintf(stderr, "{\"program\":\"%s\",\"%s\":%llu,\"total\":%llu,\"bytes\":%llu,\"total_bytes\":%llu,\"seconds\":%.3f,\"done\":%s}\n", p->prog, p->what,
                (unsigned long long)p->items, (unsigned long long)p->total, (unsigned long long)p->bytes, (unsigned long long)p->total_bytes, s, last ? "true" : "false");
        return;
    }
    char eta[64] = "";
    if (!last && done(p) > 0 && done(p) < 1)
        snprintf(eta, sizeof eta, ", %.0f s left", s * (1 - done(p)) / done(p));
    char of[32] = "";
    if (p->total)
        snprintf(of, sizeof of, "/%llu", (unsigned long long)p->total);
    char more[sizeof p->text];
    if (p->text[0])
        memcpy(more, p->text, sizeof more);
    else
        snprintf(more, sizeof more, "%.1f MB/s", s > 0 ? (double)p->bytes / s / 1e6 : 0);
    fprintf(stderr, "\r%s: %llu%s %s, %.1f/s, %s%s\033[K%s", p->prog, (unsigned long long)p->items, of, p->what, rate, more, eta, last ? "\n" : "");
}

void sky_progress_text(sky_progress *p, const char *text)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    snprintf(p->text, sizeof p->text, "%s", text);
    pthread_mutex_unlock(&p->lock);
}

void sky_progress_add(sky_progress *p, uint64_t items, uint64_t bytes)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->items += items;
    p->bytes += bytes;
    double t = now();
    if (t - p->shown >= (p->json ? 1.0 : 0.2)) {
        p->shown = t;
        show(p, t, 0);
    }
    pthread_mutex_unlock(&p->lock);
}

void sky_progress_end(sky_progress *p)
{
    if (!p)
        return;
    show(p, now(), 1);
    pthread_mutex_destroy(&p->lock);
    sky_free(p);
}
