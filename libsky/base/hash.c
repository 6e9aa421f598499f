#include "base/hash.h"

#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* ---- CRC32C (Castagnoli, reflected polynomial 0x82f63b78) --------------------------------------------------- */

static uint32_t crc_table[8][256];

static void crc_tables(void) __attribute__((constructor));
static void crc_tables(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c >> 1 ^ (c & 1 ? 0x82f63b78 : 0);
        crc_table[0][i] = c;
    }
    for (int t = 1; t < 8; t++)
        for (int i = 0; i < 256; i++)
            crc_table[t][i] = crc_table[t - 1][i] >> 8 ^ crc_table[0][crc_table[t - 1][i] & 255];
}

static uint32_t crc_portable(uint32_t c, const uint8_t *p, size_t n)
{
    for (; n >= 8; n -= 8, p += 8) { /* slicing by eight */
        uint32_t lo = c ^ ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
        c = crc_table[7][lo & 255] ^ crc_table[6][lo >> 8 & 255] ^ crc_table[5][lo >> 16 & 255] ^
            crc_table[4][lo >> 24] ^ crc_table[3][p[4]] ^ crc_table[2][p[5]] ^ crc_table[1][p[6]] ^ crc_table[0][p[7]];
    }
    while (n--)
        c = c >> 8 ^ crc_table[0][(c ^ *p++) & 255];
    return c;
}

#if defined(__x86_64__)
/* c advanced over n zero bytes, n one of two lengths, by tables made once: joins the three streams below. */
enum { LANE = 4096 };
static uint32_t skip_table[4][256];

static void skip_tables(void) __attribute__((constructor(102)));
static void skip_tables(void)
{
    static const uint8_t zero[LANE];
    crc_tables();
    for (int b = 0; b < 4; b++)
        for (uint32_t i = 1; i < 256; i++) { /* linear: bits one by one, the others from those */
            uint32_t low = i & (i - 1);
            skip_table[b][i] = low ? skip_table[b][low] ^ skip_table[b][i ^ low] : crc_portable(i << (8 * b), zero, LANE);
        }
}

static inline uint32_t skip_lane(uint32_t c)
{
    return skip_table[0][c & 255] ^ skip_table[1][c >> 8 & 255] ^ skip_table[2][c >> 16 & 255] ^ skip_table[3][c >> 24];
}

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

/* Three independent streams hide the instruction's latency of three cycles. */
__attribute__((target("sse4.2"))) static uint32_t crc_sse42(uint32_t c, const uint8_t *p, size_t n)
{
    for (; n >= 3 * LANE; n -= 3 * LANE, p += 3 * LANE) {
        uint64_t a = c, b = 0, d = 0;
        for (int i = 0; i < LANE; i += 8) {
            a = _mm_crc32_u64(a, load64(p + i));
            b = _mm_crc32_u64(b, load64(p + LANE + i));
            d = _mm_crc32_u64(d, load64(p + 2 * LANE + i));
        }
        c = skip_lane(skip_lane((uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)d;
    }
    uint64_t a = c;
    for (; n >= 8; n -= 8, p += 8)
        a = _mm_crc32_u64(a, load64(p));
    for (c = (uint32_t)a; n; n--)
        c = _mm_crc32_u8(c, *p++);
    return c;
}

/* Bytes that are in the cache already come faster than the instruction takes them, so there 256 of them are folded onto
 * the next 256 by carry-less products, over and over, and only the last go through it (Gopal et al., "Fast CRC
 * computation using PCLMULQDQ", Intel 2009). The factors, bit-reflected and shifted by one as that paper has them, are
 * x^(2048+32) and x^(2048-32) modulo the polynomial. 22 GB/s become 41 on a Zen 4 core when 256 KiB are gone over again
 * and again; from memory both get 10. */
enum { FOLD = 256 };
__attribute__((target("avx512f,vpclmulqdq,sse4.2"))) static uint32_t crc_fold(uint32_t c, const uint8_t *p, size_t n)
{
    const __m512i factor = _mm512_broadcast_i32x4(_mm_set_epi64x(0xb9e02b86, 0xdcb17aa4));
    __m512i z[FOLD / 64];
    for (int i = 0; i < FOLD / 64; i++)
        z[i] = _mm512_loadu_si512(p + 64 * i);
    z[0] = _mm512_xor_si512(z[0], _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)c)));
    for (p += FOLD, n -= FOLD; n >= FOLD; p += FOLD, n -= FOLD)
        for (int i = 0; i < FOLD / 64; i++) {
            __m512i low = _mm512_clmulepi64_epi128(z[i], factor, 0x00), high = _mm512_clmulepi64_epi128(z[i], factor, 0x11);
            z[i] = _mm512_ternarylogic_epi64(low, high, _mm512_loadu_si512(p + 64 * i), 0x96); /* exclusive or of all three */
        }
    uint8_t last[FOLD];
    memcpy(last, z, FOLD);
    return crc_sse42(crc_sse42(0, last, FOLD), p, n);
}
#endif

