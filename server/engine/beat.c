#include "server/engine/beat.h"

#include "server/engine/frame.h"
#include "server/engine/sandbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { WATCH_MS = 100 };

static struct {
	int frames;
	int64_t rss_bytes;
} beat;

static double seconds(clockid_t clock)
{
	struct timespec t = {0, 0};
	(void)clock_gettime(clock, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int send_beat(void)
{
	char text[64];
	struct err ignored = ERR_INIT;
	int n = snprintf(text, sizeof text, "{\"cpu_seconds\": %.9f}",
	                 seconds(CLOCK_PROCESS_CPUTIME_ID) - seconds(CLOCK_THREAD_CPUTIME_ID));
	return frame_write(beat.frames, FRAME_BEAT, text, (size_t)n, &ignored);
}

static int64_t resident_bytes(void)
{
	long long size, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	if (!f)
		return 0;
	if (fscanf(f, "%lld %lld", &size, &resident) != 2)
		resident = 0;
	(void)fclose(f);
	return (int64_t)resident * sysconf(_SC_PAGESIZE);
}

static void watch_memory(void)
{
	static const char text[] =
		"{\"code\": \"out-of-memory-budget\", \"detail\": \"the job needs more memory than it may have\"}";
	struct err ignored = ERR_INIT;
	if (resident_bytes() <= beat.rss_bytes)
		return;
	(void)frame_write(beat.frames, FRAME_ERROR, text, sizeof text - 1, &ignored);
	_exit(0);
}

static void *beat_main(void *arg)
{
	const struct timespec pause = {0, WATCH_MS * 1000000};
	(void)arg;
	while (send_beat() == 0)
		for (int i = 0; i < BEAT_MS / WATCH_MS; i++) {
			(void)nanosleep(&pause, NULL);
			if (SANDBOX_SANITIZED && beat.rss_bytes)
				watch_memory();
		}
	return NULL; /* the supervisor is gone */
}

int beat_start(int frames, int64_t rss_bytes, struct err *e)
{
	pthread_t t;
	beat.frames = frames;
	beat.rss_bytes = rss_bytes;
	int rc = pthread_create(&t, NULL, beat_main, NULL);
	if (rc == 0)
		rc = pthread_detach(t);
	return rc ? err_errno(e, rc, "the engine's heartbeat") : 0;
}
