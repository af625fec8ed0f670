/* Any bytes as a model: the pre-scan says yes or no; what it lets pass can be opened, or is refused, and its layers can be listed. */

#include "core/base/err.h"
#include "core/onnx/onnx_model.h"
#include "core/onnx/onnx_prescan.h"
#include "core/workflow/inspect.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void open_model(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	struct buf out = BUF_INIT;
	struct json_out w;
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	struct onnx_model *m = onnx_model_open_fd(fd, "fuzz", &e);
	json_out_init(&w, &out, 0);
	if (m)
		(void)inspect_json(m, &w, NULL, &e);
	buf_fini(&out);
	onnx_model_free(m);
	(void)close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	int rc = onnx_prescan(data, size, &e);
	if ((rc == 0) != (e.code == ERR_NONE) ||
	    (rc < 0 && e.code != ERR_NOT_ONNX && e.code != ERR_UNSUPPORTED_GRAPH && e.code != ERR_MEMORY))
		abort(); /* a refusal has one of these codes */
	if (rc == 0)
		open_model(data, size);
	return 0;
}
