#ifndef SEQMSED_CLI_DIGEST_H
#define SEQMSED_CLI_DIGEST_H

/* Digests of what a command line names, for a result's fingerprint. */

#include "core/base/sha256.h"
#include "core/data/arrays.h"

int cli_digest_file(const char *path, char out[SHA256_HEX + 1], struct err *e);

/* Of images that were opened: of their paths and bytes, whether they come out of a folder or an archive. */
int cli_digest_images(struct arrays *images, char out[SHA256_HEX + 1], struct err *e);

#endif
