/* gemm_run.c -- cuts a matrix product into packed panels and pieces of work.
 *
 * Two ways, by the number of rows:
 *   tall  W is packed once, shared; a piece is a block of rows, packed into the thread's own L2 part, times all of W.
 *   wide  A is packed once, shared; a piece is one panel of W, packed by its thread while it streams from memory, times
 *         a group of rows. W is read once, so this is the memory-bound case too.
 * K is cut so that the shared part stays below SHARED bytes; between cuts the sums wait in y. A tile continues the sum
 * it finds, hence the order of additions, and with it every bit, is the same for all cuts and both ways. */
#include "cpu/gemm_job.h"

#include <stdatomic.h>
#include <string.h>

enum {
    SHARED = 8 << 20,      /* bytes of the operand packed for all threads */
    TALL_UNITS = 1536,     /* units of K per cut in the tall way: 14 rows of them are 84 KiB */
    TALL_BLOCK = 131072,   /* units of A per piece (512 KiB, half an L2) */
    WIDE_ROWS = 1024,      /* rows up to which the wide way is taken */
    STREAM = 16 << 20,     /* bytes of y from which it is written past the caches */
    WIDE_UNITS = 512,      /* units of a panel of W packed at a time: 64 KiB */
};

typedef struct {
    const sky_mm *mm;
    int64_t panels;        /* of A */
    int64_t c0, cn;        /* columns of this cut */
    int64_t k0, kn;        /* elements of this cut */
    int first, last;       /* cut of K */
    int64_t block;         /* panels of A per piece */
    int64_t groups;        /* wide: row groups */
    int threads;
    uint32_t *shared;
    char *own;             /* per thread: own_bytes each */
    size_t own_bytes, strip_at;
} run;

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

/* K is not cut where the sums between cuts would overwrite the residual. */
static int64_t longest_cut(const sky_mm *mm, int64_t most)
{
    if (mm->out.residual == mm->out.y)
        return round_up(mm->k, mm->kblock);
    return most < mm->kblock ? mm->kblock : most / mm->kblock * mm->kblock;
}

static int64_t units_of(const sky_mm *mm, int64_t kn) { return mm->taps * (mm->set->pair ? (kn + 1) / 2 : kn); }

/* Panels share the rows evenly, so that 32 rows are 11 + 11 + 10 and not 14 + 14 + 4. */
static int64_t panel_row(const run *r, int64_t p) { return r->mm->m * p / r->panels; }

/* The sums of rows [row, row+rows) between strip and y, when K is cut. */
static void strip_load(const run *r, float *strip, int64_t row, int64_t rows, int64_t col, int cols)
{
    const sky_mm *mm = r->mm;
    for (int64_t i = 0; i < rows; i++)
        memcpy(strip + i * mm->set->nr, mm->out.y + (row + i) * mm->out.ldy + col, (size_t)cols * sizeof(float));
}

/* Ask for the lines of y (unless they are only written, past the caches) and of the residual that a tile will want when it is done. */
static void tile_ahead(const run *r, int64_t row, int rows, int64_t col)
{
    const sky_gemm_out *o = &r->mm->out;
    int lines = r->mm->set->nr / 16;
    for (int64_t i = row; i < row + rows && !(r->last && o->stream); i++)
        for (int l = 0; l < lines; l++)
            __builtin_prefetch((const void *)((uintptr_t)o->y + (uintptr_t)(i * o->ldy + col + 16 * l) * sizeof(float)), 0, 3);
    if (o->residual && r->last)
        for (int64_t i = row; i < row + rows; i++)
            for (int l = 0; l < lines; l++)
                __builtin_prefetch((const void *)((uintptr_t)o->residual + (uintptr_t)(i * o->ldr + col + 16 * l) * sizeof(float)), 0, 3);
}

