/* columns.cuh -- sums over rows for every column, and sums over rows to a few numbers: in two steps, F64, in fixed order.
 *
 * Columns: a block of 32 columns x 8 threads sums COLUMN_ROWS rows; a second kernel, with as many threads a column, adds the
 * pieces: every eighth each, then these eight in order. */
#ifndef SKY_KERNELS_COLUMNS_CUH
#define SKY_KERNELS_COLUMNS_CUH

#include "common.cuh"

enum { COLUMN_ROWS = 256, REDUCE_ROWS = 64 };

static inline int64_t column_pieces(int64_t rows) { return (rows + COLUMN_ROWS - 1) / COLUMN_ROWS; }
static inline size_t column_bytes(int64_t rows, int64_t n, int sums) { return static_cast<size_t>(column_pieces(rows) * n * sums) * sizeof(double); }

static __device__ inline double eight(const double (*sum)[32], int x)
{
    double all = 0;
    for (int j = 0; j < 8; j++)
        all += sum[j][x];
    return all;
}

/* part[piece][k][c]: sums over the piece's rows of f(row, c, v)'s v[k] */
template <int K, class F> static __global__ void column_part(double *part, int64_t rows, int64_t n, F f)
{
    __shared__ double sum[K][8][32];
    int x = threadIdx.x % 32, y = threadIdx.x / 32;
    int64_t c = static_cast<int64_t>(blockIdx.x) * 32 + x;
    for (int64_t piece = blockIdx.y; piece * COLUMN_ROWS < rows; piece += gridDim.y) {
        double acc[K] = {};
        int64_t from = piece * COLUMN_ROWS, to = from + COLUMN_ROWS < rows ? from + COLUMN_ROWS : rows;
        for (int64_t r = from + y; c < n && r < to; r += 8) {
            double v[K];
            f(r, c, v);
            for (int k = 0; k < K; k++)
                acc[k] += v[k];
        }
        for (int k = 0; k < K; k++)
            sum[k][y][x] = acc[k];
        __syncthreads();
        if (y == 0 && c < n)
            for (int k = 0; k < K; k++)
                part[(piece * K + k) * n + c] = eight(sum[k], x);
        __syncthreads();
    }
}
template <int K, class G> static __global__ void column_rest(const double *part, int64_t pieces, int64_t n, G done)
{
    __shared__ double sum[K][8][32];
    int x = threadIdx.x % 32, y = threadIdx.x / 32;
    int64_t c = static_cast<int64_t>(blockIdx.x) * 32 + x;
    double acc[K] = {}, v[K];
    for (int64_t p = y; c < n && p < pieces; p += 8)
        for (int k = 0; k < K; k++)
            acc[k] += part[(p * K + k) * n + c];
    for (int k = 0; k < K; k++)
        sum[k][y][x] = acc[k];
    __syncthreads();
    if (y || c >= n)
        return;
    for (int k = 0; k < K; k++)
        v[k] = eight(sum[k], x);
    done(c, v);
}

/* done(c, v): v[k] the sum of column c. part: column_bytes of device memory. */
template <int K, class F, class G> static int columns(sky_dev *d, double *part, int64_t rows, int64_t n, const char *op, sky_err *e, F f, G done)
{
    int64_t pieces = column_pieces(rows);
    auto first = column_part<K, F>;
    auto rest = column_rest<K, G>;
    SKY_LAUNCH(first, dim3(sky_blocks(n, 32), static_cast<unsigned>(pieces < 32768 ? pieces : 32768)), dim3(256), 0, d->stream, part, rows, n, f);
    SKY_LAUNCH(rest, dim3(sky_blocks(n, 32)), dim3(256), 0, d->stream, const_cast<const double *>(part), pieces, n, done);
    return sky_cuda_launched(op, e);
}

static inline size_t reduce_bytes(int64_t rows, int sums) { return static_cast<size_t>((rows + REDUCE_ROWS - 1) / REDUCE_ROWS * sums) * sizeof(double); }

/* A warp per row: f(row, lane, v) gives this row's v[k], the same in every lane. part[block][k] */
template <int K, class F> static __global__ void reduce_part(double *part, int64_t rows, F f)
{
    __shared__ double sum[8][K];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    double acc[K] = {};
    int64_t from = static_cast<int64_t>(blockIdx.x) * REDUCE_ROWS;
    for (int64_t r = from + warp; r < from + REDUCE_ROWS && r < rows; r += 8) {
        double v[K];
        f(r, lane, v);
        for (int k = 0; k < K; k++)
            acc[k] += v[k];
    }
    if (lane == 0)
        for (int k = 0; k < K; k++)
            sum[warp][k] = acc[k];
    __syncthreads();
    if (threadIdx.x < K) {
        double all = 0;
        for (int w = 0; w < 8; w++)
            all += sum[w][threadIdx.x];
        part[static_cast<int64_t>(blockIdx.x) * K + threadIdx.x] = all;
    }
}
/* out[k] = sum over n pieces of part[i][k]; one block of 256 */
template <int K> static __global__ void reduce_rest(double *out, const double *part, int64_t n)
{
    for (int k = 0; k < K; k++) {
        double v = 0;
        for (int64_t i = threadIdx.x; i < n; i += 256)
            v += part[i * K + k];
        v = block_sum(v);
        if (threadIdx.x == 0)
            out[k] = v;
    }
}
template <int K, class F> static int reduce(sky_dev *d, double *out, double *part, int64_t rows, const char *op, sky_err *e, F f)
{
    auto first = reduce_part<K, F>;
    auto rest = reduce_rest<K>;
    int64_t n = (rows + REDUCE_ROWS - 1) / REDUCE_ROWS;
    SKY_LAUNCH(first, dim3(static_cast<unsigned>(n)), dim3(256), 0, d->stream, part, rows, f);
    SKY_LAUNCH(rest, dim3(1), dim3(256), 0, d->stream, out, const_cast<const double *>(part), n);
    return sky_cuda_launched(op, e);
}

#endif
