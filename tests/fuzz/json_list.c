/* One of the original's JSON lists, laid over a small descriptor. No file it names exists. */
#include "data/plan.h"

#include <string.h>

static const char text[] = "dataset: l\nlayout: skysensepp-list\nfields:\n  hr: {role: image}\n  s2: {role: image}\n"
                           "  s1: {role: image}\n  label: {role: label}\ntypes:\n  potsdam: {classes: [{value: 1}]}\n";

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static sky_dataset *d;
    sky_err e;
    if (!d && sky_dataset_parse(&d, text, sizeof text - 1, "fuzz.yaml", NULL, NULL, &e))
        __builtin_trap();
    sky_plan *plan = sky_calloc(1, sizeof *plan);
    if (!plan)
        return 0;
    plan->d = d;
    int rc = sky_plan_list(plan, (const char *)p, n, "fuzz.json", "/nonexistent", &e);
    for (size_t i = 0; i < plan->n; i++) /* items before a bad record are whole */
        if (!plan->item[i].id || !*plan->item[i].id || (!rc && !plan->item[i].problem))
            __builtin_trap();
    char hash[65];
    sky_plan_hash(plan, hash);
    sky_plan_close(plan);
    return 0;
}
