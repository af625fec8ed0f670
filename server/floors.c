#include "server/floors.h"

#include "server/base/log.h"

#include <stdlib.h>
#include <string.h>

const struct floor floors[3] = {
	{"SQLite", "3.51.3 3.50.7 3.44.6",
         "with several connections, a checkpoint that meets a commit may damage the database; this daemon's one writing connection "
         "makes all checkpoints, "
         "which avoids it, so let no other program write to the file"},
	{"libmicrohttpd", "1.0.5",
         "it lets some malformed requests pass, and crashed on others; put a proxy in front where strangers can connect"},
	{"ONNX Runtime", "1.28.0",
         "models may make it read files and memory that are not theirs; engines are closed in and models looked over, but update "
         "it"},
};

enum { PARTS = 4 };

static void read_version(const char *text, long parts[PARTS])
{
	memset(parts, 0, PARTS * sizeof *parts);
	for (int i = 0; i < PARTS; i++) {
		char *end;
		parts[i] = strtol(text, &end, 10);
		if (end == text || *end != '.')
			return;
		text = end + 1;
	}
}

/* Negative, 0 or positive; of the first n parts. */
static long compare(const long *a, const long *b, int n)
{
	for (int i = 0; i < n; i++)
		if (a[i] != b[i])
			return a[i] - b[i];
	return 0;
}

bool floor_holds(const struct floor *f, const char *version)
{
	long have[PARTS], least[PARTS];
	read_version(version, have);
	for (const char *at = f->versions; at; at = strchr(at, ' ')) {
		bool first = at == f->versions;
		at += *at == ' ';
		read_version(at, least);
		if (compare(have, least, PARTS) >= 0 && (first || compare(have, least, 2) == 0))
			return true;
	}
	return false;
}

void floors_check(const char *sqlite, const char *libmicrohttpd, const char *onnxruntime)
{
	const char *const have[3] = {sqlite, libmicrohttpd, onnxruntime};
	for (size_t i = 0; i < sizeof floors / sizeof *floors; i++)
		if (have[i][0] && !floor_holds(&floors[i], have[i]))
			log_line(LOG_WARN, "an old library", "library", LOG_STR, floors[i].library, "version", LOG_STR, have[i],
			         "wanted", LOG_STR, floors[i].versions, "why", LOG_STR, floors[i].why);
}
