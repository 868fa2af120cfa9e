/* SPDX-License-Identifier: MIT */
/* One value in the notation of a field, of the configuration or of a kernel's description. */
#ifndef RK_RUNTIME_CONFIG_CONFIG_VALUE_H
#define RK_RUNTIME_CONFIG_CONFIG_VALUE_H

#include "runtime/config/config.h"

/*
 * Read @value into *@to, which has field->size bytes. Returns 0, or -EINVAL with a sentence that
 * says what @field takes, without its key.
 */
int rk_config_value_parse(const struct rk_config_field *field, const char *value, void *to,
			  struct rk_error *err);

#endif