static void strip_store(const run *r, const float *strip, int64_t row, int rows, int64_t col, int cols)
{
    const sky_mm *mm = r->mm;
    if (!r->last) {
        for (int64_t i = 0; i < rows; i++)
            memcpy(mm->out.y + (row + i) * mm->out.ldy + col, strip + i * mm->set->nr, (size_t)cols * sizeof(float));
        return;
    }
    sky_gemm_out o = mm->out;
    o.rows = rows;
    o.cols = cols;
    o.y += row * o.ldy + col;
    if (o.residual)
        o.residual += row * o.ldr + col;
    if (o.scale)
        o.scale += col;
    if (o.shift)
        o.shift += col;
    mm->set->finish(strip, &o);
}

/* ---- tall -------------------------------------------------------------------------------------------------- */

static void tall_pack(void *arg, int64_t i, int thread)
{
    const run *r = arg;
    const sky_mm *mm = r->mm;
    (void)thread;
    int nr = mm->set->nr;
    int64_t col = i * nr;
    mm->pack_b(mm, r->shared + i * nr * units_of(mm, r->kn), r->c0 + col, (int)min64(nr, r->cn - col), r->k0, r->kn);
}

/* Part t of n of the lines of A that piece i will pack, into L2: the machine reads them while it multiplies. */
static void block_ahead(const run *r, int64_t i, int64_t t, int64_t n)
{
    const sky_mm *mm = r->mm;
    if (!mm->a || i * r->block >= r->panels)
        return;
    int64_t row0 = panel_row(r, i * r->block), rows = panel_row(r, min64((i + 1) * r->block, r->panels)) - row0;
    int64_t per_row = ceil_div(r->kn, 16), lines = rows * per_row, at = lines * t / n, end = lines * (t + 1) / n;
    int64_t row = at / per_row, line = at % per_row;
    for (; at < end; at++) {
        __builtin_prefetch(mm->a + (row0 + row) * mm->lda + r->k0 + line * 16, 0, 2);
        if (++line == per_row)
            line = 0, row++;
    }
}

static void tall_piece(void *arg, int64_t i, int thread)
{
    const run *r = arg;
    const sky_mm *mm = r->mm;
    const sky_gemm_set *set = mm->set;
    uint32_t *a = (uint32_t *)(r->own + (size_t)thread * r->own_bytes);
    float *strip = (float *)((char *)a + r->strip_at);
    int64_t units = units_of(mm, r->kn), p0 = i * r->block, p1 = min64(p0 + r->block, r->panels);
    int64_t t = 0, tiles = (p1 - p0) * ceil_div(r->cn, set->nr);

    for (int64_t p = p0; p < p1; p++) {
        int64_t row = panel_row(r, p);
        mm->pack_a(mm, a + (p - p0) * set->mr * units, row, (int)(panel_row(r, p + 1) - row), r->k0, r->kn);
    }
    for (int64_t col = 0; col < r->cn; col += set->nr) {
        int cols = (int)min64(set->nr, r->cn - col);
        const uint32_t *b = r->shared + col * units;
        for (int64_t p = p0; p < p1; p++) {
            int64_t row = panel_row(r, p);
            int rows = (int)(panel_row(r, p + 1) - row);
            if (!r->first)
                strip_load(r, strip, row, rows, r->c0 + col, cols);
            else
                tile_ahead(r, row, rows, r->c0 + col);
            block_ahead(r, i + r->threads, t++, tiles);
            set->tile(rows, units, a + (p - p0) * set->mr * units, b, strip, !r->first);
            strip_store(r, strip, row, rows, r->c0 + col, cols);
        }
    }
    atomic_thread_fence(memory_order_seq_cst); /* streaming stores are not ordered by the pool's locks alone */
}

