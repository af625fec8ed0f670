#include "server/engine/child.h"

#include "core/base/io.h"
#include "server/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where the libraries are found and which of their kernels are used (a child must compute what the command line computes), and what a sanitizer's build wants to know. Nothing else of the daemon's environment is inherited. */
static const char *const inherited[] = {"SEQMSED_ONNXRUNTIME", "SEQMSED_OPENBLAS", "OPENBLAS_CORETYPE",
                                        "LD_LIBRARY_PATH",     "ASAN_OPTIONS",     "UBSAN_OPTIONS",
                                        "TSAN_OPTIONS",        "LSAN_OPTIONS",     "LLVM_PROFILE_FILE"};
enum { INHERITED = sizeof inherited / sizeof *inherited };

/* Fills env with "NAME=value" texts, to be freed one by one. */
static int make_environment(char *env[INHERITED + 1], struct err *e)
{
	size_t n = 0;
	for (size_t i = 0; i < INHERITED; i++) {
		const char *v = getenv(inherited[i]);
		if (v && asprintf(&env[n], "%s=%s", inherited[i], v) < 0) {
			env[n] = NULL;
			return err_nomem(e, "an environment");
		}
		n += v != NULL;
	}
	return 0;
}

/* A file in memory with the request in it, at its beginning. */
static int make_request(const char *request, size_t len, struct err *e)
{
	int fd = memfd_create("request", MFD_CLOEXEC);
	if (fd >= 0 && io_pwrite(fd, request, len, 0) == 0)
		return fd;
	err_errno(e, errno, "a file for the engine's request");
	if (fd >= 0)
		(void)close(fd);
	return -1;
}

/* The descriptors of one start. All of ours lie at or above high, so that putting one in its place never overwrites another. */
struct wiring {
	int request, null, words, frames; /* the child's ends */
	int files[CHILD_MAX_FILES];
	size_t nfiles;
	int high;
};

static int raise_fd(struct wiring *w, int fd, struct err *e)
{
	int up = fcntl(fd, F_DUPFD_CLOEXEC, w->high);
	return up < 0 ? err_errno(e, errno, "a descriptor for the engine") : up;
}

static void close_wiring(struct wiring *w)
{
	int *const ends[] = {&w->request, &w->null, &w->words, &w->frames};
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
		if (*ends[i] >= 0)
			(void)close(*ends[i]);
	for (size_t i = 0; i < w->nfiles; i++)
		(void)close(w->files[i]);
}

/* A pipe: our end does not block and is left where it is, the child's end is raised. */
static int make_pipe(struct wiring *w, int *ours, int *theirs, struct err *e)
{
	int p[2];
	if (pipe2(p, O_CLOEXEC) < 0)
		return err_errno(e, errno, "a pipe for the engine");
	*ours = p[0];
	*theirs = raise_fd(w, p[1], e);
	(void)close(p[1]);
	if (*theirs < 0)
		return -1;
	return fcntl(p[0], F_SETFL, O_NONBLOCK) < 0 ? err_errno(e, errno, "a pipe for the engine") : 0;
}

static int make_wiring(struct wiring *w, struct child *c, const char *request, size_t len, const int *files, size_t nfiles,
                       struct err *e)
{
	int fd = make_request(request, len, e);
	if (fd < 0)
		return -1;
	w->request = raise_fd(w, fd, e);
	(void)close(fd);
	fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	w->null = fd < 0 ? err_errno(e, errno, "opening /dev/null") : raise_fd(w, fd, e);
	if (fd >= 0)
		(void)close(fd);
	if (w->request < 0 || w->null < 0 || make_pipe(w, &c->words, &w->words, e) < 0 ||
	    make_pipe(w, &c->frames, &w->frames, e) < 0)
		return -1;
	for (size_t i = 0; i < nfiles; i++) {
		w->files[w->nfiles] = raise_fd(w, files[i], e);
		if (w->files[w->nfiles] < 0)
			return -1;
		w->nfiles++;
	}
	return 0;
}

static int add_actions(posix_spawn_file_actions_t *a, const struct wiring *w, int empty)
{
	int rc = posix_spawn_file_actions_addfchdir_np(a, empty);
	const int fixed[] = {w->request, w->null, w->words, w->frames};
	for (int i = 0; rc == 0 && i < CHILD_FIRST_FILE; i++)
		rc = posix_spawn_file_actions_adddup2(a, fixed[i], i);
	for (size_t i = 0; rc == 0 && i < w->nfiles; i++)
		rc = posix_spawn_file_actions_adddup2(a, w->files[i], CHILD_FIRST_FILE + (int)i);
	/* Everything of ours is close-on-exec; this also closes what a library may have opened without it. */
	return rc ? rc : posix_spawn_file_actions_addclosefrom_np(a, CHILD_FIRST_FILE + (int)w->nfiles);
}

