#include "base/hash.h"
#include "data/prompts.h"

#include <string.h>

int sky_prompt_slot(uint64_t seed, int cls, int vocab)
{
    return 1 + (int)(sky_mix64(sky_mix64(sky_fnv1a("slot"), seed), (uint64_t)cls) % (uint64_t)vocab);
}

/* Every class asks for its slot of the binary protocol, in ascending order of class; one that is taken gives the next
 * free one, after the last the first. */
int sky_prompt_slots(uint8_t slot_of[256], uint64_t seed, const int *classes, int n, int vocab, sky_err *e)
{
    uint8_t wanted[256] = {0}, taken[256] = {0};
    int distinct = 0;
    memset(slot_of, 0, 256);
    for (int i = 0; i < n; i++) {
        if (classes[i] < 0 || classes[i] > 255)
            return sky_fail(e, SKY_EUSAGE, "class %d, want 0..255", classes[i]);
        distinct += !wanted[classes[i]];
        wanted[classes[i]] = 1;
    }
    if (distinct > vocab)
        return sky_fail(e, SKY_ELIMIT, "%d classes in one prompt, the model has %d slots", distinct, vocab);
    for (int c = 0; c < 256; c++) {
        if (!wanted[c])
            continue;
        int slot = sky_prompt_slot(seed, c, vocab);
        while (taken[slot])
            slot = slot % vocab + 1;
        taken[slot] = 1;
        slot_of[c] = (uint8_t)slot;
    }
    return SKY_OK;
}
