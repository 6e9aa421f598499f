/* device_ops.h -- operations of one backend's table against another's: a case makes its inputs and calls one entry; it
 * runs on the CPU and on the device, and the results must agree. What is checked beside the values: nothing is written
 * behind a tensor, every element of a result is written (results start as NaN), the same bits when run again (under
 * emulation with threads and blocks in the other order). */
#ifndef SKY_TESTS_DEVICE_OPS_H
#define SKY_TESTS_DEVICE_OPS_H

#include "tensor/backend.h"

typedef struct {
    const sky_backend *be;
    sky_dev *dev;
    int absent;           /* the table has no such entry */
    int held, outs;
    sky_tensor t[48];     /* all tensors of the case */
    int out[8];           /* which of them are results */
    double tol[8];        /* largest |difference| / (|value| + largest |value|); 0: equal */
    int rc;
    sky_err e;
} run;

typedef void case_fn(run *r, const int64_t *s);
typedef struct {
    const char *name;
    case_fn *fn;
    int64_t s[10];
} op_case;

/* Inputs. The same name gives the same values on every device. */
sky_tensor put(run *r, sky_dtype t, int ndim, const int64_t *shape, const void *host);
sky_tensor rnd(run *r, const char *name, float scale, float offset, int ndim, const int64_t *shape);
sky_tensor whole(run *r, const char *name, int most, int ndim, const int64_t *shape); /* F32, whole numbers -most..most */
sky_tensor rounded(run *r, const char *name, float scale, int ndim, const int64_t *shape); /* BF16; whole when scale is */
sky_tensor bytes(run *r, const char *name, uint32_t below, int ndim, const int64_t *shape);
/* Results: NaN until written. tol as above. */
sky_tensor result(run *r, sky_dtype t, double tol, int ndim, const int64_t *shape);
sky_grad grad(run *r, int add, double tol, int ndim, const int64_t *shape); /* add: starts as whole numbers */
void also(run *r, const sky_tensor *t, double tol); /* an input that the operation changes is a result too */
#define S(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__}
#define CALL(r, op, ...) ((r)->absent = !(r)->be->op, (r)->rc = (r)->absent ? 0 : (r)->be->op((r)->dev, __VA_ARGS__, &(r)->e))

/* ended by a NULL name */
extern const op_case row_cases[], map_cases[], loss_cases[], product_cases[], attention_cases[], update_cases[];

/* replay.c, transit.c */
void replay_tests(const char *device, void (*ok)(int ok, const char *what));
void transit_tests(const char *device, void (*ok)(int ok, const char *what));

#endif
