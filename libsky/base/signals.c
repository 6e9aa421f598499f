/* signals.c -- an interrupted tool leaves no half-written file.
 *
 * Names of unfinished files stand in a fixed table that the handler may read at any moment: a slot is filled before its
 * flag is set and the flag is cleared before it is freed. unlink and raise are async-signal-safe. */
#include "base/cli.h"
#include "base/cli_internal.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { SLOTS = 64, NAME = 4096 };
static struct {
    _Atomic int used; /* 0 free, 1 being filled, 2 valid */
    char name[NAME];
} slot[SLOTS];

void sky_tmp_register(const char *path)
{
    if (strlen(path) >= NAME)
        return; /* the kernel refuses longer paths anyway */
    for (int i = 0; i < SLOTS; i++) {
        int want = 0;
        if (atomic_compare_exchange_strong(&slot[i].used, &want, 1)) {
            strcpy(slot[i].name, path);
            atomic_store(&slot[i].used, 2);
            return;
        }
    }
}

void sky_tmp_forget(const char *path)
{
    for (int i = 0; i < SLOTS; i++)
        if (atomic_load(&slot[i].used) == 2 && !strcmp(slot[i].name, path)) {
            atomic_store(&slot[i].used, 0);
            return;
        }
}

static void clean_up(int sig)
{
    for (int i = 0; i < SLOTS; i++)
        if (atomic_load(&slot[i].used) == 2)
            unlink(slot[i].name);
    signal(sig, SIG_DFL);
    raise(sig);
}

void sky_signals_begin(void)
{
    struct sigaction a = {.sa_handler = clean_up};
    sigemptyset(&a.sa_mask);
    int ending[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
    for (unsigned i = 0; i < sizeof ending / sizeof *ending; i++) {
        struct sigaction old;
        /* what the parent ignores (nohup) stays ignored, but a closed pipe always ends the tool quietly */
        if (ending[i] == SIGPIPE || (sigaction(ending[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN))
            sigaction(ending[i], &a, NULL);
    }
}
