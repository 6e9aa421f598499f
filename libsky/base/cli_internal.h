/* cli_internal.h -- shared by cli.c, signals.c and progress.c only. */
#ifndef SKY_BASE_CLI_INTERNAL_H
#define SKY_BASE_CLI_INTERNAL_H

void sky_signals_begin(void);
void sky_print_line(const char *prog, const char *msg); /* "prog: msg" on stderr, control characters replaced */

#endif
