/* levels.h -- a test at every instruction-set level this processor has; levels it lacks are skipped by name. */
#ifndef SKY_TESTS_LEVELS_H
#define SKY_TESTS_LEVELS_H

#include "cpu/cpuid.h"
#include "t.h"

static inline void at_every_level(void (*test)(const char *level))
{
    for (sky_cpu_level l = SKY_CPU_PORTABLE; l < SKY_CPU_LEVELS; l++) {
        if (l > sky_cpu_detect()) {
            SKIP("this processor does not have it", sky_cpu_level_name(l));
            continue;
        }
        sky_cpu_level_set(l);
        test(sky_cpu_level_name(l));
    }
}

#endif
