#ifndef SEQMSED_CLI_LINE_H
#define SEQMSED_CLI_LINE_H

/* The line of progress on a terminal, drawn over again and again on stderr:
 *
 *     search  42%  layer 17 of 53  1.3 layers/s  1:05 left  /block3/conv */

struct cli_line {
	const char *phase; /* or a status */
	const char *where; /* ", number 3 in the queue", or "" */
	double fraction;
	long long done, total; /* layers; total 0: not known */
	double per_second;     /* layers; 0: not known */
	double left;           /* seconds; less than 0: not known */
	const char *current;
};

/* Cut off where the terminal ends: a line that wraps cannot be drawn over. */
void cli_line_draw(const struct cli_line *l);
void cli_line_wipe(void);

#endif
