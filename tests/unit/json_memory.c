/* json_memory.c -- the JSON parser where the system has no byte left: a child with a limit on its address space eats
 * what malloc still has, gives a few pieces back and parses. It must come back with SKY_ENOMEM (or the tree). */
#include "base/json.h"
#include "t.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TEXT = 100000 };

/* A list of strings with escapes; odd: one long string, so that the scanner's buffer grows in the middle of an escape. */
static size_t make_text(char *t, int one_string, int shift)
{
    size_t n = (size_t)sprintf(t, "[\"%.*s", shift, "xxx");
    while (n < TEXT - 40)
        n += (size_t)sprintf(t + n, one_string ? "\\n" : "\\u00e9\\n\",\"");
    return n + (size_t)sprintf(t + n, "\"]");
}

static void eat_memory(int give_back)
{
    volatile char stack[300000]; /* grown now, since it cannot grow later */
    memset((char *)stack, 1, sizeof stack);
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld", &pages) != 1)
        _exit(9);
    fclose(f);
    struct rlimit all = {(rlim_t)pages * 4096, (rlim_t)pages * 4096};
    setrlimit(RLIMIT_AS, &all);
    void **held = NULL;
    for (size_t s = 1 << 20; s >= 16; s /= 2)
        for (void **q; (q = malloc(s)); held = q)
            *q = held;
    for (; give_back && held; give_back--) {
        void **next = *held;
        free(held);
        held = next;
    }
}

/* Wait status of the child. */
static int try(int one_string, int shift, int give_back)
{
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        static char text[TEXT];
        size_t n = make_text(text, one_string, shift);
        sky_err e = {0};
        json_t *j = NULL;
        eat_memory(give_back);
        int rc = sky_json_parse(&j, text, n, "text", &e);
        _exit(rc == SKY_OK ? 0 : rc == SKY_ENOMEM ? 4 : 3);
    }
    waitpid(child, &status, 0);
    return status;
}

int main(void)
{
#ifdef __SANITIZE_ADDRESS__
    SKIP("address space cannot be limited under AddressSanitizer", "JSON without memory");
#else
    for (int one = 0; one < 2; one++)
        for (int shift = 0; shift < 2; shift++) {
            int killed = 0, wrong = 0, failed = 0;
            for (int back = 0; back < 40; back++) {
                int s = try(one, shift, back);
                killed += WIFSIGNALED(s) != 0;
                wrong += WIFEXITED(s) && WEXITSTATUS(s) != 0 && WEXITSTATUS(s) != 4;
                failed += WIFEXITED(s) && WEXITSTATUS(s) == 4;
            }
            OK(!killed && !wrong && failed, "%s, %d characters on: %d of 40 had no memory, %d killed, %d called damage", one ? "one long string" : "many strings", shift,
               failed, killed, wrong);
        }
#endif
    return END();
}
