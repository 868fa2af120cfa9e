/* SPDX-License-Identifier: MIT */
/* One value of the configuration, from text; shared by config.c, config_value.c and manifest.c
 * alone. */
#ifndef RK_RUNTIME_CONFIG_CONFIG_VALUE_H
#define RK_RUNTIME_CONFIG_CONFIG_VALUE_H

#include "runtime/config/config.h"

/*
 * rk_config_set() without the key in front of the sentence, for callers that name the
 * source of the value instead.
 */
int rk_config_value_parse(struct rk_config *config, const struct rk_config_field *field,
			  const char *value, struct rk_error *err);

#endif
