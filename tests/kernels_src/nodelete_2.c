/* SPDX-License-Identifier: MIT */
/* Linked with -z nodelete: the loader never lets go of it. */
#define VERSION 2
#include "version.h"
