/* keep_going.c -- the reading loop of every tool that takes streams or shards: what damage costs. */
#include "format/stream.h"

int sky_reader_intact(sky_reader *r, sky_cli *c, sky_sample *s, sky_err *e)
{
    int rc;
    while ((rc = sky_reader_next(r, s, e)) < 0)
        if ((rc = sky_skip_damage(c, sky_reader_costs(r), e)) || sky_reader_stuck(r))
            break;
    return rc;
}
