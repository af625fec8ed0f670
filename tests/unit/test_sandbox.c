/* Behind the walls: each test is a process of its own that closes them and then tries what a hostile model would. */

#include "server/engine/sandbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { FINE = 0, BROKEN = 1, NOT_CLOSED = 2, MiB = 1 << 20 };

static const struct sandbox usual = {
	.memory_bytes = 256 * MiB, .cpu_seconds = 60, .file_bytes = 4 * MiB, .threads = 2, .files = 64};

/* The wait status of a process that closes the walls and does the deed. */
static int behind(const struct sandbox *s, int (*deed)(void))
{
	struct err e = ERR_INIT;
	int status;
	(void)fflush(NULL);
	pid_t pid = fork();
	if (pid == 0)
		_exit(sandbox_close(s, &e) < 0 ? NOT_CLOSED : deed());
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void assert_fine(int status)
{
	if (!WIFEXITED(status) || WEXITSTATUS(status) != FINE)
		fail_msg("status %x", (unsigned)status);
}

static int refused(long result)
{
	return result == -1 && (errno == EPERM || errno == EACCES || errno == ENOSYS) ? FINE : BROKEN;
}

/* ---- what a hostile model would try ---- */

static int deed_socket(void)
{
	return refused(socket(AF_INET, SOCK_STREAM, 0)) | refused(socket(AF_UNIX, SOCK_STREAM, 0));
}
static int deed_socketpair(void)
{
	int p[2];
	return refused(socketpair(AF_UNIX, SOCK_STREAM, 0, p));
}
static int deed_exec(void)
{
	char *argv[] = {(char[]){"true"}, NULL}, *env[] = {NULL};
	return refused(execve("/bin/true", argv, env)) | refused(syscall(SYS_execveat, AT_FDCWD, "/bin/true", argv, env, 0));
}
static int deed_spawn(void)
{
	pid_t pid;
	char *argv[] = {(char[]){"true"}, NULL}, *env[] = {NULL};
	return posix_spawn(&pid, "/bin/true", NULL, NULL, argv, env) == 0 ? BROKEN : FINE;
}
static int deed_fork(void)
{
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (pid == 0)
		_exit(0);
	return refused(pid);
}
static int deed_open_to_write(void)
{
	return refused(open("/tmp/seqmsed-sandbox-test", O_WRONLY | O_CREAT, 0600)) | refused(open(".", O_TMPFILE | O_RDWR, 0600)) |
	       refused(openat(AT_FDCWD, "/dev/null", O_WRONLY)) | refused(mkdir("/tmp/seqmsed-sandbox-test", 0700)) |
	       refused(unlink("/tmp/seqmsed-sandbox-test")) | refused(rename("/tmp/a", "/tmp/b")) | refused(truncate("/tmp/a", 0));
}
static int deed_open_to_read(void)
{
	return refused(open("/etc/passwd", O_RDONLY)) | refused(open("/proc/self/mem", O_RDWR)) |
	       refused(open("/proc/self/environ", O_RDONLY)) | refused(open(".", O_RDONLY | O_DIRECTORY));
}
static int deed_ptrace(void)
{
	unsigned char byte;
	struct iovec v = {&byte, 1};
	return refused(ptrace(PTRACE_ATTACH, getppid(), 0, 0)) | refused(syscall(SYS_process_vm_readv, getppid(), &v, 1, &v, 1, 0));
}
static int deed_signal(void)
{
	return refused(kill(getppid(), 0)) | refused(syscall(SYS_tgkill, getppid(), getppid(), 0));
}
static int deed_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *x = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return x == MAP_FAILED && p != MAP_FAILED ? refused(mprotect(p, 4096, PROT_READ | PROT_EXEC)) : BROKEN;
}
static int deed_escape(void)
{
	const struct rlimit none = {RLIM_INFINITY, RLIM_INFINITY};
	return refused(setrlimit(RLIMIT_AS, &none)) | refused(syscall(SYS_unshare, 0)) |
	       refused(syscall(SYS_io_uring_setup, 1, NULL)) | refused(syscall(SYS_bpf, 0, NULL, 0)) |
	       refused(syscall(SYS_memfd_create, "x", 0)) | refused(syscall(SYS_userfaultfd, 0)) | refused(chdir("/")) |
	       refused(setsid()) | refused(syscall(SYS_mount, NULL, NULL, NULL, 0, NULL));
}

static void hostile_calls_are_refused(void **state)
{
	static int (*const deeds[])(void) = {deed_socket, deed_socketpair,    deed_exec,         deed_spawn,
	                                     deed_fork,   deed_open_to_write, deed_open_to_read, deed_ptrace,
	                                     deed_signal, deed_code,          deed_escape};
	(void)state;
	if (SANDBOX_SANITIZED)
		skip();
	for (size_t i = 0; i < sizeof deeds / sizeof *deeds; i++) {
		int status = behind(&usual, deeds[i]);
		if (status != 0)
			fail_msg("deed %zu: status %x", i, (unsigned)status);
	}
}

