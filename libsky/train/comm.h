/* comm.h -- ranks: processes that train one model together.
 *
 * One interface over what carries the bytes: nothing (one rank), MPI, or on GPUs NCCL beside MPI. All ranks make the same
 * calls in the same order, with the same sizes (sums that are begun keep an order among themselves only); a call returns
 * when this rank's part is done. Buffers are memory of the host, or where it is said of the context's device, which is the
 * same on the CPU; work on them goes among the device's other work.
 *
 * Sums are the same bits on every rank and in every run, and do not depend on which algorithm or how many pieces carried
 * them: element i is x[0][i] + x[1][i] + ... in the order of the ranks, in double, rounded once to the buffer's type.
 * (Each element is added by one rank, or by every rank from the same numbers in that order; MPI_Allreduce and
 * ncclAllReduce would leave the order to the library.)
 *
 * Failure: a call that fails leaves the others waiting, so the caller ends the whole job with sky_comm_abort. A rank that
 * dies in any other way ends the job through its launcher. */
#ifndef SKY_TRAIN_COMM_H
#define SKY_TRAIN_COMM_H

#include "tensor/tensor.h"

typedef struct sky_comm sky_comm;
typedef struct sky_comm_ops sky_comm_ops;
typedef struct sky_comm_device_ops sky_comm_device_ops;
typedef struct sky_comm_nccl sky_comm_nccl;

/* The head of an open communicator; read only. */
struct sky_comm {
    const sky_comm_ops *ops;           /* NULL: a single rank */
    const sky_comm_device_ops *device;
    sky_comm_nccl *nccl;               /* NULL: devices are CPUs */
    int rank, ranks;
    int local, locals;                 /* the same among the ranks of this host: which device, which share of the cores */
};

/* What carries the bytes: host memory, filled in by comm_mpi.c, and memory of the device, by comm_mpi.c or comm_nccl.c.
 * Called with ranks > 1 only; checked arguments; n > 0. */
struct sky_comm_ops {
    void (*close)(sky_comm *k);
    int (*sum)(sky_comm *k, void *p, int64_t n, sky_dtype t, sky_err *e);
    int (*collect)(sky_comm *k, const float *part, float *host, const int64_t *cut, sky_err *e);
    int (*broadcast)(sky_comm *k, void *p, size_t bytes, int root, sky_err *e);
    int (*barrier)(sky_comm *k, sky_err *e);
    void (*abort)(sky_comm *k, int status);
};
struct sky_comm_device_ops {
    const char *name;
    int (*sum)(sky_comm *k, void *p, int64_t n, sky_dtype t, sky_err *e);
    void (*begin)(sky_comm *k); /* NULL: it need not know */
    int (*start)(sky_comm *k, void *p, int64_t n, sky_dtype t, sky_err *e);
    int (*wait)(sky_comm *k, sky_err *e);
    int (*gather)(sky_comm *k, void *p, const int64_t *cut, sky_dtype t, sky_err *e);
};

/* As the environment says: the ranks of mpirun or srun, else a single one, for which nothing is started or asked. Being
 * one of several processes of a launcher without a way to reach the others is an error, not several runs of one rank.
 * Once per process. */
int sky_comm_open(sky_comm **out, sky_err *e) SKY_MUST_USE;
void sky_comm_close(sky_comm *k); /* waits for the other ranks: after success only; before the context; NULL allowed */
const char *sky_comm_built(void); /* "MPI: ..." for --version */

/* sky_ctx_open for a rank: with several of them "cuda" and "auto" mean the GPU of the rank's number on its host. All ranks
 * must find a GPU, or none; they are joined by NCCL then. */
int sky_comm_ctx_open(sky_comm *k, sky_ctx *c, const char *device, int threads, sky_err *e) SKY_MUST_USE;

/* Sum over the ranks, in place. t: F32 or F64. */
int sky_comm_sum(sky_comm *k, void *p, int64_t n, sky_dtype t, sky_err *e) SKY_MUST_USE;
/* The same in memory of the device, as a hook of the tensor layer; arg: the sky_comm. */
int sky_comm_sum_tensor(void *arg, sky_tensor *t, sky_err *e);

/* Memory of the device: begin a sum and return: p must not be touched until sky_comm_wait, which waits for all that were
 * begun (on NCCL: makes the device's later work wait). They go on in between, on NCCL if sky_comm_begin was said before: from there
 * to the wait every rank makes equally many sums of the other kinds in memory of the device, and as many each time. */
void sky_comm_begin(sky_comm *k);
int sky_comm_sum_start(sky_comm *k, void *p, int64_t n, sky_dtype t, sky_err *e) SKY_MUST_USE;
int sky_comm_wait(sky_comm *k, sky_err *e) SKY_MUST_USE;

/* Memory of the device. cut: ranks + 1 ascending element numbers. Rank r has elements [cut[r], cut[r+1]) of p; afterwards all have all. */
int sky_comm_gather(sky_comm *k, void *p, const int64_t *cut, sky_dtype t, sky_err *e) SKY_MUST_USE;
/* To rank 0 only, host memory on both sides: rank r's part goes to host[cut[r], cut[r+1]). host: NULL elsewhere. */
int sky_comm_collect(sky_comm *k, const float *part, float *host, const int64_t *cut, sky_err *e) SKY_MUST_USE;
int sky_comm_broadcast(sky_comm *k, void *p, size_t bytes, int root, sky_err *e) SKY_MUST_USE;
int sky_comm_barrier(sky_comm *k, sky_err *e) SKY_MUST_USE;

/* Say "PROG: rank 2 of 4 on HOST: REASON" on standard error and end all ranks with this exit status. */
_Noreturn void sky_comm_abort(sky_comm *k, const char *prog, const char *reason, int status);

/* comm_mpi.c. launched: by mpirun, or by srun with a process manager: 1, 0. */
int sky_comm_mpi_launched(void);
int sky_comm_mpi_open(sky_comm **out, sky_err *e) SKY_MUST_USE;
/* comm_nccl.c: memory of c's device, which is not the host's, goes over NCCL from here on. c must outlive k. */
int sky_comm_nccl_join(sky_comm *k, const sky_ctx *c, sky_err *e) SKY_MUST_USE;
void sky_comm_nccl_close(sky_comm *k);

#endif
