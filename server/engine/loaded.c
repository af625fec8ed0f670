#include "server/engine/loaded.h"

#include "core/base/json.h"
#include "server/store/blob.h"
#include "server/store/store.h"
#include "server/store/store_job.h"
#include "server/store/store_object.h"

#include <stdlib.h>
#include <string.h>

static int open_job(struct store *s, const struct api_caller *who, const char *id, struct err *e)
{
	struct api_artifact x;
	if (store_job_artifact(s, who, id, encodings_file_name(ENCODINGS_1_0_0), &x, e) < 0)
		return e->code == ERR_NOT_FOUND
		               ? err_set(e, ERR_BAD_PARAM, "/load_encodings: there is no job %.40s that has succeeded", id)
		               : -1;
	int fd = blob_open(store_blobs(s), x.sha256, NULL, e);
	free(x.name);
	free(x.media_type);
	return fd;
}

static int open_upload(struct store *s, const struct api_caller *who, const char *id, struct err *e)
{
	struct api_object x;
	if (store_object_get(s, who, API_ENCODINGS, id, &x, e) < 0)
		return e->code == ERR_NOT_FOUND ? err_set(e, ERR_BAD_PARAM, "/load_encodings: there is no encodings file %.40s", id)
		                                : -1;
	int fd = blob_open(store_blobs(s), x.sha256, NULL, e);
	api_object_fini(&x);
	return fd;
}

int loaded_open(struct store *s, const struct api_caller *who, const struct params *p, int *fd, struct err *e)
{
	*fd = -1;
	if (!p->load_encodings || p->load_encodings[0] != '"')
		return 0;
	struct json *v = json_parse(p->load_encodings, strlen(p->load_encodings), e);
	const char *id = json_text(v);
	if (id)
		*fd = (strncmp(id, "enc_", 4) == 0 ? open_upload : open_job)(s, who, id, e);
	json_free(v);
	return *fd < 0 ? -1 : 0;
}
