/* SPDX-License-Identifier: MIT */
#define VERSION 1
#include "version.h"
