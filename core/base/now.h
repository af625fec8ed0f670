#ifndef SEQMSE_NOW_H
#define SEQMSE_NOW_H

/* Seconds of a clock that nobody sets, to measure how long something took. */
double run_now(void);

/* Processor seconds of the whole process so far, user and system. */
double run_cpu_now(void);

#endif
