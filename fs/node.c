/* SPDX-License-Identifier: MIT */
/* The tree: names, node numbers, attributes and listings, all computed from tables. */
#include "fs/node.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define CACHE_SECS   3600.0
#define DIR_MODE     0555
#define COOKIE_FIRST 2 /* "." and ".." come before it */

/* Where the parts of an inode number begin; see place_number(). */
#define NUMBER_ID	8
#define NUMBER_CLASS	24
#define MESSAGE_NUMBERS (1U << 31)
_Static_assert(RK_WIRE_KERNELS_MAX <= 1 << (NUMBER_CLASS - NUMBER_ID), "ids of kernels fit");
_Static_assert(RKFS_CLASS_COUNT <= MESSAGE_NUMBERS >> NUMBER_CLASS, "classes fit");

/* Directories with a name hang below @parent; those without come and go. */
static const struct dir {
	const char *name;
	enum rkfs_class parent;
	mode_t mode; /* 0 = DIR_MODE */
} dirs[RKFS_CLASS_COUNT] = {
	[RKFS_ROOT] = {"", RKFS_ROOT, 0},
	[RKFS_STATS] = {"stats", RKFS_ROOT, 0},
	[RKFS_CONFIG] = {"config", RKFS_ROOT, 0},
	[RKFS_HEALTH] = {"health", RKFS_ROOT, 0},
	[RKFS_WAIT] = {"wait", RKFS_ROOT, 0},
	[RKFS_DRAIN] = {"drain", RKFS_ROOT, 0},
	[RKFS_INFLIGHT] = {"inflight", RKFS_ROOT, 01777}, /* as /tmp: one may remove one's own */
	[RKFS_KERNELS] = {"kernels", RKFS_ROOT, 0},
	[RKFS_DOMAIN] = {NULL, RKFS_KERNELS, 0},
	[RKFS_KERNEL] = {NULL, RKFS_DOMAIN, 0},
	[RKFS_DEVICES] = {"devices", RKFS_ROOT, 0},
	[RKFS_DEVICE] = {NULL, RKFS_DEVICES, 0},
	[RKFS_WORKERS] = {"workers", RKFS_ROOT, 0},
	[RKFS_WORKER] = {NULL, RKFS_WORKERS, 0},
};

/* What the number of a node says: a directory (row 0), or its row - 1. */
struct place {
	enum rkfs_class class;
	uint32_t id; /* domain id, kernel slot, low half of a message id, number of a device or
			worker */
	unsigned int row;
};

static uint64_t place_node(enum rkfs_class class, uint32_t id, size_t row)
{
	return RKFS_ROOT_INO + ((uint64_t) class << 48 | (uint64_t)id << 16 | row);
}

/*
 * The number that users see. It has to fit into 32 bits: a program whose ino_t has no more gets
 * EOVERFLOW from stat(2) and readdir(3) where it does not. So a message has 31 bits of its id,
 * which two in flight share only if 2^31 others came between them.
 */
static ino_t place_number(enum rkfs_class class, uint32_t id, size_t row)
{
	if (class == RKFS_INFLIGHT && id)
		return MESSAGE_NUMBERS | id % MESSAGE_NUMBERS;
	return RKFS_ROOT_INO + ((ino_t) class << NUMBER_CLASS | (ino_t)id << NUMBER_ID | row);
}

static bool is_child_dir(enum rkfs_class class, enum rkfs_class parent)
{
	return class != RKFS_ROOT && dirs[class].name && dirs[class].parent == parent;
}

/* What devices/ or workers/ has, by number; 0 (RKFS_ROOT) where @class has no such. */
static enum rkfs_class numbered(enum rkfs_class class)
{
	return class == RKFS_DEVICES   ? RKFS_DEVICE
	       : class == RKFS_WORKERS ? RKFS_WORKER
				       : RKFS_ROOT;
}

/* Whether the domain, kernel, message, device or worker that @class and @id stand for exists. */
static bool subject_exists(struct rkfs *fs, enum rkfs_class class, uint32_t id)
{
	struct rk_registry *reg = rk_runtime_registry(fs->rt);
	struct rk_message_info info;
	struct rk_device device;
	char name[RK_NAME_MAX];
	struct rk_kernel *k;

	switch (class) {
	case RKFS_DOMAIN:
		return id && rk_registry_next_domain(reg, id, name) == id;
	case RKFS_KERNEL:
		k = rk_registry_slot(reg, id);
		rk_kernel_unref(k);
		return k;
	case RKFS_INFLIGHT:
		return !id || rk_dispatch_find(rk_runtime_dispatch(fs->rt), id, &info);
	case RKFS_DEVICE:
		return rk_runtime_device(fs->rt, id, &device);
	case RKFS_WORKER:
		return id < rk_runtime_workers(fs->rt);
	default:
		return id == 0;
	}
}

