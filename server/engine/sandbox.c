#include "server/engine/sandbox.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* ---- limits ---- */

enum { THREAD_BYTES = (64 + 8 + 1) << 20 }; /* of addresses: malloc's reserve for a thread, its stack, and what lies between */

static int limit(unsigned what, int64_t value, const char *name, struct err *e)
{
	struct rlimit now, new = {(rlim_t)value, (rlim_t)value};
	if (getrlimit(what, &now) < 0)
		return err_errno(e, errno, "the limit of %s", name);
	if (now.rlim_max != RLIM_INFINITY && new.rlim_max > now.rlim_max)
		new.rlim_max = new.rlim_cur = now.rlim_max; /* the administrator's is smaller */
	return setrlimit(what, &new) < 0 ? err_errno(e, errno, "the limit of %s", name) : 0;
}

/* Bytes of addresses that the process uses now. */
static int64_t address_space(void)
{
	long long pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	if (!f)
		return 0;
	if (fscanf(f, "%lld", &pages) != 1)
		pages = 0;
	(void)fclose(f);
	return (int64_t)pages * sysconf(_SC_PAGESIZE);
}

static int set_limits(const struct sandbox *s, struct err *e)
{
	(void)signal(SIGXFSZ, SIG_IGN);                   /* a write beyond the limit fails with EFBIG instead */
	if (limit(RLIMIT_CORE, 0, "core files", e) < 0 || /* a core file would hold somebody's model */
	    (s->files && limit(RLIMIT_NOFILE, s->files, "descriptors", e) < 0) ||
	    (s->cpu_seconds && limit(RLIMIT_CPU, s->cpu_seconds, "processor time", e) < 0) ||
	    (s->file_bytes && limit(RLIMIT_FSIZE, s->file_bytes, "file sizes", e) < 0))
		return -1;
	int64_t rest = address_space() + s->threads * THREAD_BYTES;
	if (SANDBOX_SANITIZED || !s->memory_bytes || s->memory_bytes > INT64_MAX - rest)
		return 0;
	return limit(RLIMIT_AS, s->memory_bytes + rest, "memory", e);
}

/* ---- Landlock ---- */

/* As of the sixth version of the interface; older ones know a beginning of it. */
struct landlock {
	uint64_t files, ports, scopes;
};

/* Rules over everything that this kernel can refuse, with no exception. */
static int deny_paths(struct err *e)
{
	enum { ABI_VERSION = 1 };
	long abi = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, ABI_VERSION);
	if (abi < 1)
		return 0; /* not in this kernel, or switched off */
	const int file_rights = abi == 1 ? 13 : abi == 2 ? 14 : abi < 5 ? 15 : 16;
	const struct landlock all = {((uint64_t)1 << file_rights) - 1, abi < 4 ? 0 : 3, abi < 6 ? 0 : 3};
	int rules = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0);
	if (rules < 0)
		return err_errno(e, errno, "Landlock");
	int rc = syscall(SYS_landlock_restrict_self, rules, 0) < 0 ? err_errno(e, errno, "Landlock") : 0;
	(void)close(rules);
	return rc;
}

/* ---- seccomp ---- */

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

#ifdef ARCHITECTURE

/* What may be called with any arguments. */
static const int allowed[] = {
	/* open descriptors */
	SYS_read,
	SYS_readv,
	SYS_pread64,
	SYS_preadv,
	SYS_write,
	SYS_writev,
	SYS_pwrite64,
	SYS_pwritev,
	SYS_lseek,
	SYS_close,
	SYS_fstat,
	SYS_newfstatat, /* what fstat() calls; it tells of files, it does not open them */
	SYS_fallocate,
	SYS_fadvise64,
	SYS_ftruncate,
	SYS_fadvise64,
	SYS_fcntl,
	SYS_ppoll,
#ifdef SYS_poll
	SYS_poll,
#endif
	/* memory */
	SYS_munmap,
	SYS_mremap,
	SYS_madvise,
	SYS_brk,
	SYS_mincore,
	/* threads */
	SYS_futex,
	SYS_set_robust_list,
	SYS_get_robust_list,
	SYS_rseq,
	SYS_exit,
	SYS_exit_group,
	SYS_gettid,
	SYS_getpid,
	SYS_getppid,
	SYS_sched_yield,
	SYS_sched_getaffinity,
	SYS_sched_setaffinity,
	SYS_membarrier,
	SYS_getcpu,
	/* signals to itself */
	SYS_rt_sigaction,
	SYS_rt_sigprocmask,
	SYS_rt_sigreturn,
	SYS_sigaltstack,
	SYS_restart_syscall,
	/* clocks and figures */
	SYS_clock_gettime,
	SYS_clock_getres,
	SYS_clock_nanosleep,
	SYS_nanosleep,
	SYS_gettimeofday,
	SYS_getrandom,
	SYS_getrusage,
	SYS_sysinfo,
	SYS_uname,
#if SANDBOX_SANITIZED
	/* a report reads /proc and other files, and the search for leaks traces its own threads */
	SYS_openat,
	SYS_readlinkat,
	SYS_getdents64,
	SYS_ptrace,
	SYS_wait4,
	SYS_clone,
	SYS_mmap,
	SYS_mprotect,
	SYS_prctl,
	SYS_pipe2,
	SYS_prlimit64,
	SYS_getuid,
	SYS_geteuid,
	SYS_ioctl,
	SYS_dup,
	SYS_kill,
	SYS_tgkill,
	SYS_getcwd,
	SYS_faccessat,
	SYS_msync,
	SYS_personality,
#ifdef SYS_open
	SYS_open,
	SYS_readlink,
	SYS_access,
	SYS_stat,
	SYS_fork,
	SYS_arch_prctl,
#endif
#endif
};

