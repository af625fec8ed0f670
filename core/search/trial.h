#ifndef SEQMSE_TRIAL_H
#define SEQMSE_TRIAL_H

/* A layer with made-up weights on made-up numbers, to see how long its evidence takes (evidence.h): for the machine's rates, and for the bench. */

#include "core/search/evidence.h"

enum { TRIAL_CANDIDATES = 20 };

/* A convolution of groups groups over square pictures, padded so that a stride of 1 keeps their size; with the kernel TRIAL_ROWS, a matrix times as many
 * rows of channels numbers as those have pixels. */
enum { TRIAL_ROWS = 0 };
struct trial_shape {
	int64_t images, channels, size, groups, kernel, stride;
};

struct trial {
	struct patches_input in;
	float *x, *weights; /* [fan_in]: one vector's, which stands for all */
};

/* To be closed also when it fails. */
int trial_open(struct trial *t, const struct trial_shape *s, struct err *e);
void trial_close(struct trial *t);

/* What is done: the evidence, and of `vectors` vectors a group TRIAL_CANDIDATES candidates each (0: none). */
struct trial_work {
	enum evidence_strategy strategy;
	enum loss_fn loss;
	int64_t vectors;
};

/* Processor seconds, for others may use the machine too, of each of the engine's threads. add and ask are the second batch's and the second question's:
 * what all share is made at the first. */
struct trial_seconds {
	double add, finish, ask;
};

int trial_run(struct trial *t, const struct trial_work *work, struct tiles *tiles, struct trial_seconds *out, struct err *e);

#endif
