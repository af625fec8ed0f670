#include "server/http/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 512 };

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un local;
};

static int bind_and_listen(const union address *a, socklen_t len, const char *spec, struct err *e)
{
	const int on = 1;
	int fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(e, errno, "a socket");
	if (a->any.sa_family != AF_UNIX)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, &a->any, len) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	err_errno(e, errno, "listening on %s", spec);
	(void)close(fd);
	return -1;
}

/* A socket that nobody listens on any more may be replaced; anything else at the path is left alone. */
static int clear_path(const union address *a, const char *path, struct err *e)
{
	struct stat s;
	if (lstat(path, &s) < 0)
		return 0;
	if (!S_ISSOCK(s.st_mode))
		return err_set(e, ERR_USAGE, "%s exists and is no socket", path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(e, errno, "a socket");
	bool alive = connect(fd, &a->any, sizeof a->local) == 0;
	(void)close(fd);
	if (alive)
		return err_set(e, ERR_BAD_STATE, "another program listens on %s", path);
	(void)unlink(path);
	return 0;
}

static int open_local(const char *path, char shown[LISTEN_TEXT], struct err *e)
{
	union address a = {.local = {.sun_family = AF_UNIX}};
	if (path[0] == '\0' || strlen(path) >= sizeof a.local.sun_path)
		return err_set(e, ERR_USAGE, "the path of a unix socket must have 1 to %zu bytes", sizeof a.local.sun_path - 1);
	memcpy(a.local.sun_path, path, strlen(path) + 1);
	if (clear_path(&a, path, e) < 0)
		return -1;
	mode_t before = umask(0177);
	int fd = bind_and_listen(&a, sizeof a.local, path, e);
	(void)umask(before);
	(void)snprintf(shown, LISTEN_TEXT, "unix:%s", path);
	return fd;
}

/* Splits "host:port" or "[host]:port". */
static int split(const char *spec, char host[64], in_port_t *port, struct err *e)
{
	const char *colon = strrchr(spec, ':'), *from = spec, *to = colon;
	char *end;
	if (!colon)
		return err_set(e, ERR_USAGE, "--listen wants ADDRESS:PORT or unix:PATH, not %.100s", spec);
	if (*from == '[' && to > from && to[-1] == ']') {
		from++;
		to--;
	}
	long n = strtol(colon + 1, &end, 10);
	if (end == colon + 1 || *end || n < 0 || n > 65535 || to - from >= 64)
		return err_set(e, ERR_USAGE, "--listen %.100s: the port must be 0 to 65535", spec);
	(void)snprintf(host, 64, "%.*s", (int)(to - from), from);
	*port = htons((uint16_t)n);
	return 0;
}

/* 0: the address is on the loopback, or any one will do. */
static int parse(const char *spec, bool anywhere, union address *a, socklen_t *len, struct err *e)
{
	char host[64];
	in_port_t port = 0;
	if (split(spec, host, &port, e) < 0)
		return -1;
	const char *text = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
	memset(a, 0, sizeof *a);
	if (inet_pton(AF_INET, text, &a->v4.sin_addr) == 1 && (anywhere || ntohl(a->v4.sin_addr.s_addr) >> 24 == 127)) {
		a->v4.sin_family = AF_INET;
		a->v4.sin_port = port;
		*len = sizeof a->v4;
		return 0;
	}
	memset(a, 0, sizeof *a);
	if (inet_pton(AF_INET6, text, &a->v6.sin6_addr) == 1 && (anywhere || IN6_IS_ADDR_LOOPBACK(&a->v6.sin6_addr))) {
		a->v6.sin6_family = AF_INET6;
		a->v6.sin6_port = port;
		*len = sizeof a->v6;
		return 0;
	}
	return err_set(e, ERR_USAGE,
	               "--listen %.100s: an address beyond the loopback (127.0.0.1, [::1], localhost) is served only where there "
	               "are keys (seqmsed key add) "
	               "and with --allow-plain-http 1, and wants a number",
	               spec);
}

static void show(int fd, char shown[LISTEN_TEXT])
{
	union address a;
	socklen_t len = sizeof a;
	char host[INET6_ADDRSTRLEN] = "";
	memset(&a, 0, sizeof a);
	(void)getsockname(fd, &a.any, &len);
	if (a.any.sa_family == AF_INET6) {
		(void)inet_ntop(AF_INET6, &a.v6.sin6_addr, host, sizeof host);
		(void)snprintf(shown, LISTEN_TEXT, "http://[%s]:%d", host, ntohs(a.v6.sin6_port));
	} else {
		(void)inet_ntop(AF_INET, &a.v4.sin_addr, host, sizeof host);
		(void)snprintf(shown, LISTEN_TEXT, "http://%s:%d", host, ntohs(a.v4.sin_port));
	}
}

int listen_open(const char *spec, bool anywhere, char shown[LISTEN_TEXT], struct err *e)
{
	union address a;
	socklen_t len = 0;
	if (strncmp(spec, "unix:", 5) == 0)
		return open_local(spec + 5, shown, e);
	if (parse(spec, anywhere, &a, &len, e) < 0)
		return -1;
	int fd = bind_and_listen(&a, len, spec, e);
	if (fd >= 0)
		show(fd, shown);
	return fd;
}

void listen_forget(const char *spec)
{
	if (strncmp(spec, "unix:", 5) == 0)
		(void)unlink(spec + 5);
}
