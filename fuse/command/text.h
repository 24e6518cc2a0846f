/* SPDX-License-Identifier: GPL-2.0-or-later */
/* text - numbers as people read them, and tables of words. */
#ifndef FUSE_COMMAND_TEXT_H
#define FUSE_COMMAND_TEXT_H

#include <stddef.h>
#include <stdio.h>

enum { TEXT_SIZE = 32, TABLE_COLUMNS = 14, TABLE_CELL = 192 };

/* Each writes at most TEXT_SIZE bytes and returns text. */
const char *text_rate(double bytes_per_second, char *text);  /* "120 MB/s", "0" */
const char *text_bytes(double bytes, char *text);            /* "312 MB" */
const char *text_count(double n, char *text);                /* "1.1k" */
const char *text_latency(double seconds, char *text);        /* "0.21 ms", "12 s", "-": none */
const char *text_age(double seconds, char *text);            /* "12 s", "00:41", "3d 04:12" */

/* text_print - as fprintf(3), of one line without its end. A name is what somebody has made it, and an answer what somebody
 * has written: what could command a terminal becomes '?'. */
void text_print(FILE *stream, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A table: rows of cells, printed with columns as wide as they must be. Numbers go right. */
struct table {
	char (*cells)[TABLE_COLUMNS][TABLE_CELL];
	unsigned int n_rows, n_columns;
	unsigned int right; /* bits: columns of numbers */
};
/* table_init - with its first row, the heads of the columns. */
void table_init(struct table *table, const char *const heads[], unsigned int n_columns, unsigned int right);
void table_deinit(struct table *table);
/* table_row - begin the next row, of empty cells. table_set - a cell of the last row; what could command a terminal
 * becomes '?'. Without memory the table stays as it is. */
void table_row(struct table *table);
void table_set(struct table *table, unsigned int column, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* table_print - columns that have neither head nor cell are left out. */
void table_print(const struct table *table, FILE *stream);

#endif
