/* SPDX-License-Identifier: GPL-2.0-or-later */
/* text - see text.h. */
#include "text.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "../message.h"

/* Three digits that matter: "1.23", "12.3", "123". */
static const char *digits(double value, const char *unit, char *text)
{
	int places = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;

	snprintf(text, TEXT_SIZE, "%.*f%s", places, value, unit);
	return text;
}

const char *text_bytes(double bytes, char *text)
{
	if (bytes < 1000)
		snprintf(text, TEXT_SIZE, "%.0f B", bytes);
	else if (bytes < 1e6)
		return digits(bytes / 1e3, " kB", text);
	else if (bytes < 1e9)
		return digits(bytes / 1e6, " MB", text);
	else
		return digits(bytes / 1e9, " GB", text);
	return text;
}

const char *text_rate(double bytes_per_second, char *text)
{
	if (bytes_per_second < 1) {
		snprintf(text, TEXT_SIZE, "0");
		return text;
	}
	text_bytes(bytes_per_second, text);
	strncat(text, "/s", TEXT_SIZE - strlen(text) - 1);
	return text;
}

const char *text_count(double n, char *text)
{
	if (n < 9999.5)
		snprintf(text, TEXT_SIZE, "%.0f", n);
	else if (n < 1e6)
		snprintf(text, TEXT_SIZE, "%.1fk", n / 1e3);
	else
		snprintf(text, TEXT_SIZE, "%.1fM", n / 1e6);
	return text;
}

const char *text_latency(double seconds, char *text)
{
	if (seconds <= 0)
		snprintf(text, TEXT_SIZE, "-");
	else if (seconds < 1)
		return digits(seconds * 1e3, " ms", text);
	else
		return digits(seconds, " s", text);
	return text;
}

const char *text_age(double seconds, char *text)
{
	unsigned long long minutes = seconds > 0 && seconds < 1e15 ? (unsigned long long)(seconds / 60) : 0;

	if (seconds < 60)
		snprintf(text, TEXT_SIZE, "%.0f s", seconds);
	else if (minutes < 24 * 60)
		snprintf(text, TEXT_SIZE, "%02llu:%02llu", minutes / 60, minutes % 60);
	else
		snprintf(text, TEXT_SIZE, "%llud %02llu:%02llu", minutes / 1440, minutes / 60 % 24, minutes % 60);
	return text;
}

void text_print(FILE *stream, const char *format, ...)
{
	char *line = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&line, format, args) < 0)
		line = NULL;
	va_end(args);
	if (!line)
		return;
	message_clean(line);
	fprintf(stream, "%s\n", line);
	free(line);
}

/* ---- tables ------------------------------------------------------------------------------ */

void table_init(struct table *table, const char *const heads[], unsigned int n_columns, unsigned int right)
{
	*table = (struct table){ .n_columns = n_columns, .right = right };
	table_row(table);
	for (unsigned int i = 0; i < n_columns; i++)
		table_set(table, i, "%s", heads[i]);
}

void table_deinit(struct table *table)
{
	free(table->cells);
}

void table_row(struct table *table)
{
	void *cells = reallocarray(table->cells, table->n_rows + 1, sizeof(*table->cells));

	if (!cells)
		return;
	table->cells = cells;
	memset(table->cells[table->n_rows++], 0, sizeof(*table->cells));
}

void table_set(struct table *table, unsigned int column, const char *format, ...)
{
	va_list args;

	if (!table->n_rows || column >= table->n_columns)
		return;
	va_start(args, format);
	vsnprintf(table->cells[table->n_rows - 1][column], TABLE_CELL, format, args);
	va_end(args);
	message_clean(table->cells[table->n_rows - 1][column]);
}

static size_t width_of(const struct table *table, unsigned int column)
{
	size_t width = 0;

	for (unsigned int i = 0; i < table->n_rows; i++)
		if (strlen(table->cells[i][column]) > width)
			width = strlen(table->cells[i][column]);
	return width;
}

void table_print(const struct table *table, FILE *stream)
{
	int widths[TABLE_COLUMNS];

	for (unsigned int j = 0; j < table->n_columns; j++)
		widths[j] = (int)width_of(table, j);
	for (unsigned int i = 0; i < table->n_rows; i++) {
		for (unsigned int j = 0; j < table->n_columns; j++) {
			int width = widths[j];
			const char *cell = table->cells[i][j];

			if (!width && j + 1 < table->n_columns)
				continue;
			if (table->right & (1u << j))
				fprintf(stream, "%*s", width, cell);
			else if (j + 1 < table->n_columns)
				fprintf(stream, "%-*s", width, cell);
			else
				fputs(cell, stream);
			fputs(j + 1 < table->n_columns ? "  " : "\n", stream);
		}
	}
}
