#include "server/base/id.h"

#include "core/base/hex.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* The last id's time in milliseconds and its 12-bit counter; both under the lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t last_ms;
static unsigned last_count;

static int random_bytes(void *out, size_t len, struct err *e)
{
	char *p = out;
	while (len > 0) {
		ssize_t n = getrandom(p, len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(e, errno, "getrandom");
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Time that never runs backwards, and a counter inside its millisecond; a full counter borrows the next millisecond. */
static uint64_t next_tick(unsigned *count)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_REALTIME, &t);
	uint64_t now = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
	pthread_mutex_lock(&lock);
	if (now > last_ms) {
		last_ms = now;
		last_count = 0;
	} else if (++last_count > 0xfff) {
		last_ms++;
		last_count = 0;
	}
	now = last_ms;
	*count = last_count;
	pthread_mutex_unlock(&lock);
	return now;
}

int id_new(const char *prefix, char id[ID_MAX + 1], struct err *e)
{
	unsigned char u[16];
	unsigned count;
	if (random_bytes(u, sizeof u, e) < 0)
		return -1;
	uint64_t ms = next_tick(&count);
	for (int i = 0; i < 6; i++)
		u[i] = (unsigned char)(ms >> (40 - 8 * i));
	u[6] = (unsigned char)(0x70 | count >> 8);
	u[7] = (unsigned char)count;
	u[8] = (unsigned char)((u[8] & 0x3f) | 0x80);
	size_t n = strlen(prefix);
	if (n + 32 > ID_MAX)
		return err_set(e, ERR_INTERNAL, "the prefix %s is too long", prefix);
	memcpy(id, prefix, n);
	hex_encode(u, sizeof u, id + n);
	return 0;
}

int id_random(char text[33], struct err *e)
{
	unsigned char u[16];
	if (random_bytes(u, sizeof u, e) < 0)
		return -1;
	hex_encode(u, sizeof u, text);
	return 0;
}
