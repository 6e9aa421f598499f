/* cli_internal.h -- shared by cli.c and signals.c only. */
#ifndef SKY_BASE_CLI_INTERNAL_H
#define SKY_BASE_CLI_INTERNAL_H

void sky_signals_begin(void);

#endif
