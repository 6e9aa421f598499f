#if defined(__x86_64__)
#define KERNELS sky_row_kernels_avx512
#define SET "avx512"
#include "cpu/row_kernels_impl.h"
#endif
