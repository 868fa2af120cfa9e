/* SPDX-License-Identifier: MIT */
/* Linked with -z nodelete: the loader never lets go of it. */
#define VERSION 1
#include "version.h"