static int set_attributes(posix_spawnattr_t *a)
{
	sigset_t none, all;
	sigemptyset(&none);
	sigfillset(&all);
	int rc = posix_spawnattr_setpgroup(a, 0);
	rc = rc ? rc : posix_spawnattr_setsigmask(a, &none);
	rc = rc ? rc : posix_spawnattr_setsigdefault(a, &all);
	return rc ? rc : posix_spawnattr_setflags(a, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
}

static int spawn(struct child *c, const struct wiring *w, int empty, struct err *e)
{
	char *env[INHERITED + 1] = {NULL};
	char *argv[] = {(char[]){"seqmsed"}, (char[]){"engine"}, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	int rc = make_environment(env, e);
	if (rc == 0) {
		int n = add_actions(&actions, w, empty);
		n = n ? n : set_attributes(&attributes);
		n = n ? n : posix_spawn(&c->pid, "/proc/self/exe", &actions, &attributes, argv, env);
		rc = n ? err_errno(e, n, "starting the engine") : 0;
	}
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attributes);
	for (size_t i = 0; i < INHERITED; i++)
		free(env[i]);
	return rc;
}

static void close_ours(struct child *c)
{
	if (c->frames >= 0)
		(void)close(c->frames);
	if (c->words >= 0)
		(void)close(c->words);
	c->frames = c->words = -1;
}

int child_start(struct child *c, int empty, const char *request, size_t len, const int *files, size_t nfiles, struct err *e)
{
	memset(c, 0, sizeof *c);
	c->frames = c->words = -1;
	if (nfiles > CHILD_MAX_FILES)
		return err_set(e, ERR_UNSUPPORTED_GRAPH, "the model has more than %d external files", CHILD_MAX_FILES);
	struct wiring *w = calloc(1, sizeof *w);
	if (!w)
		return err_nomem(e, "an engine");
	w->request = w->null = w->words = w->frames = -1;
	w->high = CHILD_FIRST_FILE + (int)nfiles + 1;
	c->started = clock_steady_ms();
	int rc = make_wiring(w, c, request, len, files, nfiles, e);
	if (rc == 0)
		rc = spawn(c, w, empty, e);
	close_wiring(w);
	free(w);
	if (rc < 0)
		close_ours(c);
	return rc;
}

void child_listen(struct child *c)
{
	char chunk[CHILD_WORDS / 2];
	for (;;) {
		ssize_t n = read(c->words, chunk, sizeof chunk);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		size_t more = (size_t)n;
		if (c->nlast + more > sizeof c->last - 1) {
			size_t drop = c->nlast + more - (sizeof c->last - 1);
			memmove(c->last, c->last + drop, c->nlast - drop);
			c->nlast -= drop;
		}
		memcpy(c->last + c->nlast, chunk, more);
		c->nlast += more;
		c->last[c->nlast] = '\0';
	}
}

/* Waits until the child has closed its frames, as it does by ending. */
static void wait_for_end(struct child *c, int grace_ms)
{
	int64_t deadline = clock_steady_ms() + grace_ms;
	for (int64_t left = grace_ms; left > 0; left = deadline - clock_steady_ms()) {
		struct pollfd p[2] = {{.fd = c->frames, .events = 0}, {.fd = c->words, .events = POLLIN}};
		(void)poll(p, 2, (int)left);
		child_listen(c);
		if (p[0].revents)
			return;
	}
}

static void describe(int status, struct child_usage *u)
{
	u->clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	u->killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	if (WIFSIGNALED(status))
		(void)snprintf(u->how, sizeof u->how, "signal %d (%s)", WTERMSIG(status), sigdescr_np(WTERMSIG(status)));
	else
		(void)snprintf(u->how, sizeof u->how, "exit status %d", WEXITSTATUS(status));
}

void child_reap(struct child *c, int grace_ms, struct child_usage *u)
{
	struct rusage r;
	int status = 0;
	memset(&r, 0, sizeof r);
	memset(u, 0, sizeof *u);
	wait_for_end(c, grace_ms);
	(void)kill(-c->pid, SIGKILL); /* its whole group; one that has ended keeps its exit status */
	while (wait4(c->pid, &status, 0, &r) < 0 && errno == EINTR)
		;
	child_listen(c);
	describe(status, u);
	u->cpu_seconds = (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) + (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
	u->wall_seconds = (double)(clock_steady_ms() - c->started) / 1e3;
	u->peak_rss_bytes = (int64_t)r.ru_maxrss * 1024;
	close_ours(c);
}
