/* Built without CUDA. */
#include "tensor/backend.h"

#include <stdio.h>

const sky_backend *sky_backend_cuda(void) { return NULL; }

void sky_cuda_version(char *buf, size_t n) { snprintf(buf, n, "CUDA: not built in\ncuBLAS: not built in\nNCCL: not built in\n"); }
