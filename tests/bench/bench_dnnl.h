/* bench_dnnl.h -- oneDNN 2.x as the peer of bench_gemm.c; part of that file. Bias and activation are its post-operations,
 * a residual its sum operation (y is the residual then, and grows from run to run, which costs nothing). Three ways:
 *   plain   weights as they lie, for products only: a small convolution with such weights had not ended after a minute
 *   packed  weights packed beforehand
 *   behind  what oneDNN behind our interface would be: F32 activations that it rounds first where weights are BF16, and for
 *           convolution weights that it packs first. The same as plain for F32 products
 * In the other two BF16 ways activations are BF16 beforehand. Always one thread, from the making of the primitive on: a
 * convolution made for two runs on two, whatever is set later. */
#ifndef SKY_BENCH_DNNL_H
#define SKY_BENCH_DNNL_H

#include <dnnl.h>

void omp_set_num_threads(int n); /* its thread runtime */

enum { PEER_PLAIN, PEER_PACKED, PEER_BEHIND };

typedef struct {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_desc_t pd;
    dnnl_primitive_t prim;
    dnnl_primitive_t round, pack; /* of every run, or NULL */
    dnnl_memory_t x, xf, w, packed, bias, y;
    uint16_t *xh; /* BF16 copy of the activations */
} peer;

static dnnl_memory_t peer_memory(peer *p, const dnnl_memory_desc_t *d, void *data)
{
    dnnl_memory_t m = NULL;
    return dnnl_memory_create(&m, d, p->engine, data) == dnnl_success ? m : NULL;
}

static dnnl_status_t peer_attr(dnnl_primitive_attr_t *attr, sky_act act, int residual)
{
    dnnl_post_ops_t ops;
    dnnl_primitive_attr_create(attr);
    dnnl_post_ops_create(&ops);
    if (act == SKY_ACT_RELU)
        dnnl_post_ops_append_eltwise(ops, 1.0f, dnnl_eltwise_relu, 0, 0);
    if (act == SKY_ACT_GELU)
        dnnl_post_ops_append_eltwise(ops, 1.0f, dnnl_eltwise_gelu_erf, 0, 0);
    if (residual)
        dnnl_post_ops_append_sum(ops, 1.0f);
    dnnl_status_t rc = dnnl_primitive_attr_set_post_ops(*attr, ops);
    dnnl_post_ops_destroy(ops);
    return rc;
}

/* Descriptors of x, w (as ours lies), bias, y, and the primitive that wants w as it lies or packed. */
static dnnl_status_t peer_describe(peer *p, int c, int bf16, int packed, dnnl_memory_desc_t d[4])
{
    dnnl_data_type_t t = bf16 ? dnnl_bf16 : dnnl_f32;
    int64_t n = cases[c].n, k = cases[c].k, h = cases[c].h, w = cases[c].w, side = cases[c].taps == 9 ? 3 : 5;
    dnnl_primitive_attr_t attr;
    dnnl_status_t rc = peer_attr(&attr, cases[c].act, cases[c].residual);
    dnnl_memory_desc_t any;
    if (h) {
        dnnl_dims_t dx = {1, k, h, w}, dw = {n, k, side, side}, db = {n}, dy = {1, n, h, w}, one = {1, 1}, zero = {0, 0}, pad = {side / 2, side / 2};
        dnnl_convolution_desc_t op;
        dnnl_memory_desc_init_by_tag(&d[0], 4, dx, t, dnnl_nhwc);
        dnnl_memory_desc_init_by_tag(&d[1], 4, dw, t, dnnl_oihw);
        dnnl_memory_desc_init_by_tag(&any, 4, dw, t, dnnl_format_tag_any);
        dnnl_memory_desc_init_by_tag(&d[2], 1, db, dnnl_f32, dnnl_a);
        dnnl_memory_desc_init_by_tag(&d[3], 4, dy, dnnl_f32, dnnl_nhwc);
        rc = rc ? rc : dnnl_dilated_convolution_forward_desc_init(&op, dnnl_forward_inference, dnnl_convolution_direct, &d[0], packed ? &any : &d[1], &d[2], &d[3], one, zero, pad, pad);
        rc = rc ? rc : dnnl_primitive_desc_create(&p->pd, &op, attr, p->engine, NULL);
    } else {
        dnnl_dims_t dx = {cases[c].m, k}, dw = {k, n}, db = {1, n}, dy = {cases[c].m, n};
        dnnl_matmul_desc_t op;
        dnnl_memory_desc_init_by_tag(&d[0], 2, dx, t, dnnl_ab);
        dnnl_memory_desc_init_by_tag(&d[1], 2, dw, t, dnnl_ba);
        dnnl_memory_desc_init_by_tag(&any, 2, dw, t, dnnl_format_tag_any);
        dnnl_memory_desc_init_by_tag(&d[2], 2, db, dnnl_f32, dnnl_ab);
        dnnl_memory_desc_init_by_tag(&d[3], 2, dy, dnnl_f32, dnnl_ab);
        rc = rc ? rc : dnnl_matmul_desc_init(&op, &d[0], packed ? &any : &d[1], &d[2], &d[3]);
        rc = rc ? rc : dnnl_primitive_desc_create(&p->pd, &op, attr, p->engine, NULL);
    }
    dnnl_primitive_attr_destroy(attr);
    return rc ? rc : dnnl_primitive_create(&p->prim, p->pd);
}

