/* peak.h -- the yardstick of the benchmarks: multiply-add loops that never leave the registers, with the instructions of
 * the level in use, and clocks. A benchmark includes this, runs the loop beside its own work, and reports the ratio:
 * on a shared machine neither wall time nor the clock rate says anything by itself. */
#ifndef SKY_BENCH_PEAK_H
#define SKY_BENCH_PEAK_H

#include "base/threads.h"
#include "cpu/cpuid.h"

#include <time.h>

static inline double bench_clock(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static inline double bench_cpu(void) { return bench_clock(CLOCK_THREAD_CPUTIME_ID); } /* this thread's */
static inline double bench_wall(void) { return bench_clock(CLOCK_MONOTONIC); }

enum { PEAK_ROUNDS = 400000, PEAK_CHAINS = 24 };
static volatile float peak_sink, peak_one = 1e-9f;

#if defined(__x86_64__)
#include <immintrin.h>

#define PEAK_LOOP(NAME, TARGET, CHAINS, TYPE, SET, STEP, SUM)                                       \
    __attribute__((target(TARGET), noinline)) static void NAME(void)                                \
    {                                                                                               \
        TYPE s[CHAINS], a = SET(peak_one);                                                          \
        _Pragma("GCC unroll 24") for (int i = 0; i < CHAINS; i++) s[i] = SET(peak_one);             \
        for (int r = 0; r < PEAK_ROUNDS; r++)                                                       \
            _Pragma("GCC unroll 24") for (int i = 0; i < CHAINS; i++) s[i] = STEP(s[i], a);         \
        float sum = 0;                                                                              \
        _Pragma("GCC unroll 24") for (int i = 0; i < CHAINS; i++) sum += SUM(s[i]);                 \
        peak_sink = sum;                                                                            \
    }
#define PEAK_FMA512(s, a) _mm512_fmadd_ps(a, a, s)
#define PEAK_PAIR(s, a) _mm512_dpbf16_ps(s, (__m512bh)_mm512_castps_si512(a), (__m512bh)_mm512_castps_si512(a))
#define PEAK_FMA256(s, a) _mm256_fmadd_ps(a, a, s)
#define PEAK_FIRST512(s) _mm_cvtss_f32(_mm512_castps512_ps128(s))
#define PEAK_FIRST256(s) _mm_cvtss_f32(_mm256_castps256_ps128(s))
PEAK_LOOP(peak_f32_512, "avx512f,prefer-vector-width=512", 24, __m512, _mm512_set1_ps, PEAK_FMA512, PEAK_FIRST512)
PEAK_LOOP(peak_bf16_512, "avx512f,avx512bw,avx512bf16,prefer-vector-width=512", 24, __m512, _mm512_set1_ps, PEAK_PAIR, PEAK_FIRST512)
PEAK_LOOP(peak_f32_256, "avx2,fma", 12, __m256, _mm256_set1_ps, PEAK_FMA256, PEAK_FIRST256)
#endif

__attribute__((noinline)) static void peak_plain(void)
{
    float s[PEAK_CHAINS], a = peak_one;
    for (int i = 0; i < PEAK_CHAINS; i++)
        s[i] = peak_one;
    for (int r = 0; r < PEAK_ROUNDS; r++)
        for (int i = 0; i < PEAK_CHAINS; i++)
            s[i] = a + s[i] * a;
    for (int i = 0; i < PEAK_CHAINS; i++)
        peak_sink = s[i];
}

/* One run of the loop; returns its operations. On levels without BF16 products the bf16 loop is the F32 one. */
static inline double peak_run(int bf16)
{
    sky_cpu_level level = sky_cpu_level_get();
#if defined(__x86_64__)
    if (level == SKY_CPU_AVX512BF16 && bf16)
        return peak_bf16_512(), 2.0 * 32 * 24 * PEAK_ROUNDS;
    if (level >= SKY_CPU_AVX512)
        return peak_f32_512(), 2.0 * 16 * 24 * PEAK_ROUNDS;
    if (level == SKY_CPU_AVX2)
        return peak_f32_256(), 2.0 * 8 * 12 * PEAK_ROUNDS;
#endif
    (void)level, (void)bf16;
    return peak_plain(), 2.0 * PEAK_CHAINS * PEAK_ROUNDS;
}

/* GF/s of this core by CPU time, best of n runs (about 5 ms each). */
static inline double peak_one_core(int bf16, int n)
{
    double best = 0;
    for (int i = 0; i < n; i++) {
        double t = bench_cpu(), ops = peak_run(bf16), rate = ops / (bench_cpu() - t) * 1e-9;
        best = rate > best ? rate : best;
    }
    return best;
}

static inline void peak_piece(void *arg, int64_t i, int thread)
{
    (void)i, (void)thread;
    peak_run(*(int *)arg);
}

/* GF/s of all threads of the pool together, by wall time, best of n runs. */
static inline double peak_all_cores(sky_pool *pool, int bf16, int n)
{
    double best = 0, threads = sky_pool_threads(pool);
    for (int i = 0; i < n; i++) {
        double ops = peak_run(bf16), t = bench_wall();
        sky_pool_for(pool, (int64_t)threads * 4, peak_piece, &bf16);
        double rate = 4 * threads * ops / (bench_wall() - t) * 1e-9;
        best = rate > best ? rate : best;
    }
    return best;
}

#endif
