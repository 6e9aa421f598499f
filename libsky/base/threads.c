#include "base/threads.h"
#include "base/mem.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

int sky_cores(void)
{
    /* The kernel refuses a set that is smaller than its own (EINVAL): larger ones until it takes one. */
    for (int cpus = CPU_SETSIZE; cpus <= 1 << 20; cpus *= 2) {
        cpu_set_t *set = CPU_ALLOC((size_t)cpus);
        int n = set && !sched_getaffinity(0, CPU_ALLOC_SIZE((size_t)cpus), set) ? CPU_COUNT_S(CPU_ALLOC_SIZE((size_t)cpus), set) : 0;
        CPU_FREE(set);
        if (n > 0)
            return n;
    }
    return 1;
}

/* ---- loop over indices ------------------------------------------------------------------------------------- */

struct sky_pool {
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    uint64_t round; /* counts loops; a worker runs each round once */
    int busy, quit, threads, started;
    int64_t n;
    _Atomic int64_t next;
    void (*fn)(void *, int64_t, int);
    void *arg;
    struct worker {
        struct sky_pool *p;
        pthread_t id;
        int index;
    } w[];
};

static _Thread_local int inside; /* set while a piece runs, so that nested loops stay serial */

static void run_pieces(sky_pool *p, int thread)
{
    inside++;
    for (int64_t i; (i = atomic_fetch_add(&p->next, 1)) < p->n;)
        p->fn(p->arg, i, thread);
    inside--;
}

static void *pool_worker(void *arg)
{
    struct worker *w = arg;
    sky_pool *p = w->p;
    uint64_t seen = 0;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (p->round == seen && !p->quit)
            pthread_cond_wait(&p->wake, &p->lock);
        if (p->quit)
            break;
        seen = p->round;
        pthread_mutex_unlock(&p->lock);
        run_pieces(p, w->index);
        pthread_mutex_lock(&p->lock);
        if (--p->busy == 0)
            pthread_cond_signal(&p->done);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

int sky_pool_open(sky_pool **out, int n, sky_err *e)
{
    if (n <= 0)
        n = sky_cores();
    sky_pool *p = sky_calloc(1, sizeof *p + (size_t)n * sizeof p->w[0]);
    if (!p)
        return sky_fail(e, SKY_ENOMEM, "thread pool: out of memory");
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);
    p->threads = n;
    for (int i = 1; i < n; i++) {
        p->w[i].p = p;
        p->w[i].index = i;
        if (pthread_create(&p->w[i].id, NULL, pool_worker, &p->w[i])) {
            sky_pool_close(p);
            return sky_fail(e, SKY_ENOMEM, "thread pool: cannot start thread %d of %d", i + 1, n);
        }
        p->started = i;
    }
    *out = p;
    return SKY_OK;
}

void sky_pool_close(sky_pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->quit = 1;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (int i = 1; i <= p->started; i++)
        pthread_join(p->w[i].id, NULL);
    pthread_cond_destroy(&p->wake);
    pthread_cond_destroy(&p->done);
    pthread_mutex_destroy(&p->lock);
    sky_free(p);
}

int sky_pool_threads(const sky_pool *p) { return p ? p->threads : 1; }

