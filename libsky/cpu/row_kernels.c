#define KERNELS sky_row_kernels_plain
#define SET "plain"
#include "cpu/row_kernels_impl.h"