static int place_parse(struct rkfs *fs, uint64_t node, struct place *at)
{
	uint64_t bits = node - RKFS_ROOT_INO;
	uint64_t class = bits >> 48;

	if (class >= RKFS_CLASS_COUNT)
		return -ENOENT;
	at->class = (enum rkfs_class) class;
	at->id = (uint32_t)(bits >> 16);
	at->row = (unsigned int)(bits & 0xffff);
	if (at->row > fs->attrs[class].count)
		return -ENOENT;
	return 0;
}

/*
 * A path that leads through a kernel whose description was changed has to be walked again. At
 * ESTALE Linux does so, from the top and without its cache, and finds the successor, or that there
 * is none.
 */
static int gone(enum rkfs_class class)
{
	return class == RKFS_KERNEL ? -ESTALE : -ENOENT;
}

/* The directory that @node is, if it still exists. */
static int dir_parse(struct rkfs *fs, uint64_t node, struct place *at)
{
	int rc = place_parse(fs, node, at);

	if (rc)
		return rc;
	if (at->row)
		return -ENOTDIR;
	if (at->class == RKFS_INFLIGHT && at->id)
		return -ENOENT;
	return subject_exists(fs, at->class, at->id) ? 0 : gone(at->class);
}

static nlink_t dir_links(enum rkfs_class class)
{
	nlink_t n = 2;

	/* these come and go while attributes are cached; 1 says "not counted" to find and fts */
	if (class == RKFS_KERNELS || class == RKFS_DOMAIN || numbered(class))
		return 1;
	for (int i = 0; i < RKFS_CLASS_COUNT; i++)
		n += is_child_dir(i, class);
	return n;
}

static mode_t dir_mode(enum rkfs_class class)
{
	return dirs[class].mode ? dirs[class].mode : DIR_MODE;
}

/* All of @e but the time for which the name may be cached, and what rkfs_stat_content() adds. */
static void fill_entry(struct rkfs *fs, enum rkfs_class class, uint32_t id, size_t row,
		       struct rkfs_entry *e)
{
	const struct rkfs_attr *attr = row ? &fs->attrs[class].rows[row - 1] : NULL;

	memset(e, 0, sizeof(*e));
	e->node = place_node(class, id, row);
	e->attr_timeout = attr ? 0 : CACHE_SECS; /* the size of a file is that of its text now */
	e->st.st_ino = place_number(class, id, row);
	e->st.st_mode =
		attr ? S_IFREG | rkfs_access_mode(&fs->access, attr) : S_IFDIR | dir_mode(class);
	e->st.st_nlink = attr ? 1 : dir_links(class);
	e->st.st_uid = fs->access.uid;
	e->st.st_gid = attr ? rkfs_access_gid(&fs->access, attr) : fs->access.gid;
	e->st.st_blksize = 4096;
	e->st.st_atim = e->st.st_mtim = e->st.st_ctim = fs->born;
}

/* A kernel's directory is as old as its description is known. */
static void fill_dir(struct rkfs *fs, enum rkfs_class class, uint32_t id, struct rkfs_entry *e)
{
	struct rk_kernel *k = NULL;

	fill_entry(fs, class, id, 0, e);
	if (class == RKFS_KERNEL)
		k = rk_registry_slot(rk_runtime_registry(fs->rt), id);
	if (k)
		e->st.st_atim = e->st.st_mtim = e->st.st_ctim = k->added;
	rk_kernel_unref(k);
}

/* A file that is not a message's; @k: its kernel, NULL where it is of none or of one that is gone.
 */
static void fill_file(struct rkfs *fs, const struct place *at, struct rk_kernel *k,
		      struct rkfs_entry *e)
{
	const struct rkfs_subject subject = {
		.fs = fs,
		.kernel = k,
		.number = numbered(dirs[at->class].parent) ? at->id : 0,
	};
	bool known = at->class != RKFS_KERNEL || k;

	fill_entry(fs, at->class, at->id, at->row, e);
	rkfs_stat_content(&fs->attrs[at->class].rows[at->row - 1], known ? &subject : NULL, e);
}

/*
 * The file of a message, which belongs to who asked, and has the time at which it was accepted, as
 * /proc/PID has that of the process. False where it is in flight no more.
 */