/* What may be called when an argument, under a mask, has a value. */
struct condition {
	int call, argument;
	uint32_t mask, value;
};

enum { CONDITIONS = 5, CONDITION_LENGTH = 6, ALLOWED = sizeof allowed / sizeof *allowed };
enum { MOST = 6 + 2 * ALLOWED + CONDITION_LENGTH * CONDITIONS + 2 + 1 };

struct program {
	struct sock_filter code[MOST];
	unsigned short n;
};

static void add(struct program *p, unsigned code, uint32_t k, unsigned char if_true, unsigned char if_false)
{
	p->code[p->n++] = (struct sock_filter){(uint16_t)code, if_true, if_false, k};
}

static void load(struct program *p, size_t offset)
{
	add(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void skip_unless(struct program *p, uint32_t value, unsigned char n)
{
	add(p, BPF_JMP | BPF_JEQ | BPF_K, value, 0, n);
}

static void answer(struct program *p, uint32_t action)
{
	add(p, BPF_RET | BPF_K, action, 0, 0);
}

/* Calls of another architecture have other numbers: x86's 32-bit ones, and x32, whose numbers have a bit of their own. */
static void check_architecture(struct program *p)
{
	load(p, offsetof(struct seccomp_data, arch));
	add(p, BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0);
	answer(p, SECCOMP_RET_KILL_PROCESS);
	load(p, offsetof(struct seccomp_data, nr));
	add(p, BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1);
	answer(p, SECCOMP_RET_KILL_PROCESS);
}

/* Little-endian: an argument's lower half comes first. Of these arguments the kernel, too, looks at that half only. */
static void check_condition(struct program *p, const struct condition *c)
{
	skip_unless(p, (uint32_t)c->call, CONDITION_LENGTH - 1);
	load(p, offsetof(struct seccomp_data, args) + 8 * (size_t)c->argument);
	add(p, BPF_ALU | BPF_AND | BPF_K, c->mask, 0, 0);
	skip_unless(p, c->value, 1);
	answer(p, SECCOMP_RET_ALLOW);
	answer(p, SECCOMP_RET_ERRNO | EPERM);
}

static void write_program(struct program *p)
{
	const struct condition conditions[CONDITIONS] = {
		{SYS_mmap, 2, PROT_EXEC, 0},
		{SYS_mprotect, 2, PROT_EXEC, 0},
		{SYS_clone, 0, CLONE_VM | CLONE_THREAD, CLONE_VM | CLONE_THREAD},
		{SYS_prctl, 0, UINT32_MAX, PR_SET_NAME},
		{SYS_tgkill, 0, UINT32_MAX, (uint32_t)getpid()}, /* abort() */
	};
	check_architecture(p);
	for (size_t i = 0; i < ALLOWED; i++) {
		skip_unless(p, (uint32_t)allowed[i], 1);
		answer(p, SECCOMP_RET_ALLOW);
	}
	for (size_t i = 0; i < CONDITIONS; i++)
		check_condition(p, &conditions[i]);
	/* Its flags lie in memory, where a filter cannot look; glibc then takes clone(). */
	skip_unless(p, SYS_clone3, 1);
	answer(p, SECCOMP_RET_ERRNO | ENOSYS);
	answer(p, SECCOMP_RET_ERRNO | EPERM);
}

static int deny_calls(struct err *e)
{
	struct program p = {.n = 0};
	write_program(&p);
	struct sock_fprog f = {p.n, p.code};
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &f) != 0 ? err_errno(e, errno, "seccomp")
	                                                                                         : 0;
}

#else

static int deny_calls(struct err *e)
{
	(void)e;
	return 0;
}

#endif

int sandbox_close(const struct sandbox *s, struct err *e)
{
	tzset(); /* the C library's time zone is a file, too */
	if (set_limits(s, e) < 0)
		return -1;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_errno(e, errno, "no_new_privs");
	if (!SANDBOX_SANITIZED && deny_paths(e) < 0)
		return -1;
	return deny_calls(e);
}