static int tall(sky_pool *pool, sky_scratch *scratch, const sky_mm *mm, run *r, sky_err *e)
{
    const sky_gemm_set *set = mm->set;
    int per = set->pair ? 2 : 1, threads = r->threads;
    int64_t most = longest_cut(mm, TALL_UNITS * per / mm->taps);
    int64_t kn = round_up(ceil_div(mm->k, ceil_div(mm->k, most)), mm->kblock), units = units_of(mm, kn);
    int64_t fit = SHARED / 4 / units / set->nr, all = ceil_div(mm->n, set->nr); /* panels of W */
    if (fit < 1)
        fit = 1;
    int64_t nb = ceil_div(all, ceil_div(all, fit));
    r->block = TALL_BLOCK / (set->mr * units);
    if (r->block > 20)
        r->block = 20;
    if (r->block > r->panels / (8 * threads)) /* enough pieces to balance */
        r->block = r->panels / (8 * threads);
    if (r->block < 1)
        r->block = 1;
    size_t shared = (size_t)(nb * set->nr * units) * 4;
    r->strip_at = ((size_t)(r->block * set->mr * units) * 4 + SKY_GEMM_SLACK + 63) / 64 * 64;
    r->own_bytes = r->strip_at + (size_t)SKY_GEMM_MR * SKY_GEMM_NR * sizeof(float) + 4096;
    char *mem = sky_scratch_get(scratch, shared + (size_t)threads * r->own_bytes);
    if (!mem)
        return sky_fail(e, SKY_ENOMEM, "matrix product: out of memory for packing");
    r->shared = (uint32_t *)mem;
    r->own = mem + shared;
    for (int64_t c0 = 0; c0 < mm->n; c0 += nb * set->nr)
        for (int64_t k0 = 0; k0 < mm->k; k0 += kn) {
            r->c0 = c0, r->cn = min64(nb * set->nr, mm->n - c0);
            r->k0 = k0, r->kn = min64(kn, mm->k - k0);
            r->first = k0 == 0, r->last = k0 + r->kn == mm->k;
            sky_pool_for(pool, ceil_div(r->cn, set->nr), tall_pack, r);
            sky_pool_for(pool, ceil_div(r->panels, r->block), tall_piece, r);
        }
    return SKY_OK;
}

/* ---- wide -------------------------------------------------------------------------------------------------- */

static void wide_pack(void *arg, int64_t p, int thread)
{
    const run *r = arg;
    const sky_mm *mm = r->mm;
    (void)thread;
    int64_t row = panel_row(r, p);
    mm->pack_a(mm, (char *)r->shared + (size_t)p * ((size_t)(mm->set->mr * units_of(mm, r->kn)) * 4 + SKY_GEMM_SLACK), row,
               (int)(panel_row(r, p + 1) - row), r->k0, r->kn);
}

/* One panel of W times one group of rows; W goes through a small buffer that stays in L2. */
static void wide_piece(void *arg, int64_t i, int thread)
{
    const run *r = arg;
    const sky_mm *mm = r->mm;
    const sky_gemm_set *set = mm->set;
    uint32_t *b = (uint32_t *)(r->own + (size_t)thread * r->own_bytes);
    float *strip = (float *)((char *)b + r->strip_at);
    int64_t p0 = r->panels * (i % r->groups) / r->groups, p1 = r->panels * (i % r->groups + 1) / r->groups;
    int64_t col = i / r->groups * set->nr, row0 = panel_row(r, p0);
    int cols = (int)min64(set->nr, mm->n - col);
    size_t panel = (size_t)(set->mr * units_of(mm, r->kn)) * 4 + SKY_GEMM_SLACK;

    if (!r->first)
        strip_load(r, strip, row0, panel_row(r, p1) - row0, col, cols);
    for (int64_t k0 = 0; k0 < r->kn; k0 += r->block) {
        int64_t kn = min64(r->block, r->kn - k0), units = units_of(mm, kn);
        mm->pack_b(mm, b, col, cols, r->k0 + k0, kn);
        for (int64_t p = p0; p < p1; p++) {
            const char *a = (const char *)r->shared + (size_t)p * panel + (size_t)(set->mr * units_of(mm, k0)) * 4;
            int64_t row = panel_row(r, p);
            set->tile((int)(panel_row(r, p + 1) - row), units, a, b, strip + (row - row0) * set->nr, !r->first || k0 > 0);
        }
    }
    for (int64_t p = p0; p < p1; p++) {
        int64_t row = panel_row(r, p);
        strip_store(r, strip + (row - row0) * set->nr, row, (int)(panel_row(r, p + 1) - row), col, cols);
    }
    atomic_thread_fence(memory_order_seq_cst);
}

