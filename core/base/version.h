#ifndef SEQMSE_VERSION_H
#define SEQMSE_VERSION_H

/* The version that files and answers name. The build passes it (VERSION in the Makefile); this one stands in where a source
 * file is compiled without it, as an editor's checker does. */

#ifndef SEQMSED_VERSION
#define SEQMSED_VERSION "0.1.0"
#endif

#endif
