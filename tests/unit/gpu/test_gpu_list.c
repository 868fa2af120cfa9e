/* SPDX-License-Identifier: MIT */
/* Which devices a process may see, of those that there are. */
#include <string.h>

#include "gpu/nvml/list.h"
#include "tests/unit/unit.h"

#define FIRST  "GPU-a0a1a2a3-a4a5-a6a7-a8a9-aaabacadae00"
#define SECOND "GPU-b0a1a2a3-a4a5-a6a7-a8a9-aaabacadae01"
#define PART   "MIG-c0a1a2a3-a4a5-a6a7-a8a9-aaabacadae02"

/* What the driver's documentation says of CUDA_VISIBLE_DEVICES; 'x' is the one that tells nothing.
 */
TEST(visible_devices)
{
	static const struct {
		const char *visible;
		const char *left;
	} cases[] = {
		{NULL, "12Mx"},
		{"", ""},
		{"1,0", "21"},
		{"0,7,1", "1"}, /* up to the first that is none */
		{"-1,0", ""},
		{"0,,1", "1"},
		{" 0", ""},
		{"0 ,1", ""},
		{"NoDevFiles", ""},
		{SECOND, "2"},
		{SECOND "," FIRST, "21"},
		{"GPU-b0", "2"},
		{"gpu-B0A1", "2"},
		{"GPU-", ""},
		{"GPU-d", ""},
		{PART ",3", "Mx"},
		{"2,2", "MM"},
		{"18446744073709551616", ""},
		{"0,", "1"},
	};
	static const char letters[] = "12Mx";
	static const struct rk_listed all = {.count = 4, .uuids = {FIRST, SECOND, PART, ""}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rk_listed listed = all;

		rk_devices_list_visible(&listed, cases[i].visible);
		if (listed.count != strlen(cases[i].left))
			fail_msg("%s: %u devices", cases[i].visible, listed.count);
		for (unsigned int d = 0; d < listed.count; d++)
			assert_string_equal(listed.uuids[d],
					    all.uuids[strchr(letters, cases[i].left[d]) - letters]);
	}
}

int main(void)
{
	return unit_run(NULL, NULL);
}