static int wide(sky_pool *pool, sky_scratch *scratch, const sky_mm *mm, run *r, sky_err *e)
{
    const sky_gemm_set *set = mm->set;
    int per = set->pair ? 2 : 1, threads = r->threads;
    int64_t most = longest_cut(mm, (int64_t)SHARED / 4 / (r->panels * set->mr) * per / mm->taps);
    int64_t kn = round_up(ceil_div(mm->k, ceil_div(mm->k, most)), mm->kblock), units = units_of(mm, kn);
    r->block = WIDE_UNITS * per / mm->taps / mm->kblock * mm->kblock; /* elements of K packed at a time */
    if (r->block < mm->kblock)
        r->block = mm->kblock;
    r->block = min64(r->block, kn);
    int64_t wpanels = ceil_div(mm->n, set->nr);
    r->groups = ceil_div(8 * threads, wpanels);
    if (r->groups > r->panels / 6) /* at least 6 panels of rows pay for packing one of W */
        r->groups = r->panels / 6;
    if (r->groups < 1)
        r->groups = 1;
    size_t shared = ((size_t)r->panels * ((size_t)(set->mr * units) * 4 + SKY_GEMM_SLACK) + 63) / 64 * 64;
    r->strip_at = (size_t)(set->nr * units_of(mm, r->block)) * 4;
    r->own_bytes = r->strip_at + (size_t)(ceil_div(r->panels, r->groups) * set->mr * set->nr) * 4;
    r->own_bytes = (r->own_bytes + 4096 + 63) / 64 * 64;
    char *mem = sky_scratch_get(scratch, shared + (size_t)threads * r->own_bytes);
    if (!mem)
        return sky_fail(e, SKY_ENOMEM, "matrix product: out of memory for packing");
    r->shared = (uint32_t *)mem;
    r->own = mem + shared;
    for (int64_t k0 = 0; k0 < mm->k; k0 += kn) {
        r->k0 = k0, r->kn = min64(kn, mm->k - k0);
        r->first = k0 == 0, r->last = k0 + r->kn == mm->k;
        sky_pool_for(pool, r->panels, wide_pack, r);
        sky_pool_for(pool, wpanels * r->groups, wide_piece, r);
    }
    return SKY_OK;
}

/* An empty sum: the epilogue of zeros. */
static void only_finish(const sky_mm *mm, const run *r)
{
    static const float zeros[SKY_GEMM_MR * SKY_GEMM_NR];
    run one = *r;
    one.last = 1;
    for (int64_t p = 0; p < r->panels; p++)
        for (int64_t col = 0; col < mm->n; col += mm->set->nr)
            strip_store(&one, zeros, panel_row(r, p), (int)(panel_row(r, p + 1) - panel_row(r, p)), col, (int)min64(mm->set->nr, mm->n - col));
}

int sky_mm_run(sky_pool *pool, sky_scratch *scratch, const sky_mm *mm, sky_err *e)
{
    if (mm->m <= 0 || mm->n <= 0)
        return SKY_OK;
    sky_mm own = *mm;
    own.out.stream = mm->m * mm->n > STREAM / (int64_t)sizeof(float);
    mm = &own;
    run r = {.mm = mm, .panels = ceil_div(mm->m, mm->set->mr), .threads = sky_pool_threads(pool)};
    if (mm->k == 0) {
        only_finish(mm, &r);
        return SKY_OK;
    }
    return mm->m <= WIDE_ROWS ? wide(pool, scratch, mm, &r, e) : tall(pool, scratch, mm, &r, e);
}
