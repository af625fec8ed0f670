#ifndef SEQMSE_FINGERPRINT_H
#define SEQMSE_FINGERPRINT_H

/* What a result depends on, as one digest: equal fingerprints, equal results (on one type of processor). */

#include "core/base/sha256.h"
#include "core/workflow/params.h"

/* Of the program's and the runtime's versions, the digests of model and data, and every setting but those that change only the time. */
int fingerprint_of(const char *runtime, const char *model, const char *data, const struct params *p, char out[SHA256_HEX + 1],
                   struct err *e);

#endif
