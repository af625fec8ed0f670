/* A configuration's text. What is refused says where; what is accepted has rules that can be looked up. */

#include "core/quantsim/quantsim_config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	char *text = strndup((const char *)data, size);
	if (!text)
		abort();
	struct quantsim_config *c = quantsim_config_new(text, &e);
	if (!c && (e.code != ERR_BAD_PARAM || !*e.msg))
		abort();
	for (size_t i = 0; c && i < c->nops; i++)
		if (!quantsim_config_op(c, c->ops[i].type))
			abort();
	for (size_t i = 0; c && i < c->ngroups; i++)
		if (c->groups[i].n < 2)
			abort();
	quantsim_config_free(c);
	free(text);
	return 0;
}
