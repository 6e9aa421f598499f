/* A run's file, and what follows from it. */
#include "train/run.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    sky_run r;
    sky_err e;
    if (sky_run_parse(&r, (const char *)p, n, "fuzz.yaml", &e))
        return 0;
    sky_tensor t = {.ndim = 2};
    sky_param one = {.name = "backbone_hr.stages.2.blocks.5.attn.w_msa.proj.weight", .slot = &t};
    sky_params ps = {.v = &one, .n = 1};
    sky_rule rule;
    sky_run_rules(&r, &ps, &rule);
    for (uint64_t step = 0; step < 2000; step = 2 * step + 1) {
        double f = sky_schedule_factor(&r.schedule, step);
        if (!(f >= 0 && f <= 1))
            __builtin_trap();
        (void)(sky_run_validates(&r, step) + sky_run_checkpoints(&r, step) + sky_run_logs(&r, step));
    }
    sky_run_close(&r);
    return 0;
}
