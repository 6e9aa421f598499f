/* comm.h -- ranks: processes that train one model together.
 *
 * One interface over what carries the bytes. All ranks make the same calls in the same order, with the same sizes; a call
 * returns when this rank's part is done. Buffers are memory of the context's device: of the host on the CPU.
 *
 * Sums are the same bits on every rank and in every run, and do not depend on which algorithm or how many pieces carried
 * them: element i is x[0][i] + x[1][i] + ... in the order of the ranks, in double, rounded once to the buffer's type.
 * (On MPI: each element is added by one rank, or by every rank from the same numbers in that order; MPI_Allreduce would
 * leave the order to the library.)
 *
 * Failure: a call that fails leaves the others waiting, so the caller ends the whole job with sky_comm_abort. A rank that
 * dies in any other way ends the job through its launcher. */
#ifndef SKY_TRAIN_COMM_H
#define SKY_TRAIN_COMM_H

#include "tensor/tensor.h"

typedef struct sky_comm sky_comm;
typedef struct sky_comm_ops sky_comm_ops;

/* The head of an open communicator; read only. */
struct sky_comm {
    const sky_comm_ops *ops; /* NULL: a single rank */
    int rank, ranks;
    int local, locals;       /* the same among the ranks of this host: which device, which share of the cores */
};

/* What carries the bytes: filled in by comm_mpi.c. Called with ranks > 1 only; checked arguments; n > 0. */
struct sky_comm_ops {
    const char *name;
    void (*close)(sky_comm *k);
    int (*sum)(sky_comm *k, void *p, int64_t n, sky_dtype t, sky_err *e);
    int (*start)(sky_comm *k, void *p, int64_t n, sky_dtype t, sky_err *e);
    int (*wait)(sky_comm *k, sky_err *e);
    int (*gather)(sky_comm *k, void *p, const int64_t *cut, sky_dtype t, sky_err *e);
    int (*collect)(sky_comm *k, const float *part, float *host, const int64_t *cut, sky_err *e);
    int (*broadcast)(sky_comm *k, void *p, size_t bytes, int root, sky_err *e);
    int (*barrier)(sky_comm *k, sky_err *e);
    void (*abort)(sky_comm *k, int status);
};

/* As the environment says: the ranks of mpirun or srun, else a single one, for which nothing is started or asked. Being
 * one of several processes of a launcher without a way to reach the others is an error, not several runs of one rank.
 * Once per process. */
int sky_comm_open(sky_comm **out, sky_err *e) SKY_MUST_USE;
void sky_comm_close(sky_comm *k); /* waits for the other ranks: after success only; NULL allowed */
const char *sky_comm_built(void); /* "MPI: ..." for --version */

/* Sum over the ranks, in place. t: F32 or F64. */
int sky_comm_sum(sky_comm *k, void *p, int64_t n, sky_dtype t, sky_err *e) SKY_MUST_USE;
/* The same as a hook of the tensor layer; arg: the sky_comm. */
int sky_comm_sum_tensor(void *arg, sky_tensor *t, sky_err *e);

/* Begin a sum and return: p must not be touched until sky_comm_wait, which waits for all that were begun. The sums go on
 * in between. */
int sky_comm_sum_start(sky_comm *k, void *p, int64_t n, sky_dtype t, sky_err *e) SKY_MUST_USE;
int sky_comm_wait(sky_comm *k, sky_err *e) SKY_MUST_USE;

/* cut: ranks + 1 ascending element numbers. Rank r has elements [cut[r], cut[r+1]) of p; afterwards all have all. */
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

#endif
