#include "server/engine/loaded.h"

#include "core/base/io.h"
#include "core/base/json.h"
#include "server/store/blob.h"
#include "server/store/store.h"
#include "server/store/store_job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int read_blob(struct blobs *b, const char *sha256, char **text, struct err *e)
{
	struct buf content = BUF_INIT;
	int fd = blob_open(b, sha256, NULL, e);
	if (fd < 0)
		return -1;
	int rc = io_read_rest(fd, &content) < 0 ? err_errno(e, errno, "reading encodings") : 0;
	(void)close(fd);
	if (rc == 0 && buf_failed(&content))
		rc = err_nomem(e, "loaded encodings");
	if (rc == 0)
		*text = content.data;
	else
		buf_fini(&content);
	return rc;
}

static int read_job(struct store *s, const struct api_caller *who, const char *id, char **text, struct err *e)
{
	struct api_artifact x;
	if (store_job_artifact(s, who, id, encodings_file_name(ENCODINGS_1_0_0), &x, e) < 0)
		return e->code == ERR_NOT_FOUND
		               ? err_set(e, ERR_BAD_PARAM, "/load_encodings: there is no job %.40s that has succeeded", id)
		               : -1;
	int rc = read_blob(store_blobs(s), x.sha256, text, e);
	free(x.name);
	free(x.media_type);
	return rc;
}

int loaded_read(struct store *s, const struct api_caller *who, const struct params *p, char **text, struct err *e)
{
	*text = NULL;
	if (!p->load_encodings || p->load_encodings[0] != '"')
		return 0;
	struct json *v = json_parse(p->load_encodings, strlen(p->load_encodings), e);
	int rc = v ? read_job(s, who, json_text(v), text, e) : -1;
	json_free(v);
	return rc;
}
