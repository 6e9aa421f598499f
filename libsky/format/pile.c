#include "format/pile.h"
#include "base/mem.h"

#include <pthread.h>

enum { SLOTS = 64, SMALLEST = 64 << 10 };
#define MOST ((uint64_t)256 << 20) /* bytes kept in all */

struct sky_pile {
    pthread_mutex_t lock;
    uint64_t bytes;
    int n;
    struct {
        void *p;
        uint64_t size;
    } slot[SLOTS];
};

sky_pile *sky_pile_new(void)
{
    sky_pile *p = sky_calloc(1, sizeof *p);
    if (p)
        pthread_mutex_init(&p->lock, NULL);
    return p;
}

void sky_pile_free(sky_pile *p)
{
    if (!p)
        return;
    for (int i = 0; i < p->n; i++)
        sky_free(p->slot[i].p);
    pthread_mutex_destroy(&p->lock);
    sky_free(p);
}

/* The smallest block that fits and is not more than half wasted. */
static void *find(sky_pile *p, uint64_t n)
{
    int best = -1;
    for (int i = 0; i < p->n; i++)
        if (p->slot[i].size >= n && p->slot[i].size / 2 <= n && (best < 0 || p->slot[i].size < p->slot[best].size))
            best = i;
    if (best < 0)
        return NULL;
    void *block = p->slot[best].p;
    p->bytes -= p->slot[best].size;
    p->slot[best] = p->slot[--p->n];
    return block;
}

void *sky_pile_take(sky_pile *p, uint64_t n)
{
    void *block = NULL;
    if (n >= SMALLEST) {
        pthread_mutex_lock(&p->lock);
        block = find(p, n);
        pthread_mutex_unlock(&p->lock);
    }
    return block ? block : sky_alloc(n);
}

void sky_pile_give(sky_pile *p, void *block, uint64_t n)
{
    int kept = 0;
    if (block && n >= SMALLEST) {
        pthread_mutex_lock(&p->lock);
        if ((kept = p->n < SLOTS && p->bytes + n <= MOST)) {
            p->slot[p->n].p = block;
            p->slot[p->n++].size = n;
            p->bytes += n;
        }
        pthread_mutex_unlock(&p->lock);
    }
    if (!kept)
        sky_free(block);
}
