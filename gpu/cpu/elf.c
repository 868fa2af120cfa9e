/* SPDX-License-Identifier: MIT */
/* Whether a file is a shared library that the loader can take without harm. */
#include "gpu/cpu/internal.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gpu/base/library.h"

#ifdef __LP64__
typedef Elf64_Ehdr elf_header;
typedef Elf64_Phdr elf_segment;
#else
typedef Elf32_Ehdr elf_header;
typedef Elf32_Phdr elf_segment;
#endif

/* The header of the program that runs, to compare with. */
static int read_own(elf_header *own, struct rk_error *err)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return rk_error_set(err, errno, "cannot be compared with /proc/self/exe: %m");
	n = rk_library_read(fd, own, sizeof(*own), 0);
	(void)close(fd);
	if (n == (ssize_t)sizeof(*own))
		return 0;
	return rk_error_set(err, n < 0 ? (int)-n : EIO, "cannot be compared with /proc/self/exe");
}

static int check_header(const elf_header *header, struct rk_error *err)
{
	elf_header own;
	int rc;

	if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0)
		return rk_error_set(err, ENOEXEC, "is not a shared library (ELF file)");
	rc = read_own(&own, err);
	if (rc)
		return rc;
	if (header->e_ident[EI_CLASS] != own.e_ident[EI_CLASS] ||
	    header->e_ident[EI_DATA] != own.e_ident[EI_DATA] || header->e_machine != own.e_machine)
		return rk_error_set(err, ENOEXEC,
				    "is for another machine (%d-bit, ELF machine %u; this one is "
				    "%d-bit, %u)",
				    header->e_ident[EI_CLASS] == ELFCLASS64 ? 64 : 32,
				    header->e_machine,
				    own.e_ident[EI_CLASS] == ELFCLASS64 ? 64 : 32, own.e_machine);
	if (header->e_type != ET_DYN || header->e_phentsize != sizeof(elf_segment))
		return rk_error_set(err, ENOEXEC,
				    "is not a shared library; make one with cc -shared -fPIC");
	return 0;
}

int rk_elf_check(int fd, struct rk_error *err)
{
	elf_header header;
	elf_segment segment;
	struct stat st;
	ssize_t n;
	int rc;

	if (fstat(fd, &st) < 0)
		return rk_error_set(err, errno, "cannot be examined: %m");
	n = rk_library_read(fd, &header, sizeof(header), 0);
	if (n < 0)
		return rk_error_set(err, (int)-n, "cannot be read: %m");
	if ((size_t)n < sizeof(header))
		return rk_error_set(err, ENOEXEC, "is not a shared library (ELF file)");
	rc = check_header(&header, err);
	for (unsigned int i = 0; rc == 0 && i < header.e_phnum; i++) {
		n = rk_library_read(fd, &segment, sizeof(segment),
				    header.e_phoff + (uint64_t)i * sizeof(segment));
		if (n < 0)
			rc = rk_error_set(err, (int)-n, "cannot be read: %m");
		else if ((size_t)n < sizeof(segment) ||
			 (segment.p_type == PT_LOAD &&
			  (segment.p_filesz > (uint64_t)st.st_size ||
			   segment.p_offset > (uint64_t)st.st_size - segment.p_filesz)))
			rc = rk_error_set(err, ENOEXEC,
					  "is cut off after %" PRId64 " bytes; copy it again",
					  (int64_t)st.st_size);
	}
	return rc;
}
