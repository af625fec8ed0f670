#ifndef SEQMSED_SANDBOX_H
#define SEQMSED_SANDBOX_H

/* The walls around an engine child. It comes with nothing but the descriptors that it needs; sandbox_close() then takes away, for good
 * and for every thread that starts later, what a search has no use for:
 *
 *     seccomp      a list of calls that may be made: memory, threads, clocks, reading and writing of open descriptors. Everything else
 *                  fails with EPERM: opening any file, sockets, programs, other processes, ptrace, code in writable memory
 *     Landlock     no path, port or signal to others, where the kernel has it: a second wall, should the first have a hole
 *     rlimits      memory, processor time, size of the spill file, descriptors, no core file
 *     no_new_privs
 *
 * So libraries are loaded and have looked at the machine before it is closed; threads may start after it, because it closes for the calling
 * thread and its heirs. Sanitizer builds need to read /proc and to trace themselves: there the list is longer, Landlock is left out, and
 * memory is not limited here (addresses are used up by shadows), but watched by server/engine/beat.h. On processors other than x86-64 and aarch64
 * there is no seccomp list.
 */

#include "core/base/err.h"

#include <stdint.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANDBOX_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANDBOX_SANITIZED 1
#endif
#endif
#ifndef SANDBOX_SANITIZED
#define SANDBOX_SANITIZED 0
#endif

struct sandbox {
	int64_t memory_bytes; /* on top of what the process has when it is closed, without its threads' stacks; 0: unlimited, as in the rest */
	int64_t cpu_seconds;
	int64_t file_bytes; /* of the largest file that it writes */
	int64_t threads;    /* that will be started */
	int files;          /* descriptors that may be open */
};

/* By the only thread. A failure leaves the process half closed: it should end. */
int sandbox_close(const struct sandbox *s, struct err *e);

#endif
