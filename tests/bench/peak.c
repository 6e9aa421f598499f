/* Prints what the register-resident loops of peak.h reach: GF/s per core by CPU time, all cores by wall time. */
#include "peak.h"

#include <stdio.h>

int main(void)
{
    sky_err e;
    sky_pool *pool;
    if (sky_pool_open(&pool, 0, &e)) {
        fprintf(stderr, "peak: %s\n", e.msg);
        return 4;
    }
    printf("%s, %d threads\n", sky_cpu_level_name(sky_cpu_level_get()), sky_pool_threads(pool));
    for (int bf16 = 0; bf16 < 2; bf16++)
        printf("%-4s  %6.1f GF/s per core (CPU time)  %6.1f GF/s all (wall)\n", bf16 ? "bf16" : "f32", peak_one_core(bf16, 40), peak_all_cores(pool, bf16, 10));
    sky_pool_close(pool);
    return 0;
}
