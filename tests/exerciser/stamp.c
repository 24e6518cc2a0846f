/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "model.h"

enum { WORD = 8, DIGITS = 4, DIGIT_BITS = 7, MARK = 0x80 };

static void put_number(uint8_t *bytes, uint32_t number)
{
	for (int i = 0; i < DIGITS; i++)
		bytes[i] = (uint8_t)(MARK | (number >> i * DIGIT_BITS & (MARK - 1)));
}

static bool get_number(const uint8_t *bytes, uint32_t *ret_number)
{
	uint32_t number = 0;

	for (int i = 0; i < DIGITS; i++) {
		if (!(bytes[i] & MARK))
			return false;
		number |= (uint32_t)(bytes[i] & (MARK - 1)) << i * DIGIT_BITS;
	}
	*ret_number = number;
	return true;
}

void stamp(uint8_t *data, uint32_t operation, uint64_t offset, uint64_t length)
{
	uint8_t word[WORD];
	uint64_t done = 0;

	put_number(word, operation);
	while (done < length) {
		uint64_t at = (offset + done) % WORD, n = WORD - at;

		if (n > length - done)
			n = length - done;
		put_number(word + DIGITS, (uint32_t)((offset + done) / WORD));
		memcpy(data + done, word + at, n);
		done += n;
	}
}

void stamp_describe(const uint8_t *word, char *text, size_t size)
{
	static const uint8_t zeros[WORD];
	uint32_t operation, place;

	if (memcmp(word, zeros, WORD) == 0)
		snprintf(text, size, "zeros");
	else if (get_number(word, &operation) && get_number(word + DIGITS, &place))
		snprintf(text, size, "operation %u for %u", operation, place * WORD);
	else
		snprintf(text, size, "%02x%02x%02x%02x %02x%02x%02x%02x", word[0], word[1], word[2],
			 word[3], word[4], word[5], word[6], word[7]);
}
