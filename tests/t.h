/* t.h -- TAP output for the C tests (run with prove). END() gives the exit status. */
#ifndef SKY_TESTS_T_H
#define SKY_TESTS_T_H

#include <stdio.h>

static int t_n, t_bad;

#define OK(c, ...)                                                   \
    do {                                                             \
        int ok_ = (c);                                               \
        t_bad += !ok_;                                               \
        printf("%sok %d - ", ok_ ? "" : "not ", ++t_n);              \
        printf(__VA_ARGS__);                                         \
        if (ok_)                                                     \
            printf("\n");                                            \
        else                                                         \
            printf("\n# %s:%d: %s\n", __FILE__, __LINE__, #c);       \
        fflush(stdout);                                              \
    } while (0)
#define SKIP(why, what) printf("ok %d - %s # SKIP %s\n", ++t_n, what, why)
#define END() (printf("1..%d\n", t_n), t_bad != 0)

#endif
