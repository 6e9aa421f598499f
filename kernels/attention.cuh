/* attention.cuh -- what attention and its gradient share on tensor cores: rows in BF16, laid out per head, and tiles of them on
 * their way through shared memory as operands of 16x8x16 products. */
#ifndef SKY_KERNELS_ATTENTION_CUH
#define SKY_KERNELS_ATTENTION_CUH

#include "common.cuh"

struct attention_shape {
    int64_t B, L;
    int heads, D;
};
static inline attention_shape attention_shape_of(const sky_tensor *qkv)
{
    const int64_t *s = qkv->shape;
    return attention_shape{s[0], s[1], static_cast<int>(s[3]), static_cast<int>(s[4])};
}

enum { ATTENTION_TILE = 64 /* rows that pass together; padded sequences are whole tiles */, ATTENTION_WARPS = 4 };
static inline int64_t attention_padded(int64_t L) { return (L + ATTENTION_TILE - 1) / ATTENTION_TILE * ATTENTION_TILE; }

/* `parts` rows per token and head, each heads*D apart, to BF16 [parts][B*heads][Lp][D], zero beyond L; two elements per thread. */
static int pack_heads(sky_dev *d, uint16_t *to, const float *from, int parts, const attention_shape &o, int64_t Lp, const char *op, sky_err *e)
{
    int64_t half = o.D / 2, width = static_cast<int64_t>(o.heads) * o.D, all = o.B * o.heads;
    uint32_t *pairs = reinterpret_cast<uint32_t *>(to);
    return each(d, parts * all * Lp * half, op, e, [=] __device__(int64_t i) {
        int64_t head = i, c = 2 * divide(&head, half), t = divide(&head, Lp), part = quotient(head, all), b = quotient(head - part * all, o.heads);
        const float *p = from + ((b * o.L + t) * parts + part) * width + (head - part * all - b * o.heads) * o.D + c;
        pairs[i] = t < o.L ? bf16_pair(p[0], p[1]) : 0;
    });
}

/* Rows of a tile in shared memory are 16 bytes longer than they are wide, which puts the eight rows of a matrix into different
 * banks. */
template <int D> constexpr int TILE_ELEMENTS = ATTENTION_TILE * (D + 8);

/* A tile of rows under way to shared memory; 128 threads. */
template <int D> static __device__ inline void fetch_tile(uint16_t *tile, const uint16_t *rows)
{
    static_assert(ATTENTION_TILE * D / 8 % (32 * ATTENTION_WARPS) == 0, "every thread copies as much: the loop needs no tests");
#pragma unroll
    for (int n = 0; n < ATTENTION_TILE * D / 8; n += 32 * ATTENTION_WARPS) {
        int i = n + threadIdx.x;
        async_copy16(tile + i / (D / 8) * (D + 8) + i % (D / 8) * 8, rows + i * 8);
    }
}

/* Right operands from 16 rows from `row` on and 16 columns from `column` on: b[0], b[1] and b[2], b[3] of two products.
 * across: products sum over columns, results are the rows 0-7 and 8-15. along: sums over rows, results are columns. */
template <int D> static __device__ inline void tile_across(uint32_t b[4], const uint16_t *tile, int row, int column)
{
    int i = threadIdx.x % 32;
    load_matrices<false>(b, tile + (row + i % 8 + i / 16 * 8) * (D + 8) + column + i / 8 % 2 * 8);
}
template <int D> static __device__ inline void tile_along(uint32_t b[4], const uint16_t *tile, int row, int column)
{
    int i = threadIdx.x % 32;
    load_matrices<true>(b, tile + (row + i % 16) * (D + 8) + column + i / 16 * 8);
}

/* Left operand: 16 rows from `row` on of a head's packed rows, columns 16*c.. of each. */
template <int D> static __device__ inline void own_rows(uint32_t a[D / 16][4], const uint16_t *rows, int64_t row, int64_t Lp)
{
    int lane = threadIdx.x % 32, g = lane / 4, t = 2 * (lane % 4);
#pragma unroll
    for (int c = 0; c < D / 16; c++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int64_t r = row + g + i % 2 * 8;
            a[c][i] = r < Lp ? *reinterpret_cast<const uint32_t *>(rows + r * D + 16 * c + t + i / 2 * 8) : 0;
        }
}

/* Results of two products side by side as the left operand of the next. */
static __device__ inline void as_left(uint32_t a[4], const float s[2][4])
{
#pragma unroll
    for (int i = 0; i < 4; i++)
        a[i] = bf16_pair(s[i / 2][i % 2 * 2], s[i / 2][i % 2 * 2 + 1]);
}

#endif
