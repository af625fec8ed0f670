#include "core/workflow/quantize_settings.h"

#include "core/quantsim/quantsim_config.h"

#include <string.h>

/* A name as it is, an object as its text. */
static int config_text(const struct json *v, struct buf *out, struct err *e)
{
	struct json_out w;
	if (!json_is_string(v) && !json_is_object(v))
		return err_set(e, ERR_BAD_PARAM, "expected the name of a configuration, or an object");
	json_out_init(&w, out, 0);
	if (json_is_string(v))
		buf_str(out, json_text(v));
	else
		json_out_value(&w, NULL, v);
	return buf_failed(out) ? err_nomem(e, "the configuration") : 0;
}

int quantize_check_config(const struct json *v, struct err *e)
{
	struct buf text = BUF_INIT;
	struct quantsim_config *c = config_text(v, &text, e) ? NULL : quantsim_config_new(text.data, e);
	int rc = c ? 0 : -1;
	quantsim_config_free(c);
	buf_fini(&text);
	return rc;
}

int quantize_quantsim_settings(const struct params *p, struct buf *config, struct quantsim_settings *out, struct err *e)
{
	*out = (struct quantsim_settings){.param_bw = (int)p->param_bw,
	                                  .output_bw = p->output_bw == PARAMS_FLOAT16 ? QUANT_MAX_BW : (int)p->output_bw,
	                                  .output_float16 = p->output_bw == PARAMS_FLOAT16};
	if (!p->config)
		return 0;
	struct json *v = json_parse(p->config, strlen(p->config), e);
	int rc = v ? config_text(v, config, e) : -1;
	json_free(v);
	out->config = config->data;
	return rc;
}

struct calibrate_settings quantize_calibrate_settings(const struct params *p)
{
	return (struct calibrate_settings){.scheme = (enum quant_scheme)p->quant_scheme,
	                                   .param_scheme = (enum quant_scheme)p->param_quant_scheme,
	                                   .percentile = p->percentile,
	                                   .degenerate = (enum degenerate_ranges)p->degenerate_ranges};
}

/* ---- evaluate ---- */

static int read_evaluate(const struct json *v, struct evaluate_settings *out, struct err *e)
{
	for (void *it = json_first(v); it; it = json_next(v, it)) {
		const char *key = json_key(it), *text = json_text(json_value(it));
		bool number = strcmp(key, "top_k") == 0, known = number || strcmp(key, "labels") == 0 ||
		                                                 strcmp(key, "metric") == 0 || strcmp(key, "output") == 0 ||
		                                                 strcmp(key, "calibration") == 0;
		if (!known)
			return err_set(e, ERR_UNKNOWN_FIELD, "/%.60s: there are labels, metric, output, top_k and calibration",
			               key);
		if (number ? !json_is_integer(json_value(it)) || json_int(json_value(it)) < 1 || json_int(json_value(it)) > 1000
		           : !text)
			return err_set(e, ERR_BAD_PARAM, "/%s: expected %s", key,
			               number ? "an integer from 1 to 1000" : "a string");
	}
	out->labels = json_text(json_get(v, "labels"));
	out->output = json_text(json_get(v, "output"));
	out->top_k = (int)json_int(json_get(v, "top_k"));
	const char *metric = json_text(json_get(v, "metric"));
	return metric && evaluate_metric_parse(metric, &out->metric, e) ? err_wrap(e, "/metric") : 0;
}

int quantize_check_evaluate(const struct json *v, struct err *e)
{
	struct evaluate_settings unused = {0};
	return json_is_object(v) ? read_evaluate(v, &unused, e) : err_set(e, ERR_BAD_PARAM, "expected an object");
}

int quantize_evaluate_settings(const struct params *p, struct json **tree, struct evaluate_settings *out, struct err *e)
{
	*out = (struct evaluate_settings){.inputs = p->inputs};
	*tree = p->evaluate ? json_parse(p->evaluate, strlen(p->evaluate), e) : NULL;
	return p->evaluate && (!*tree || read_evaluate(*tree, out, e)) ? -1 : 0;
}
