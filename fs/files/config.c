/* SPDX-License-Identifier: MIT */
/* config/: one file per field of the configuration table, and what waits for a restart. */

#include "fs/files/files.h"

/* Places in rk_config_fields(). */
enum {
#define RK_FIELD(section, field, ...) FIELD_##field,
#include "runtime/config/config.def"
#undef RK_FIELD
};

static const struct rk_config_field *field_of(const struct rkfs_attr *attr)
{
	size_t count;

	return &rk_config_fields(&count)[attr->arg];
}

RKFS_SHOW(field_show)
{
	char value[RK_CONFIG_VALUE_MAX];

	rk_runtime_config_print(subject->fs->rt, field_of(attr), value, sizeof(value));
	rkfs_textbuf_line(out, value);
	return 0;
}

/* A field that is not hot has it too: the refusal is the runtime's, with its sentence. */
static int field_store(const struct rkfs_attr *attr, const struct rkfs_subject *subject,
		       const struct rk_caller *caller, const char *text, size_t len)
{
	char value[RKFS_LINE_MAX + 1];
	struct rk_error err;

	if (rkfs_line_read(attr->name, text, len, value, &err))
		return rk_runtime_refuse(subject->fs->rt, "a write", caller, &err);
	return rk_runtime_config_set(subject->fs->rt, field_of(attr), value, caller, &err);
}

RKFS_SHOW(pending_show)
{
	char value[RK_CONFIG_VALUE_MAX];
	size_t count;
	const struct rk_config_field *fields = rk_config_fields(&count);

	for (size_t i = 0; i < count; i++)
		if (rk_runtime_config_pending(subject->fs->rt, &fields[i], value, sizeof(value)) >=
		    0)
			rkfs_textbuf_printf(out, "%s %s\n", fields[i].key, value);
	return 0;
}

static const struct rkfs_attr rows[] = {
#define RK_FIELD(section, field, type, is_hot, ...)                                                \
	{.name = #field,                                                                           \
	 .mode = is_hot ? 0640 : 0440,                                                             \
	 .show = field_show,                                                                       \
	 .store = field_store,                                                                     \
	 .arg = FIELD_##field},
#include "runtime/config/config.def"
#undef RK_FIELD
	{.name = "pending", .mode = 0444, .show = pending_show},
};

const struct rkfs_attrs rkfs_config_attrs = {rows, sizeof(rows) / sizeof(rows[0])};