uint32_t sky_crc32c(uint32_t crc, const void *p, size_t n)
{
#if defined(__x86_64__)
    if (n >= 4 * FOLD && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq"))
        return ~crc_fold(~crc, p, n);
    if (__builtin_cpu_supports("sse4.2"))
        return ~crc_sse42(~crc, p, n);
#endif
    return ~crc_portable(~crc, p, n);
}

/* ---- SHA-256 (FIPS 180-4) ---------------------------------------------------------------------------------- */

static const uint32_t sha_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static inline uint32_t ror(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void sha_block(uint32_t h[8], const uint8_t *p)
{
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (ror(a, 7) ^ ror(a, 18) ^ a >> 3) + w[i - 7] + (ror(b, 17) ^ ror(b, 19) ^ b >> 10);
    }
    memcpy(s, h, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t t = s[7] + (ror(s[4], 6) ^ ror(s[4], 11) ^ ror(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + sha_k[i] + w[i];
        uint32_t u = (ror(s[0], 2) ^ ror(s[0], 13) ^ ror(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += t;
        s[0] = t + u;
    }
    for (int i = 0; i < 8; i++)
        h[i] += s[i];
}

void sky_sha256_init(sky_sha256 *s)
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(s->h, start, sizeof start);
    s->n = 0;
}

void sky_sha256_add(sky_sha256 *s, const void *data, size_t n)
{
    const uint8_t *p = data;
    size_t at = s->n & 63;
    s->n += n;
    if (at) {
        size_t k = n < 64 - at ? n : 64 - at;
        memcpy(s->block + at, p, k);
        p += k;
        n -= k;
        if (at + k < 64)
            return;
        sha_block(s->h, s->block);
    }
    for (; n >= 64; n -= 64, p += 64)
        sha_block(s->h, p);
    if (n)
        memcpy(s->block, p, n);
}

static void sha_finish(sky_sha256 *s)
{
    uint64_t bits = s->n * 8;
    uint8_t pad[72] = {0x80};
    size_t k = (s->n & 63) < 56 ? 56 - (s->n & 63) : 120 - (s->n & 63);
    for (int i = 0; i < 8; i++)
        pad[k + (size_t)i] = (uint8_t)(bits >> (56 - 8 * i));
    sky_sha256_add(s, pad, k + 8);
}

uint64_t sky_sha256_u64(sky_sha256 *s)
{
    sha_finish(s);
    return __builtin_bswap32(s->h[0]) | (uint64_t)__builtin_bswap32(s->h[1]) << 32;
}

void sky_sha256_hex(sky_sha256 *s, char out[65])
{
    sha_finish(s);
    for (int i = 0; i < 64; i++)
        out[i] = "0123456789abcdef"[s->h[i / 8] >> (28 - 4 * (i % 8)) & 15];
    out[64] = 0;
}

/* ---- counter generator ------------------------------------------------------------------------------------- */

uint64_t sky_fnv1a(const char *name)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 0x100000001b3u;
    return h;
}

uint64_t sky_mix64(uint64_t h, uint64_t i)
{
    uint64_t z = h + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

float sky_counter_value(uint64_t h, uint64_t i, float scale, float offset)
{
    float u = (float)((int32_t)sky_counter_u24(h, i) - 8388608) / 8388608.0f;
    float product = u * scale; /* -ffp-contract=off keeps this rounding */
    return product + offset;
}