static bool fill_message(struct rkfs *fs, uint32_t id, struct rkfs_entry *e)
{
	const struct rkfs_subject subject = {.fs = fs, .message = id};
	struct rk_message_info info;

	if (!rk_dispatch_find(rk_runtime_dispatch(fs->rt), id, &info))
		return false;
	fill_entry(fs, RKFS_INFLIGHT, id, 1, e);
	rkfs_stat_content(&fs->attrs[RKFS_INFLIGHT].rows[0], &subject, e);
	e->st.st_uid = info.uid;
	e->st.st_atim = e->st.st_mtim = e->st.st_ctim = info.accepted;
	return true;
}

/* The message id that @name writes, as readdir does; 0 where it is none. */
static uint64_t parse_id(const char *name)
{
	unsigned long long id;
	char *end;

	if (*name < '1' || *name > '9')
		return 0;
	errno = 0;
	id = strtoull(name, &end, 10);
	return errno || *end ? 0 : id;
}

/* A file's number holds only half of the id, a name has to have all of it. */
static bool lookup_message(struct rkfs *fs, uint64_t id, struct rkfs_entry *e)
{
	struct rk_message_info info;

	return rk_dispatch_find(rk_runtime_dispatch(fs->rt), (uint32_t)id, &info) &&
	       info.id == id && fill_message(fs, (uint32_t)id, e);
}

static bool has_row(const struct rkfs_attr *attr, const struct rk_kernel *k)
{
	return !attr->present || !k || attr->present(attr, k);
}

/* A file in @at that its row's name leads to. 0 or -ENOENT. */
static int lookup_row(struct rkfs *fs, const struct place *at, const char *name,
		      struct rkfs_entry *e)
{
	const struct rkfs_attrs *attrs = &fs->attrs[at->class];
	struct place file = *at;
	struct rk_kernel *k = NULL;
	int rc = -ENOENT;

	if (at->class == RKFS_KERNEL)
		k = rk_registry_slot(rk_runtime_registry(fs->rt), at->id);
	for (size_t i = 0; i < attrs->count && rc; i++) {
		if (!strcmp(attrs->rows[i].name, name) && has_row(&attrs->rows[i], k)) {
			file.row = (unsigned int)i + 1;
			fill_file(fs, &file, k, e);
			rc = 0;
		}
	}
	rk_kernel_unref(k);
	return rc;
}

/* The subject called @name in @at, kernels/ or a domain; 0 where there is none. */
static uint32_t find_subject(struct rkfs *fs, const struct place *at, const char *name)
{
	struct rk_registry *reg = rk_runtime_registry(fs->rt);
	char domain[RK_NAME_MAX];
	struct rk_kernel *k;
	uint32_t slot;

	if (at->class == RKFS_KERNELS)
		return rk_registry_domain(reg, name);
	if (at->class != RKFS_DOMAIN || rk_registry_next_domain(reg, at->id, domain) != at->id)
		return 0;
	k = rk_registry_find(reg, domain, name);
	slot = k ? k->slot : 0;
	rk_kernel_unref(k);
	return slot;
}

/* The device or worker, by @class, that @name writes, as readdir does. */
static bool lookup_number(struct rkfs *fs, enum rkfs_class class, const char *name,
			  struct rkfs_entry *e)
{
	char *end;
	unsigned long n;

	if (*name < '0' || *name > '9' || (*name == '0' && name[1]))
		return false;
	errno = 0;
	n = strtoul(name, &end, 10);
	if (errno || *end || n > UINT32_MAX || !subject_exists(fs, class, (uint32_t)n))
		return false;
	fill_entry(fs, class, (uint32_t)n, 0, e);
	return true;
}

/* What may be removed: its name is not cached. 0 or -ENOENT. */
static int lookup_passing(struct rkfs *fs, const struct place *at, const char *name,
			  struct rkfs_entry *e)
{
	uint32_t id;

	if (at->class == RKFS_INFLIGHT)
		return lookup_message(fs, parse_id(name), e) ? 0 : -ENOENT;
	if (numbered(at->class))
		return lookup_number(fs, numbered(at->class), name, e) ? 0 : -ENOENT;
	id = find_subject(fs, at, name);
	if (!id)
		return -ENOENT;
	fill_dir(fs, at->class == RKFS_KERNELS ? RKFS_DOMAIN : RKFS_KERNEL, id, e);
	return 0;
}

