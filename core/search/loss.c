#include "core/search/loss.h"

#include <math.h>
#include <string.h>

/* The reference's, so that an error of zero has a loss. */
static const double SQNR_EPS = 1e-10;

static double decibels(double sum, int64_t positions)
{
	return 10 * log10((sum > 0 ? sum : 0) / (double)positions + SQNR_EPS);
}

double loss_of_batch(enum loss_fn f, double sum, int64_t positions)
{
	if (f != LOSS_SQNR)
		return sum;
	return positions ? decibels(sum, positions) : 0;
}

double loss_tolerance(enum loss_fn f, double sum, double tol, int64_t positions)
{
	if (f != LOSS_SQNR)
		return tol;
	if (!positions)
		return 0;
	double here = decibels(sum, positions);
	return fmax(here - decibels(sum - tol, positions), decibels(sum + tol, positions) - here);
}

bool loss_near(enum loss_fn f, double a, double b)
{
	const double near = 1e-5;
	if (f == LOSS_SQNR)
		return fabs(a - b) <= 10 * log10(1 + near);
	return fabs(a - b) <= near * fmin(fabs(a), fabs(b));
}

double loss_of_run(enum loss_fn f, double sum, int64_t terms)
{
	return f == LOSS_SQNR && terms ? sum / (double)terms : sum;
}

double loss_amount(enum loss_fn f, double loss)
{
	return f == LOSS_SQNR ? pow(10, loss / 10) : loss;
}

static const char *const names[] = {"mse", "l1", "sqnr"};

double loss_gain(double loss, double full)
{
	if (full > 0)
		return 1 - loss / full;
	return loss == 0 ? 0 : (double)NAN;
}

const char *loss_name(enum loss_fn f)
{
	return names[f];
}

int loss_find(const char *name)
{
	for (int i = 0; i < (int)(sizeof names / sizeof *names); i++)
		if (strcmp(name, names[i]) == 0)
			return i;
	return -1;
}
