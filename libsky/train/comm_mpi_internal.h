/* comm_mpi_internal.h -- what comm_mpi.c (the interface, the thread) and comm_mpi_sum.c (sums in pieces) share. */
#ifndef SKY_TRAIN_COMM_MPI_INTERNAL_H
#define SKY_TRAIN_COMM_MPI_INTERNAL_H

#include "train/comm.h"

#ifdef SKY_MPI
#include <mpi.h>
#include <pthread.h>

enum {
    SLOTS = 8,          /* pieces on their way: memory for as many is kept */
    PIECE = 1 << 22,    /* bytes of a piece */
    SHORT = 1 << 12,    /* elements of a short sum */
    UNIT = 64,          /* parts of the flat buffers are multiples of it: counts beyond INT_MAX elements */
};

typedef struct {
    char *p;            /* elements [0, n) of the caller's buffer */
    int64_t n;
    sky_dtype t;
} span;

typedef struct {
    span x;
    int adding;         /* 1: parts are on their way to their owners, 0: results to everyone */
    MPI_Request request;
    void *parts;        /* this rank's part as each rank has it */
    int *count, *at;    /* of each rank's part in the piece; MPI reads them until the request is done */
    int *mine, *mine_at;
} piece;

typedef struct {
    sky_comm head;
    MPI_Comm world, add, spread;
    piece slot[SLOTS];  /* a ring: `busy` of them from `first`, oldest first */
    int first, busy;
    span *queue;        /* spans not yet begun, [next, queued); the first may be partly begun */
    size_t next, queued, room;
    void *parts;        /* of a short sum */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more; /* something to do for the thread */
    int ending;
    sky_err late;       /* what went wrong in the thread: the next call fails with it */
} sky_mpi;

int sky_mpi_failed(int code, const char *what, sky_err *e);
MPI_Datatype sky_mpi_type(sky_dtype t);
/* Whatever pieces can do without waiting. With the lock. */
int sky_mpi_advance(sky_mpi *m, sky_err *e);
#endif

#endif