int rkfs_lookup(struct rkfs *fs, uint64_t parent, const char *name, struct rkfs_entry *entry)
{
	struct place at;
	int rc = dir_parse(fs, parent, &at);

	if (rc)
		return rc;
	if (strnlen(name, NAME_MAX + 1) > NAME_MAX)
		return -ENAMETOOLONG;
	rc = lookup_row(fs, &at, name, entry);
	for (int i = 0; i < RKFS_CLASS_COUNT && rc; i++) {
		if (is_child_dir(i, at.class) && !strcmp(dirs[i].name, name)) {
			fill_entry(fs, i, 0, 0, entry);
			rc = 0;
		}
	}
	if (rc)
		return lookup_passing(fs, &at, name, entry);
	entry->entry_timeout = CACHE_SECS;
	return 0;
}

bool rkfs_fresh(struct rkfs *fs, uint64_t node)
{
	struct place at;

	return !place_parse(fs, node, &at) && at.row &&
	       fs->attrs[at.class].rows[at.row - 1].flags & RKFS_FRESH;
}

int rkfs_getattr(struct rkfs *fs, uint64_t node, struct rkfs_entry *entry)
{
	struct rk_kernel *k = NULL;
	struct place at;
	int rc = place_parse(fs, node, &at);

	if (rc)
		return rc;
	if (at.class == RKFS_INFLIGHT && at.row)
		return fill_message(fs, at.id, entry) ? 0 : -ENOENT;
	/* a file of a removed kernel may be open still, and fstat(2) comes before read(2) in cat */
	if (!(at.class == RKFS_KERNEL && at.row) && !subject_exists(fs, at.class, at.id))
		return gone(at.class);
	if (!at.row) {
		fill_dir(fs, at.class, at.id, entry);
		return 0;
	}
	if (at.class == RKFS_KERNEL)
		k = rk_registry_any_slot(rk_runtime_registry(fs->rt), at.id);
	fill_file(fs, &at, k, entry);
	rk_kernel_unref(k);
	return 0;
}

/* --- readdir --- */

struct listing {
	struct rkfs *fs;
	struct place at;
	uint64_t end; /* of messages */
	bool (*fill)(void *ctx, const char *name, const struct stat *st, uint64_t next);
	void *ctx;
};

static bool list_one(const struct listing *l, const char *name, ino_t number, mode_t type,
		     uint64_t next)
{
	const struct stat st = {.st_ino = number, .st_mode = type};

	return l->fill(l->ctx, name, &st, next);
}

static ino_t parent_number(struct rkfs *fs, const struct place *at)
{
	ino_t number = place_number(dirs[at->class].parent, 0, 0);
	struct rk_kernel *k;

	if (at->class == RKFS_KERNEL) {
		k = rk_registry_slot(rk_runtime_registry(fs->rt), at->id);
		if (k)
			number = place_number(RKFS_DOMAIN, k->domain_id, 0);
		rk_kernel_unref(k);
	}
	return number;
}

/* Rows, then directories that are always there; @i counts both. */
static void list_fixed(const struct listing *l, size_t i, const struct rk_kernel *k)
{
	const struct rkfs_attrs *attrs = &l->fs->attrs[l->at.class];

	for (; i < attrs->count; i++) {
		const struct rkfs_attr *attr = &attrs->rows[i];

		if (!(attr->flags & RKFS_HIDDEN) && has_row(attr, k) &&
		    !list_one(l, attr->name, place_number(l->at.class, l->at.id, i + 1), S_IFREG,
			      i + 1 + COOKIE_FIRST))
			return;
	}
	for (size_t c = i - attrs->count; c < RKFS_CLASS_COUNT; c++) {
		if (is_child_dir(c, l->at.class) &&
		    !list_one(l, dirs[c].name, place_number(c, 0, 0), S_IFDIR,
			      attrs->count + c + 1 + COOKIE_FIRST))
			return;
	}
}

/* Domains or kernels whose id is at least @id; a cookie is an id, so none is listed twice or left
 * out. */
static void list_subjects(const struct listing *l, uint32_t id)
{
	struct rk_registry *reg = rk_runtime_registry(l->fs->rt);
	char name[RK_NAME_MAX];
	bool more = true;

	while (more && l->at.class == RKFS_KERNELS &&
	       (id = rk_registry_next_domain(reg, id, name))) {
		more = list_one(l, name, place_number(RKFS_DOMAIN, id, 0), S_IFDIR,
				id + 1ULL + COOKIE_FIRST);
		id++;
	}
	while (more && l->at.class == RKFS_DOMAIN) {
		struct rk_kernel *k = rk_registry_next(reg, id, l->at.id);

		if (!k)
			break;
		id = k->slot + 1;
		more = list_one(l, k->manifest.name, place_number(RKFS_KERNEL, k->slot, 0), S_IFDIR,
				(uint64_t)id + COOKIE_FIRST);
		rk_kernel_unref(k);
	}
}