/* What is refused in every build. */
static void sockets_and_programs_are_refused_under_sanitizers_too(void **state)
{
	(void)state;
	assert_fine(behind(&usual, deed_socket));
	assert_fine(behind(&usual, deed_exec));
}

/* ---- limits ---- */

static int deed_memory(void)
{
	size_t got = 0;
	for (; got < 4096; got++) {
		char *p = malloc(MiB);
		if (!p)
			break;
		memset(p, 1, MiB);
	}
	return got < 300 ? FINE : BROKEN;
}
static int deed_one_gib(void)
{
	void *volatile p = malloc((size_t)1088 * MiB); /* what a 167-byte model makes a runtime ask for */
	return p == NULL ? FINE : BROKEN;
}

static void memory_is_limited(void **state)
{
	const struct sandbox s = {.memory_bytes = 256 * MiB};
	(void)state;
	if (SANDBOX_SANITIZED)
		skip(); /* watched, not limited */
	assert_fine(behind(&s, deed_memory));
	assert_fine(behind(&s, deed_one_gib));
}

static int spill = -1;

static int deed_large_file(void)
{
	static char block[MiB];
	for (int i = 0; i < 4; i++)
		if (write(spill, block, MiB) != MiB)
			return BROKEN;
	return write(spill, block, MiB) == -1 && errno == EFBIG ? FINE : BROKEN;
}

static void files_are_limited(void **state)
{
	(void)state;
	spill = open("/tmp", O_TMPFILE | O_RDWR, 0600);
	assert_true(spill >= 0);
	assert_fine(behind(&usual, deed_large_file));
	(void)close(spill);
}

static int deed_spin(void)
{
	for (volatile unsigned i = 0;; i++)
		;
	return BROKEN;
}

static void processor_time_is_limited(void **state)
{
	const struct sandbox s = {.cpu_seconds = 1};
	(void)state;
	int status = behind(&s, deed_spin);
	assert_true(WIFSIGNALED(status) && (WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGKILL));
}

static int deed_descriptors(void)
{
	int last = -1;
	for (int i = 0; i < 100; i++) {
		int fd = fcntl(1, F_DUPFD, 0);
		last = fd < 0 ? last : fd;
	}
	return last == 63 ? FINE : BROKEN;
}

static int deed_abort(void)
{
	abort();
}

static void descriptors_are_limited_and_no_core_is_left(void **state)
{
	(void)state;
	assert_fine(behind(&usual, deed_descriptors));
	int status = behind(&usual, deed_abort);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && !WCOREDUMP(status));
}

/* ---- what a search needs ---- */

static void *add_one(void *arg)
{
	char *p = malloc(100);
	*(int *)arg += p != NULL;
	free(p);
	return NULL;
}

static int deed_work(void)
{
	pthread_t t[4];
	int sum[4] = {0};
	struct timespec now;
	for (int i = 0; i < 4; i++)
		if (pthread_create(&t[i], NULL, add_one, &sum[i]) != 0)
			return BROKEN;
	for (int i = 0; i < 4; i++)
		if (pthread_join(t[i], NULL) != 0 || sum[i] != 1)
			return BROKEN;
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return pwrite(spill, "x", 1, 0) == 1 && lseek(spill, 0, SEEK_END) == 1 ? FINE : BROKEN;
}

/* A thread that starts behind the walls has them, too. */
static void *try_socket(void *arg)
{
	*(int *)arg = refused(socket(AF_INET, SOCK_STREAM, 0));
	return NULL;
}

static int deed_thread_socket(void)
{
	pthread_t t;
	int rc = BROKEN;
	return pthread_create(&t, NULL, try_socket, &rc) == 0 && pthread_join(t, NULL) == 0 ? rc : BROKEN;
}

static void threads_and_open_files_work(void **state)
{
	(void)state;
	spill = open("/tmp", O_TMPFILE | O_RDWR, 0600);
	assert_fine(behind(&usual, deed_work));
	assert_fine(behind(&usual, deed_thread_socket));
	(void)close(spill);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hostile_calls_are_refused),
		cmocka_unit_test(sockets_and_programs_are_refused_under_sanitizers_too),
		cmocka_unit_test(memory_is_limited),
		cmocka_unit_test(files_are_limited),
		cmocka_unit_test(processor_time_is_limited),
		cmocka_unit_test(descriptors_are_limited_and_no_core_is_left),
		cmocka_unit_test(threads_and_open_files_work),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
