/* SPDX-License-Identifier: GPL-2.0-or-later */
/* roff - see roff.h. */
#include "roff.h"

#include <string.h>

enum { LINE_MAX_BYTES = 72 };

static void put_escaped(FILE *stream, const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		switch (text[i]) {
		case '\\': fputs("\\e", stream); break;
		case '-': fputs("\\-", stream); break;
		case '\'': fputs("\\(aq", stream); break;
		case '"': fputs("\\(dq", stream); break;
		case '~': fputs("\\(ti", stream); break;
		case '^': fputs("\\(ha", stream); break;
		default: fputc(text[i], stream); break;
		}
	}
}

void roff_word(FILE *stream, const char *text)
{
	put_escaped(stream, text, strlen(text));
}

/* A '.' at the beginning of a line would be a request. */
void roff_text(FILE *stream, const char *text)
{
	size_t column = 0;

	while (*text) {
		size_t n = strcspn(text, " \n");

		if (column && column + n + 1 > LINE_MAX_BYTES) {
			fputc('\n', stream);
			column = 0;
		}
		if (column)
			column += (size_t)fprintf(stream, " ");
		else if (*text == '.')
			fputs("\\&", stream);
		put_escaped(stream, text, n);
		column += n;
		text += n;
		text += strspn(text, " \n");
	}
	if (column)
		fputc('\n', stream);
}
