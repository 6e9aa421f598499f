/* init.h -- random values to start training from, a function of (seed, name) alone. */
#ifndef SKY_NN_INIT_H
#define SKY_NN_INIT_H

#include "nn/params.h"

/* How a parameter starts; init.c says which does and where that is from. */
typedef enum { SKY_INIT_VALUE, SKY_INIT_NORMAL, SKY_INIT_UNIFORM, SKY_INIT_EYE } sky_init_kind;
typedef struct {
    sky_init_kind kind;
    double a;        /* VALUE: that; NORMAL: standard deviation; UNIFORM: -a..a; EYE: the diagonal, normal 0.02 is added */
    int64_t columns; /* EYE: of the matrix; in a stack of square ones the diagonal begins again with each */
} sky_init;
/* The published starting values, or those for models that are much narrower and learn to match from nothing. */
typedef enum { SKY_INIT_PUBLISHED, SKY_INIT_MATCHING } sky_init_scheme;
sky_init sky_init_rule(sky_init_scheme s, const char *name, int ndim, const int64_t *shape);
/* Elements from..from+n-1. */
void sky_init_values(float *dst, const sky_init *r, uint64_t seed, const char *name, uint64_t from, uint64_t n);

/* Every parameter, in F32, in memory of its own. Values loaded before are dropped first. */
int sky_params_init(sky_params *ps, sky_init_scheme s, uint64_t seed, int threads, sky_err *e) SKY_MUST_USE;

#endif
