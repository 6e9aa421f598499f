#include "train/comm.h"
#include "base/mem.h"
#include "tensor/backend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int64_t env_number(const char *name)
{
    const char *s = getenv(name);
    return s ? strtoll(s, NULL, 10) : 0;
}

int sky_comm_open(sky_comm **out, sky_err *e)
{
    *out = NULL;
    if (sky_comm_mpi_launched())
        return sky_comm_mpi_open(out, e);
    /* srun without a process manager starts tasks that know nothing of each other. */
    if (env_number("SLURM_STEP_NUM_TASKS") > 1 && getenv("SLURM_PROCID"))
        return sky_fail(e, SKY_EUSAGE, "task %s of %s of srun, without a way to reach the others: start with mpirun, or srun --mpi=pmix",
                        getenv("SLURM_PROCID"), getenv("SLURM_STEP_NUM_TASKS"));
    sky_comm *k = sky_calloc(1, sizeof *k);
    if (!k)
        return sky_fail(e, SKY_ENOMEM, "ranks: out of memory");
    k->ranks = k->locals = 1;
    *out = k;
    return 0;
}

void sky_comm_close(sky_comm *k)
{
    if (k)
        sky_comm_nccl_close(k);
    if (k && k->ops)
        k->ops->close(k);
    else
        sky_free(k);
}

/* The GPU of its own for a rank, when none was named. */
static int own_device(const sky_comm *k, const char *device, char own[32], sky_err *e)
{
    const int any = !strcmp(device, "cuda") || !strcmp(device, "auto");
    if (!any && !strncmp(device, "cuda:", 5) && k->locals > 1)
        return sky_fail(e, SKY_EUSAGE, "device '%s' for %d ranks of one host: with 'cuda' each takes the GPU of its number", device, k->locals);
    if (any)
        snprintf(own, 32, "%s:%d", device, k->local);
    else
        snprintf(own, 32, "%.31s", device);
    return 0;
}

int sky_comm_ctx_open(sky_comm *k, sky_ctx *c, const char *device, int threads, sky_err *e)
{
    char own[32];
    if (k->ranks == 1)
        return sky_ctx_open(c, device, threads, e);
    int rc = own_device(k, device, own, e);
    if (!rc)
        rc = sky_ctx_open(c, own, threads, e);
    double gpus = !rc && c->be->own_memory;
    if (!rc)
        rc = sky_comm_sum(k, &gpus, 1, SKY_F64, e);
    if (rc || !gpus)
        return rc;
    if (gpus != k->ranks)
        return sky_fail(e, SKY_EUSAGE, "%g of %d ranks have a GPU: start one per GPU, or say --device cpu", gpus, k->ranks);
    return sky_comm_nccl_join(k, c, e);
}

static int summable(sky_dtype t, sky_err *e)
{
    return t == SKY_F32 || t == SKY_F64 ? 0 : sky_fail(e, SKY_EUSAGE, "sum over ranks: %s, not F32 or F64", sky_dtype_name(t));
}

int sky_comm_sum(sky_comm *k, void *p, int64_t n, sky_dtype t, sky_err *e)
{
    int rc = summable(t, e);
    return rc || k->ranks == 1 || !n ? rc : k->ops->sum(k, p, n, t, e);
}

int sky_comm_sum_tensor(void *arg, sky_tensor *t, sky_err *e)
{
    sky_comm *k = arg;
    int rc = summable(t->dtype, e);
    return rc || k->ranks == 1 || !sky_numel(t) ? rc : k->device->sum(k, t->data, sky_numel(t), t->dtype, e);
}

void sky_comm_begin(sky_comm *k)
{
    if (k->ranks > 1 && k->device->begin)
        k->device->begin(k);
}

int sky_comm_sum_start(sky_comm *k, void *p, int64_t n, sky_dtype t, sky_err *e)
{
    int rc = summable(t, e);
    return rc || k->ranks == 1 || !n ? rc : k->device->start(k, p, n, t, e);
}

int sky_comm_wait(sky_comm *k, sky_err *e) { return k->ranks == 1 ? 0 : k->device->wait(k, e); }

int sky_comm_gather(sky_comm *k, void *p, const int64_t *cut, sky_dtype t, sky_err *e)
{
    return k->ranks == 1 || cut[0] == cut[k->ranks] ? 0 : k->device->gather(k, p, cut, t, e);
}

int sky_comm_collect(sky_comm *k, const float *part, float *host, const int64_t *cut, sky_err *e)
{
    if (k->ranks > 1)
        return k->ops->collect(k, part, host, cut, e);
    if (cut[1] > cut[0])
        memmove(host + cut[0], part, (size_t)(cut[1] - cut[0]) * sizeof *host);
    return 0;
}

int sky_comm_broadcast(sky_comm *k, void *p, size_t bytes, int root, sky_err *e)
{
    return k->ranks == 1 || !bytes ? 0 : k->ops->broadcast(k, p, bytes, root, e);
}

int sky_comm_barrier(sky_comm *k, sky_err *e) { return k->ranks == 1 ? 0 : k->ops->barrier(k, e); }

void sky_comm_abort(sky_comm *k, const char *prog, const char *reason, int status)
{
    char host[256] = "?";
    gethostname(host, sizeof host - 1);
    fflush(stdout);
    if (k->ranks == 1)
        fprintf(stderr, "%s: %s\n", prog, reason);
    else
        fprintf(stderr, "%s: rank %d of %d on %s: %s\n", prog, k->rank, k->ranks, host, reason);
    fflush(stderr);
    if (k->ops)
        k->ops->abort(k, status);
    _exit(status);
}
