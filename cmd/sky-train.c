/* sky-train -- training. This build has the command line only: what it cannot do it says at once. */
#include "base/cli.h"

int main(int argc, char **argv)
{
    const sky_opt opts[] = {{0}};
    sky_cli cli = {.prog = "sky-train",
                   .summary = "train or fine-tune a model (not in this build)",
                   .usage = "sky-train --help | --version",
                   .details = "Training is not in this build: every other use ends with status 2.",
                   .opts = opts,
                   .extra_version = "training: not in this build\nCUDA: not built in\nNCCL: not built in\n" SKY_MPI_TEXT "\n"};
    int status = sky_cli_begin(&cli, argc, argv);
    if (status >= 0)
        return status;
    sky_err e = {0};
    return sky_cli_end(&cli, sky_fail(&e, SKY_EUSAGE, "training is not in this build"), &e);
}
