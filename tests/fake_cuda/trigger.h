/* SPDX-License-Identifier: MIT */
/*
 * The file that says what is to go wrong, named by RK_FAKE_CUDA; README has its lines. Both
 * libraries read it, each for itself. A caller holds its library's lock around all of this.
 */
#ifndef RK_TESTS_FAKE_CUDA_TRIGGER_H
#define RK_TESTS_FAKE_CUDA_TRIGGER_H

#include <stdbool.h>
#include <stdint.h>

#define FAKE_LINES     64
#define FAKE_LINE_SIZE 160
#define FAKE_WORDS     4

struct fake_line {
	char text[FAKE_LINE_SIZE];  /* as in the file */
	char split[FAKE_LINE_SIZE]; /* the same with a NUL behind each word */
	char *words[FAKE_WORDS];    /* from the keyword on; the rest are "" */
	bool once;
	int device;    /* that the line is about, -1 = any */
	bool gone;     /* consumed */
	uint64_t hits; /* what the user of a line counted; kept while the line stands */
};

/* The device that this process runs on, -1 = none yet. */
extern int fake_trigger_device;

/* Read the file if it says something else than before. */
void fake_trigger_read(void);

/*
 * The first line with this keyword and, where @first is not NULL, this first argument; NULL where
 * there is none. Valid until the next read.
 */
struct fake_line *fake_trigger_find(const char *keyword, const char *first);

/* The line took effect: one that says `once` is removed, from the file too. */
void fake_trigger_consume(struct fake_line *line);

/* The number that goes with @keyword, else @otherwise. */
uint64_t fake_trigger_number(const char *keyword, uint64_t otherwise);

/* What both libraries must agree on: the memory of a device, and its 16 bytes of UUID. */
#define FAKE_UUID_BYTES	     16
#define FAKE_PCI_DOMAIN	     1
#define FAKE_PCI_BUS(device) (0x40 + (device))
#define FAKE_PCI_DEVICE	     2
uint64_t fake_memory_total(void);
void fake_uuid(unsigned char uuid[FAKE_UUID_BYTES], int device, bool instance);

/* The same as text, "GPU-..." or "MIG-..." of FAKE_UUID_PRINT bytes with the NUL. */
#define FAKE_UUID_PRINT 41
void fake_uuid_text(char text[FAKE_UUID_PRINT], int device, bool instance);

/* Say on stderr what a caller did wrong, or what a line of the file should be. */
void fake_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
