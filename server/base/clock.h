#ifndef SEQMSED_CLOCK_H
#define SEQMSED_CLOCK_H

/* The two clocks: wall time for what people read and what is stored, monotonic time for deadlines. Any thread. */

#include <stdint.h>

int64_t clock_ms(void);        /* milliseconds since 1970, UTC */
int64_t clock_steady_ms(void); /* milliseconds of a clock that never jumps */

#endif
