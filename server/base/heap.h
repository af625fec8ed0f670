#ifndef SEQMSED_HEAP_H
#define SEQMSED_HEAP_H

/* What the C library does with memory that is freed. By default its bounds move to the largest buffer that was freed; a process should say at its start which kind it is. */

/* Of a daemon: large buffers go back to the system at once, always; otherwise every thread's heap would keep holes of that size. */
void heap_gives_back(void);

/* Of a process that searches: every layer's matrices come and go, and what the system gives anew has to be cleared and mapped page by page. Up to 32 MiB a buffer stays. */
void heap_keeps(void);

#endif
