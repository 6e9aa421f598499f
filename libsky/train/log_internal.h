/* log_internal.h -- what the log's files share. */
#ifndef SKY_TRAIN_LOG_INTERNAL_H
#define SKY_TRAIN_LOG_INTERNAL_H

#include "base/err.h"

/* All n bytes to fd; path: for the message. */
int sky_log_put(int fd, const void *p, size_t n, const char *path, sky_err *e) SKY_MUST_USE;

#endif