void sky_pool_for(sky_pool *p, int64_t n, void (*fn)(void *, int64_t, int), void *arg)
{
    if (!p || p->threads == 1 || n <= 1 || inside) {
        inside++;
        for (int64_t i = 0; i < n; i++)
            fn(arg, i, 0);
        inside--;
        return;
    }
    pthread_mutex_lock(&p->lock);
    p->n = n;
    p->fn = fn;
    p->arg = arg;
    atomic_store(&p->next, 0);
    p->busy = p->started;
    p->round++;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    run_pieces(p, 0);
    pthread_mutex_lock(&p->lock);
    while (p->busy)
        pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

/* ---- ordered queue ----------------------------------------------------------------------------------------- */

enum { SLOT_FREE, SLOT_WAITING, SLOT_RUNNING, SLOT_DONE };

struct sky_queue {
    pthread_mutex_t lock;
    pthread_cond_t work, done; /* for workers: a job waits; for putter and getter: the oldest is done, or a place is free */
    uint64_t put, taken, got; /* jobs ever put, taken by a worker, returned; got <= taken <= put */
    int depth, ended, quit, threads;
    void (*fn)(void *);
    pthread_t *id;
    struct slot {
        void *job;
        int state;
    } *slot;
};

static void *queue_worker(void *arg)
{
    sky_queue *q = arg;
    pthread_mutex_lock(&q->lock);
    for (;;) {
        while (q->taken == q->put && !q->quit)
            pthread_cond_wait(&q->work, &q->lock);
        if (q->quit)
            break;
        struct slot *s = &q->slot[q->taken++ % (uint64_t)q->depth];
        s->state = SLOT_RUNNING;
        pthread_mutex_unlock(&q->lock);
        q->fn(s->job);
        pthread_mutex_lock(&q->lock);
        s->state = SLOT_DONE;
        /* Only the oldest can be got; and whoever sleeps over it is woken for many small jobs at once, but in time to put
         * more before the workers run out: a wake-up costs as much as decompressing 10 kB. */
        if (q->slot[q->got % (uint64_t)q->depth].state == SLOT_DONE && q->put - q->taken <= (q->put - q->got) / 2)
            pthread_cond_broadcast(&q->done);
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

int sky_queue_open(sky_queue **out, int threads, int depth, void (*fn)(void *), sky_err *e)
{
    if (threads <= 0)
        threads = sky_cores();
    if (depth < threads)
        depth = threads;
    sky_queue *q = sky_calloc(1, sizeof *q);
    if (q)
        q->id = sky_calloc((size_t)threads, sizeof *q->id), q->slot = sky_calloc((size_t)depth, sizeof *q->slot);
    if (!q || !q->id || !q->slot) {
        if (q)
            sky_free(q->id), sky_free(q->slot);
        sky_free(q);
        return sky_fail(e, SKY_ENOMEM, "work queue: out of memory");
    }
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->work, NULL);
    pthread_cond_init(&q->done, NULL);
    q->depth = depth;
    q->fn = fn;
    for (; q->threads < threads; q->threads++)
        if (pthread_create(&q->id[q->threads], NULL, queue_worker, q)) {
            sky_queue_close(q);
            return sky_fail(e, SKY_ENOMEM, "work queue: cannot start thread %d of %d", q->threads + 1, threads);
        }
    *out = q;
    return SKY_OK;
}

void sky_queue_put(sky_queue *q, void *job)
{
    pthread_mutex_lock(&q->lock);
    while (q->put - q->got == (uint64_t)q->depth)
        pthread_cond_wait(&q->done, &q->lock);
    q->slot[q->put++ % (uint64_t)q->depth] = (struct slot){job, SLOT_WAITING};
    pthread_cond_signal(&q->work);
    pthread_mutex_unlock(&q->lock);
}

void sky_queue_end(sky_queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->ended = 1;
    pthread_cond_broadcast(&q->done);
    pthread_mutex_unlock(&q->lock);
}

void *sky_queue_get(sky_queue *q)
{
    void *job = NULL;
    pthread_mutex_lock(&q->lock);
    struct slot *s = &q->slot[q->got % (uint64_t)q->depth];
    while (!(q->got < q->put && s->state == SLOT_DONE) && !(q->ended && q->got == q->put))
        pthread_cond_wait(&q->done, &q->lock);
    if (q->got < q->put) {
        job = s->job;
        s->state = SLOT_FREE;
        q->got++;
        pthread_cond_broadcast(&q->done);
    }
    pthread_mutex_unlock(&q->lock);
    return job;
}

int sky_queue_pending(sky_queue *q)
{
    pthread_mutex_lock(&q->lock);
    int n = (int)(q->put - q->got);
    pthread_mutex_unlock(&q->lock);
    return n;
}

int sky_queue_threads(const sky_queue *q) { return q->threads; }

void sky_queue_close(sky_queue *q)
{
    if (!q)
        return;
    pthread_mutex_lock(&q->lock);
    q->quit = 1;
    pthread_cond_broadcast(&q->work);
    pthread_mutex_unlock(&q->lock);
    for (int i = 0; i < q->threads; i++)
        pthread_join(q->id[i], NULL);
    pthread_cond_destroy(&q->work);
    pthread_cond_destroy(&q->done);
    pthread_mutex_destroy(&q->lock);
    sky_free(q->id);
    sky_free(q->slot);
    sky_free(q);
}
