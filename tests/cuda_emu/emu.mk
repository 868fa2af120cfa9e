# SPDX-License-Identifier: MIT
# The CUDA kernels as C++, for tests/unit/cuda/test_cuda_kernels*.c: no nvcc, no GPU.
# -fno-strict-aliasing because CUDA has none of it; -ffp-contract=off is its -fmad=false.

EMU_OBJ      = $(patsubst %,$(BUILD)/obj/tests/cuda_emu/%.o,cuda_emu kernels small)
# built into a C program, hence without the C++ library; no sanitizer of the fibers' own switches
EMU_CXXFLAGS = -std=c++17 -D_GNU_SOURCE -I. $(OPT_FLAGS) -pthread -Wall -Wextra -Wno-unknown-pragmas \
	-Wno-unused-parameter $(if $(WERROR),-Werror) -fno-exceptions -fno-rtti -fno-threadsafe-statics \
	-fno-strict-aliasing -ffp-contract=off $(SAN_FLAGS)

$(patsubst tests/%.c,$(BUILD)/%,$(wildcard tests/unit/cuda/test_cuda_kernels*.c)): $(EMU_OBJ)

$(BUILD)/obj/tests/cuda_emu/cuda_emu.o: EMU_MORE = $(if $(findstring thread,$(SANITIZE)),-fno-sanitize=thread -DRK_EMU_TSAN)

$(BUILD)/obj/tests/cuda_emu/%.o: tests/cuda_emu/%.cpp $(BUILD)/flags
	$(call say,CXX,$<)mkdir -p $(@D) && $(CXX) $(EMU_CXXFLAGS) $(EMU_MORE) -MMD -MP -c -o $@ $<

-include $(EMU_OBJ:.o=.d)
