#include "score/confusion.h"
#include "base/mem.h"
#include "cpu/cpuid.h"
#include "score/confusion_kernels.h"

#include <string.h>

enum { SIDE = 256 };
static const uint64_t AT_ONCE = (uint64_t)1 << 31; /* 32-bit counts cannot overflow */

int sky_confusion_open(sky_confusion *c, sky_err *e)
{
    *c = (sky_confusion){.side = SIDE, .n = sky_calloc(SIDE * SIDE, 8), .tables = sky_calloc((size_t)SKY_COUNT_TABLES * SKY_COUNT_PITCH, 4)};
    if (c->n && c->tables)
        return SKY_OK;
    sky_confusion_close(c);
    return sky_fail(e, SKY_ENOMEM, "confusion matrix: out of memory");
}

void sky_confusion_close(sky_confusion *c)
{
    sky_free(c->n);
    sky_free(c->tables);
    *c = (sky_confusion){0};
}

void sky_confusion_plain(uint64_t *joint, const uint8_t *label, const uint8_t *pred, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        joint[label[i] * SIDE + pred[i]]++;
}

static uint64_t load8(const void *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

static void count16(uint32_t *t, const uint8_t *label, const uint8_t *pred)
{
    uint16_t pair[16]; /* compilers make this one interleaving of bytes */
    for (int k = 0; k < 16; k++)
        pair[k] = (uint16_t)(label[k] << 8 | pred[k]);
    for (int k = 0; k < 16; k += 8) {
        sky_count4(t, load8(pair + k));
        sky_count4(t + 4 * SKY_COUNT_PITCH, load8(pair + k + 4));
    }
}

/* Sixteen pixels at a time; a row of equal pairs is found by comparing words. */
void sky_count_portable(uint32_t *t, const uint8_t *label, const uint8_t *pred, uint64_t n)
{
    uint64_t i = 0, last_l = 0, last_p = 0, ones = 0x0101010101010101;
    uint32_t last = 0, run = 0;
    for (; i + 16 <= n; i += 16) {
        uint64_t other = (load8(label + i) ^ last_l) | (load8(label + i + 8) ^ last_l) | (load8(pred + i) ^ last_p) | (load8(pred + i + 8) ^ last_p);
        if (!other) {
            run += 16;
            continue;
        }
        count16(t, label + i, pred + i);
        t[last] += run;
        run = 0;
        last = label[i + 15] * (uint32_t)SIDE + pred[i + 15];
        last_l = label[i + 15] * ones;
        last_p = pred[i + 15] * ones;
    }
    t[last] += run;
    for (; i < n; i++)
        t[label[i] * SIDE + pred[i]]++;
}

static void count(uint32_t *t, const uint8_t *label, const uint8_t *pred, uint64_t n)
{
#if defined(__x86_64__)
    if (sky_cpu_level_get() >= SKY_CPU_AVX512) {
        sky_count_avx512(t, label, pred, n);
        return;
    }
#endif
    sky_count_portable(t, label, pred, n);
}

void sky_confusion_u8(sky_confusion *c, const uint8_t *label, const uint8_t *pred, uint64_t n)
{
    while (n) {
        if (c->pending == AT_ONCE)
            sky_confusion_counts(c);
        uint64_t now = n < AT_ONCE - c->pending ? n : AT_ONCE - c->pending;
        count(c->tables, label, pred, now);
        c->pending += now;
        label += now;
        pred += now;
        n -= now;
    }
}

const uint64_t *sky_confusion_counts(sky_confusion *c)
{
    if (!c->pending)
        return c->n;
    for (uint32_t l = 0; l < SIDE; l++)
        for (uint32_t p = 0; p < SIDE; p++)
            for (int t = 0; t < SKY_COUNT_TABLES; t++)
                c->n[(uint64_t)l * c->side + p] += c->tables[t * SKY_COUNT_PITCH + l * SIDE + p];
    memset(c->tables, 0, (size_t)SKY_COUNT_TABLES * SKY_COUNT_PITCH * 4);
    c->pending = 0;
    return c->n;
}

static uint32_t largest(const uint16_t *v, uint64_t n)
{
    uint32_t most = 0;
    for (uint64_t i = 0; i < n; i++)
        most = v[i] > most ? v[i] : most;
    return most;
}

static int widen(sky_confusion *c, sky_err *e)
{
    uint64_t *n = sky_calloc((size_t)SKY_CONFUSION_MOST * SKY_CONFUSION_MOST, 8);
    if (!n)
        return sky_fail(e, SKY_ENOMEM, "confusion matrix: out of memory");
    for (uint64_t l = 0; l < SIDE; l++)
        memcpy(n + l * SKY_CONFUSION_MOST, c->n + l * SIDE, SIDE * 8);
    sky_free(c->n);
    c->n = n;
    c->side = SKY_CONFUSION_MOST;
    return SKY_OK;
}

int sky_confusion_u16(sky_confusion *c, const uint16_t *label, const uint16_t *pred, uint64_t n, sky_err *e)
{
    uint32_t l = largest(label, n), p = largest(pred, n);
    if (l >= SKY_CONFUSION_MOST || p >= SKY_CONFUSION_MOST)
        return sky_fail(e, SKY_ELIMIT, "%s value %u; at most %d are scored", l >= p ? "label" : "predicted", l >= p ? l : p, SKY_CONFUSION_MOST - 1);
    int rc = c->side == SIDE && (l >= SIDE || p >= SIDE) ? widen(c, e) : SKY_OK;
    for (uint64_t i = 0; !rc && i < n; i++)
        c->n[(uint64_t)label[i] * c->side + pred[i]]++;
    return rc;
}
