#if defined(__x86_64__)
#define KERNELS sky_row_kernels_avx2
#define SET "avx2"
#include "cpu/row_kernels_impl.h"
#endif