static int peer_reorder(peer *p, const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to, dnnl_primitive_t *prim)
{
    dnnl_primitive_desc_t pd = NULL;
    int ok = !dnnl_reorder_primitive_desc_create(&pd, from, p->engine, to, p->engine, NULL) && !dnnl_primitive_create(prim, pd);
    dnnl_primitive_desc_destroy(pd);
    return ok;
}

static int peer_move(peer *p, dnnl_primitive_t prim, dnnl_memory_t from, dnnl_memory_t to)
{
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    return !dnnl_primitive_execute(prim, p->stream, 2, args) && !dnnl_stream_wait(p->stream);
}

static int peer_pack(peer *p, const dnnl_memory_desc_t *from)
{
    const dnnl_memory_desc_t *to = dnnl_primitive_desc_query_md(p->pd, dnnl_query_weights_md, 0);
    p->packed = peer_memory(p, to, DNNL_MEMORY_ALLOCATE);
    return p->packed && peer_reorder(p, from, to, &p->pack) && peer_move(p, p->pack, p->w, p->packed);
}

static int peer_has(int c, int bf16, int way)
{
    return !cases[c].what && (way == PEER_PACKED || (way == PEER_PLAIN ? !cases[c].h : bf16 || cases[c].h));
}

static int peer_open(peer *p, work *w, int way)
{
    *p = (peer){0};
    dnnl_memory_desc_t d[4], xf;
    int packed = way == PEER_PACKED || cases[w->c].h;
    int64_t nx = cases[w->c].m * cases[w->c].k;
    if (dnnl_engine_create(&p->engine, dnnl_cpu, 0) || dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags))
        return 0;
    if (w->bf16 && (p->xh = sky_alloc((size_t)nx * 2)))
        for (int64_t i = 0; i < nx; i++)
            p->xh[i] = sky_f32_to_bf16(w->x[i]);
    omp_set_num_threads(1);
    if ((w->bf16 && !p->xh) || peer_describe(p, w->c, w->bf16, packed, d))
        return 0;
    p->x = peer_memory(p, &d[0], w->bf16 ? (void *)p->xh : w->x);
    p->w = peer_memory(p, &d[1], w->w);
    p->bias = peer_memory(p, &d[2], w->shift);
    p->y = peer_memory(p, &d[3], w->y);
    if (!p->x || !p->w || !p->bias || !p->y || (packed && !peer_pack(p, &d[1])))
        return 0;
    if (way == PEER_PACKED) {
        dnnl_primitive_destroy(p->pack);
        p->pack = NULL;
    }
    if (way != PEER_BEHIND || !w->bf16)
        return 1;
    xf = d[0];
    xf.data_type = dnnl_f32;
    p->xf = peer_memory(p, &xf, w->x);
    return p->xf && peer_reorder(p, &xf, &d[0], &p->round);
}

static int peer_fn(void *arg, sky_pool *pool)
{
    peer *p = arg;
    (void)pool;
    if ((p->round && !peer_move(p, p->round, p->xf, p->x)) || (p->pack && !peer_move(p, p->pack, p->w, p->packed)))
        return 1;
    dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, p->x}, {DNNL_ARG_WEIGHTS, p->packed ? p->packed : p->w}, {DNNL_ARG_BIAS, p->bias}, {DNNL_ARG_DST, p->y}};
    return dnnl_primitive_execute(p->prim, p->stream, 4, args) || dnnl_stream_wait(p->stream);
}

static void peer_close(peer *p)
{
    dnnl_memory_destroy(p->x), dnnl_memory_destroy(p->xf), dnnl_memory_destroy(p->w), dnnl_memory_destroy(p->packed), dnnl_memory_destroy(p->bias), dnnl_memory_destroy(p->y);
    dnnl_primitive_destroy(p->prim);
    dnnl_primitive_destroy(p->round), dnnl_primitive_destroy(p->pack);
    dnnl_primitive_desc_destroy(p->pd);
    dnnl_stream_destroy(p->stream);
    dnnl_engine_destroy(p->engine);
    sky_free(p->xh);
}

#endif
