/* prompts.c -- any bytes as a prompts file, and looking up what it says. */
#include "data/prompts.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    sky_prompts *t = NULL;
    sky_err e;
    if (sky_prompts_memory(&t, p, n, "fuzz", &e))
        return 0;
    for (uint64_t i = 0; i < sky_prompts_count(t); i++) {
        const uint64_t *list;
        const char *query = sky_prompts_at(t, i)->query;
        uint64_t found = 0, lines = sky_prompts_of(t, query, &list);
        for (uint64_t k = 0; k < lines; k++)
            found += list[k] == i;
        if (found != 1)
            __builtin_trap();
    }
    sky_prompts_free(t);
    return 0;
}