/* Messages whose id is at least @id, up to l->end. */
static void list_messages(const struct listing *l, uint64_t id)
{
	struct rk_dispatch *d = rk_runtime_dispatch(l->fs->rt);
	struct rk_message_info info[64];
	char name[24];
	size_t n;

	while ((n = rk_dispatch_list(d, id, info, 64))) {
		for (size_t i = 0; i < n; i++) {
			if (info[i].id > l->end)
				return;
			id = info[i].id + 1;
			snprintf(name, sizeof(name), "%llu", (unsigned long long)info[i].id);
			if (!list_one(l, name, place_number(RKFS_INFLIGHT, (uint32_t)info[i].id, 1),
				      S_IFREG, id + COOKIE_FIRST))
				return;
		}
	}
}

/* Devices or workers from @n on. */
static void list_numbers(const struct listing *l, uint32_t n)
{
	enum rkfs_class class = numbered(l->at.class);
	char name[16];

	for (; subject_exists(l->fs, class, n); n++) {
		snprintf(name, sizeof(name), "%u", n);
		if (!list_one(l, name, place_number(class, n, 0), S_IFDIR, n + 1ULL + COOKIE_FIRST))
			return;
	}
}

static void list_entries(const struct listing *l, uint64_t offset)
{
	struct rk_kernel *k;

	switch (l->at.class) {
	case RKFS_INFLIGHT:
		list_messages(l, offset);
		break;
	case RKFS_KERNELS:
	case RKFS_DOMAIN:
		if (offset <= UINT32_MAX)
			list_subjects(l, (uint32_t)offset);
		break;
	case RKFS_DEVICES:
	case RKFS_WORKERS:
		if (offset <= UINT32_MAX)
			list_numbers(l, (uint32_t)offset);
		break;
	case RKFS_KERNEL:
		k = rk_registry_slot(rk_runtime_registry(l->fs->rt), l->at.id);
		list_fixed(l, offset, k);
		rk_kernel_unref(k);
		break;
	default:
		list_fixed(l, offset, NULL);
	}
}

uint64_t rkfs_dir_end(struct rkfs *fs)
{
	return rk_dispatch_newest(rk_runtime_dispatch(fs->rt));
}

int rkfs_readdir(struct rkfs *fs, uint64_t node, uint64_t offset, uint64_t end,
		 bool (*fill)(void *ctx, const char *name, const struct stat *st, uint64_t next),
		 void *ctx)
{
	struct listing l = {.fs = fs, .end = end, .fill = fill, .ctx = ctx};
	int rc = dir_parse(fs, node, &l.at);

	if (rc)
		return rc;
	if (offset < 1 && !list_one(&l, ".", place_number(l.at.class, l.at.id, 0), S_IFDIR, 1))
		return 0;
	if (offset < COOKIE_FIRST &&
	    !list_one(&l, "..", parent_number(fs, &l.at), S_IFDIR, COOKIE_FIRST))
		return 0;
	list_entries(&l, offset < COOKIE_FIRST ? 0 : offset - COOKIE_FIRST);
	return 0;
}

/* --- files --- */

int rkfs_row(struct rkfs *fs, uint64_t node, const struct rkfs_attr **attr,
	     struct rkfs_subject *subject)
{
	struct rk_kernel *k = NULL;
	struct place at;
	int rc = place_parse(fs, node, &at);

	if (rc)
		return rc;
	if (!at.row)
		return -EISDIR;
	if (!subject_exists(fs, at.class, at.id))
		return gone(at.class);
	if (at.class == RKFS_KERNEL) {
		k = rk_registry_slot(rk_runtime_registry(fs->rt), at.id);
		if (!k)
			return gone(at.class);
	}
	*subject = (struct rkfs_subject){
		.fs = fs,
		.kernel = k,
		.message = at.class == RKFS_INFLIGHT ? at.id : 0,
		.number = numbered(dirs[at.class].parent) ? at.id : 0,
	};
	*attr = &fs->attrs[at.class].rows[at.row - 1];
	return 0;
}

int rkfs_unlink(struct rkfs *fs, uint64_t parent, const char *name)
{
	struct place at;
	int rc = dir_parse(fs, parent, &at);
	uint64_t id;

	if (rc)
		return rc;
	if (at.class != RKFS_INFLIGHT)
		return -EPERM;
	id = parse_id(name);
	return id && rk_dispatch_cancel_id(rk_runtime_dispatch(fs->rt), id) ? 0 : -ENOENT;
}
