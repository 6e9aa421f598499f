/* Philox4x32-10 against the known answers published with it (Random123 1.14, kat_vectors). */
#include "base/philox.h"
#include "t.h"

int main(void)
{
    static const struct { uint32_t c[4], k[2], v[4]; } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
    for (int i = 0; i < 3; i++) {
        sky_random r = sky_philox(known[i].k[0] | (uint64_t)known[i].k[1] << 32, known[i].c[0], known[i].c[1], known[i].c[2], known[i].c[3]);
        int same = 1;
        for (int j = 0; j < 4; j++)
            same &= r.v[j] == known[i].v[j];
        OK(same, "known answer %d: %08x %08x %08x %08x", i, r.v[0], r.v[1], r.v[2], r.v[3]);
    }
    const uint64_t key = 0x299f31d0a4093822, id = 0x0370734413198a2e;
    int same = 1;
    for (uint32_t j = 0; j < 4; j++)
        same &= sky_philox_word(key, 0x85a308d3, id, 4 * UINT64_C(0x243f6a88) + j) == known[2].v[j];
    OK(same, "numbered words are those of the block");
    OK(sky_random_unit(0) == 0 && sky_random_unit(0xffffffff) < 1 && sky_random_unit(0x80000000) == 0.5f, "a word as a number in [0, 1)");
    return END();
}
