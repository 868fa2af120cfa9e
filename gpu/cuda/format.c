/* SPDX-License-Identifier: MIT */
/*
 * What can be said of a CUDA module without a driver: whether it is whole, and for which devices it
 * is.
 */
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "gpu/cuda/internal.h"

#define FATBIN_MAGIC 0xBA55ED50U
#define MACHINE_CUDA 190 /* e_machine of a cubin */
#define NEW_ABI	     8	 /* from this EI_ABIVERSION on the device is elsewhere in e_flags */
#define TOOLKIT	     "Cuda compilation tools, release "
#define TOOLKIT_MAX  16

/* What a fatbin begins with. */
struct fatbin_header {
	uint32_t magic;
	uint16_t version;
	uint16_t header_bytes;
	uint64_t bytes; /* behind the header */
};

/* Each of its parts, one behind the other. */
struct fatbin_member {
	uint16_t kind; /* enum */
	uint16_t version;
	uint32_t header_bytes;
	uint64_t bytes; /* behind this header */
	uint32_t packed_bytes, options;
	uint16_t minor, major; /* PTX: its version */
	uint32_t sm;
};

enum {
	MEMBER_PTX = 1,
	MEMBER_CUBIN = 2,
};

/* A table of @count entries of @size bytes at @at lies in a file of @bytes. */
static bool within(uint64_t at, uint64_t count, uint64_t size, uint64_t bytes)
{
	return at <= bytes && (size == 0 || count <= (bytes - at) / size);
}

/* --- whether it is whole -------------------------------------------------------------- */

static int check_cubin(const char *data, size_t size, struct rk_error *err)
{
	Elf64_Ehdr header;
	bool whole;

	if (size < sizeof(header))
		return rk_error_set(err, ENOEXEC, "is cut off");
	memcpy(&header, data, sizeof(header));
	if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != MACHINE_CUDA)
		return rk_error_set(
			err, ENOEXEC,
			"is an ELF file, but not a cubin; nvcc -cubin or -fatbin makes a module");
	whole = within(header.e_shoff, header.e_shnum, header.e_shentsize, size) &&
		within(header.e_phoff, header.e_phnum, header.e_phentsize, size);
	for (unsigned int i = 0; whole && i < header.e_shnum; i++) {
		Elf64_Shdr section;

		if (header.e_shentsize < sizeof(section))
			return rk_error_set(err, ENOEXEC, "is a broken cubin");
		memcpy(&section, data + header.e_shoff + i * header.e_shentsize, sizeof(section));
		whole = section.sh_type == SHT_NOBITS ||
			within(section.sh_offset, section.sh_size, 1, size);
	}
	return whole ? 0 : rk_error_set(err, ENOEXEC, "is cut off");
}

static bool is_cubin(const char *data, size_t size)
{
	return size >= SELFMAG && memcmp(data, ELFMAG, SELFMAG) == 0;
}

/* False where it is not a fatbin. The part of the header that a short file lacks is zero. */
static bool is_fatbin(const char *data, size_t size, struct fatbin_header *header)
{
	memset(header, 0, sizeof(*header));
	memcpy(header, data, size < sizeof(*header) ? size : sizeof(*header));
	return header->magic == FATBIN_MAGIC;
}

int rk_cuda_format_check(const char *data, size_t size, struct rk_error *err)
{
	struct fatbin_header header;

	if (is_cubin(data, size))
		return check_cubin(data, size, err);
	if (is_fatbin(data, size, &header)) {
		if (size < sizeof(header) || header.header_bytes < sizeof(header) ||
		    !within(header.header_bytes, header.bytes, 1, size))
			return rk_error_set(err, ENOEXEC, "is cut off");
		return 0;
	}
	/* PTX is text, and one of its first lines says its version */
	if (strlen(data) == size && strstr(data, ".version"))
		return 0;
	return rk_error_set(err, ENOEXEC, "is no CUDA module: neither fatbin nor cubin nor PTX");
}

/* --- for what it is ------------------------------------------------------------------- */

static void append(char text[RK_CUDA_FORMAT_MAX], const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void append(char text[RK_CUDA_FORMAT_MAX], const char *fmt, ...)
{
	size_t len = strlen(text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + len, RK_CUDA_FORMAT_MAX - len, fmt, ap);
	va_end(ap);
}

/* nvcc writes its version into PTX and into a cubin; in a fatbin it is compressed. */
static void append_toolkit(char text[RK_CUDA_FORMAT_MAX], const char *data, size_t size)
{
	const char *at = memmem(data, size, TOOLKIT, strlen(TOOLKIT));
	char version[TOOLKIT_MAX] = "";

	if (!at)
		return;
	at += strlen(TOOLKIT);
	/* the NUL behind the data ends it too */
	for (size_t i = 0; i + 1 < sizeof(version) && strchr("0123456789.", at[i]) && at[i]; i++)
		version[i] = at[i];
	if (version[0])
		append(text, ", of CUDA %s", version);
}

static void describe_cubin(const char *data, char text[RK_CUDA_FORMAT_MAX])
{
	Elf64_Ehdr header;
	unsigned int shift;

	memcpy(&header, data, sizeof(header));
	shift = header.e_ident[EI_ABIVERSION] >= NEW_ABI ? 8 : 0;
	append(text, "a cubin for sm_%u", (unsigned int)(header.e_flags >> shift) & 0xff);
}

static void describe_fatbin(const char *data, const struct fatbin_header *header,
			    char text[RK_CUDA_FORMAT_MAX])
{
	uint64_t at = header->header_bytes, end = at + header->bytes;
	struct fatbin_member member;
	const char *before = " for";

	append(text, "a fatbin");
	for (; at + sizeof(member) <= end; at += member.header_bytes + member.bytes) {
		memcpy(&member, data + at, sizeof(member));
		if (member.kind == MEMBER_PTX)
			append(text, "%s PTX %u.%u of sm_%u", before, (unsigned int)member.major,
			       (unsigned int)member.minor, member.sm);
		else if (member.kind == MEMBER_CUBIN)
			append(text, "%s sm_%u", before, member.sm);
		before = ",";
		if (member.header_bytes < sizeof(member) ||
		    !within(at, 1, member.header_bytes, end) ||
		    !within(at + member.header_bytes, member.bytes, 1, end))
			return;
	}
}

/* The word behind the first @directive, or "" where there is none. */
static void word_behind(const char *data, const char *directive, char word[TOOLKIT_MAX])
{
	const char *at = strstr(data, directive);

	word[0] = '\0';
	if (at)
		(void)sscanf(at + strlen(directive), " %15[a-z0-9_.]", word);
}

void rk_cuda_format_describe(const char *data, size_t size, char text[RK_CUDA_FORMAT_MAX])
{
	char version[TOOLKIT_MAX], target[TOOLKIT_MAX];
	struct fatbin_header header;

	text[0] = '\0';
	if (is_cubin(data, size)) {
		describe_cubin(data, text);
	} else if (is_fatbin(data, size, &header)) {
		describe_fatbin(data, &header, text);
	} else {
		word_behind(data, ".version", version);
		word_behind(data, ".target", target);
		append(text, "PTX %s%s%s", version, target[0] ? " for " : "", target);
	}
	append_toolkit(text, data, size);
}
