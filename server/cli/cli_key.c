/* seqmsed key: who may use the daemon. Works beside a running one, on the state folder. */

#include "server/cli/cli.h"
#include "server/cli/cli_args.h"
#include "server/cli/cli_options.h"

#include "api/when.h"
#include "core/base/io.h"
#include "server/base/clock.h"
#include "server/config.h"
#include "server/http/keyring.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct key_call {
	const char *words[2]; /* what to do, and with whom */
	size_t nwords;
	const char *scopes, *expires;
	char *state;
};

static int read_words(struct key_call *c, int argc, char **argv, struct err *e)
{
	struct cli_args a;
	cli_args_init(&a, argc, argv);
	while (cli_args_next(&a)) {
		const char *value = NULL;
		if (!a.flag[0]) {
			if (c->nwords == 2)
				return err_set(e, ERR_USAGE, "one word too many: %.100s", a.word);
			c->words[c->nwords++] = a.word;
			continue;
		}
		if (cli_args_value(&a, &value, e) < 0)
			return -1;
		if (strcmp(a.flag, "scope") == 0)
			c->scopes = value;
		else if (strcmp(a.flag, "expires") == 0)
			c->expires = value;
		else if (strcmp(a.flag, "state-dir") == 0) {
			free(c->state);
			c->state = strdup(value);
		} else
			return err_set(e, ERR_USAGE, "key does not know %.100s", a.word);
	}
	return c->state ? 0 : config_state_dir(&c->state, e);
}

/* "90d" from now, in milliseconds; NULL: never. */
static int expiry(const char *text, int64_t *at, struct err *e)
{
	static const char units[] = "mhd";
	static const int64_t seconds[] = {60, 3600, 86400};
	char *end;
	*at = 0;
	if (!text)
		return 0;
	long n = strtol(text, &end, 10);
	const char *unit = *end ? strchr(units, *end) : NULL;
	if (end == text || n <= 0 || n > 100000 || !unit || end[1])
		return err_set(e, ERR_USAGE, "--expires takes a number and d, h or m, as in 90d, not %.40s", text);
	*at = clock_ms() + n * seconds[unit - units] * 1000;
	return 0;
}

static int add(struct keyring *k, const struct key_call *c, struct err *e)
{
	char text[KEY_TEXT + 1];
	int64_t expires_at;
	unsigned scopes;
	if (!keyring_scopes_parse(c->scopes ? c->scopes : "read,submit", &scopes))
		return err_set(e, ERR_USAGE, "--scope takes read, submit and admin, with commas between, not %.60s", c->scopes);
	if (expiry(c->expires, &expires_at, e) < 0 || keyring_add(k, c->words[1], scopes, expires_at, text, e) < 0)
		return -1;
	(void)puts(text);
	return 0;
}

static void show_time(const char *what, int64_t at)
{
	char text[WHEN_TEXT];
	when_text(at, text);
	(void)printf("  %s %s", what, at ? text : "never");
}

static int list(struct keyring *k, struct err *e)
{
	struct keyring_entry *x;
	size_t n;
	if (keyring_list(k, &x, &n, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		char scopes[32];
		keyring_scopes_text(x[i].scopes, scopes);
		(void)printf("%s  %-20s  %-17s", x[i].id, x[i].owner, scopes);
		show_time("made", x[i].created_at);
		show_time("used", x[i].used_at);
		show_time(x[i].revoked_at ? "revoked" : "expires", x[i].revoked_at ? x[i].revoked_at : x[i].expires_at);
		(void)putchar('\n');
	}
	free(x);
	return 0;
}

static int rotate(struct keyring *k, const char *id, struct err *e)
{
	char text[KEY_TEXT + 1];
	if (keyring_rotate(k, id, text, e) < 0)
		return -1;
	(void)puts(text);
	return 0;
}

static int run(struct keyring *k, const struct key_call *c, struct err *e)
{
	const char *what = c->words[0];
	if (strcmp(what, "list") == 0)
		return list(k, e);
	if (strcmp(what, "add") == 0)
		return add(k, c, e);
	return strcmp(what, "revoke") == 0 ? keyring_revoke(k, c->words[1], e) : rotate(k, c->words[1], e);
}

/* Whether the words are one of the four forms. */
static bool is_call(const struct key_call *c)
{
	static const char *const with_word[] = {"add", "revoke", "rotate"};
	if (c->nwords == 1)
		return strcmp(c->words[0], "list") == 0;
	for (size_t i = 0; c->nwords == 2 && i < 3; i++)
		if (strcmp(c->words[0], with_word[i]) == 0)
			return true;
	return false;
}

int cli_key(int argc, char **argv)
{
	struct key_call c = {.state = NULL};
	struct keyring *k = NULL;
	struct err e = ERR_INIT;
	if (cli_args_want_help(argc, argv)) {
		cli_options_help("key");
		return 0;
	}
	int rc = read_words(&c, argc, argv, &e);
	if (rc == 0 && !is_call(&c))
		rc = err_set(&e, ERR_USAGE, "seqmsed key add NAME, list, revoke ID, or rotate ID; seqmsed key --help tells more");
	bool add = c.words[0] && strcmp(c.words[0], "add") == 0;
	if (rc == 0 && add && io_make_folder(c.state, 0700) < 0)
		rc = err_errno(&e, errno, "making the folder %s", c.state);
	if (rc == 0)
		k = keyring_open(c.state, add, &e);
	rc = k ? run(k, &c, &e) : -1;
	keyring_close(k);
	free(c.state);
	return rc == 0 ? 0 : cli_fail(&e);
}
