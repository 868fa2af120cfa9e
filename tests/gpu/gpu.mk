# SPDX-License-Identifier: MIT
# The tests for a machine with a GPU, see tests/gpu/README. Included by the Makefile.
#
#   gpu            build what tests/gpu/run needs, and run it; GPU_ARGS are its arguments
#   gpu-bundle     $(BUILD)/gpu-bundle.tar.gz: the same for a machine that has no compiler and none of
#                  the libraries; needs nvcc here, and no GPU
#   gpu-programs   what both need, in $(BUILD)

GPU_TEST_SRC = $(wildcard tests/gpu/check*.c) tests/gpu/rig.c
GPU_BENCH_SRC = $(wildcard tests/gpu/bench*.c)
GPU_TEST_OBJ = $(call obj,$(GPU_TEST_SRC) $(GPU_BENCH_SRC))
# of one kind of device each, for racecheck: see bench_sanitize.c
GPU_OWN      = $(patsubst %,gpu.sm_%.fatbin,$(CUDA_ARCHS))
GPU_MODULES  = $(addprefix $(BUILD)/gpu/modules/,gpu.fatbin $(GPU_OWN) gpu.ptx saxpy.ini)
GPU_PROGRAMS = $(addprefix $(BUILD)/,mount.rkfs rk-worker rkcall gpu/check gpu/bench) $(GPU_MODULES)
GPU_LINK     = mkdir -p $(@D) && $(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_DAEMON) $(PKG_WORKER) -ldl -lm

.PHONY: gpu gpu-bundle gpu-programs
ifeq ($(HAVE_CUDA),)

gpu gpu-bundle gpu-programs:
	@echo '$@: $(cuda_why): the CUDA backend cannot be built here' >&2; exit 1

else

gpu-programs: $(GPU_PROGRAMS)

gpu: gpu-programs
	@BIN='$(abspath $(BUILD))' tests/gpu/run $(GPU_ARGS)

$(BUILD)/gpu/check: $(call obj,$(GPU_TEST_SRC)) $(BUILD)/librkfs.a
	$(call say,LD,$@)$(GPU_LINK)

$(BUILD)/gpu/bench: $(call obj,$(GPU_BENCH_SRC)) $(BUILD)/librkfs.a
	$(call say,LD,$@)$(GPU_LINK)

# they run where there is a GPU, but are compiled by every check, so that they keep up
bats: $(BUILD)/gpu/check $(BUILD)/gpu/bench

$(BUILD)/gpu/modules/gpu.fatbin: tests/gpu/modules.cu gpu/kernels/ring.h gpu/kernels/ring.cuh $(CUDA_DIR)/flags
	$(call say,NVCC,$@)mkdir -p $(@D) && $(NVCC) $(NVCC_FLAGS) -t 0 -fatbin -o $@ $<

$(addprefix $(BUILD)/gpu/modules/,$(GPU_OWN)): $(BUILD)/gpu/modules/gpu.sm_%.fatbin: \
		tests/gpu/modules.cu gpu/kernels/ring.h gpu/kernels/ring.cuh $(CUDA_DIR)/flags
	$(call say,NVCC,$@)mkdir -p $(@D) && $(NVCC) $(NVCC_BASE) -arch=sm_$* -fatbin -o $@ $<

# for the oldest, so that any device can have it; what comes of fusing is rounding
$(BUILD)/gpu/modules/gpu.ptx: tests/gpu/modules.cu gpu/kernels/ring.h gpu/kernels/ring.cuh $(CUDA_DIR)/flags
	$(call say,NVCC,$@)mkdir -p $(@D) && $(NVCC) $(NVCC_BASE) \
		-arch=compute_$(firstword $(CUDA_ARCHS)) -ptx -o $@ $<

$(BUILD)/gpu/modules/saxpy.ini: tests/gpu/saxpy.ini
	$(call say,CP,$@)mkdir -p $(@D) && cp $< $@

-include $(GPU_TEST_OBJ:.o=.d) $(wildcard $(BUILD)/bundle/*.d)

# --- the bundle --------------------------------------------------------------

# The objects of the build, linked with all libraries put in but the C library's own, and nothing of systemd.
GPU_BUNDLE = $(BUILD)/bundle
GPU_PACK   = $(GPU_BUNDLE)/rkfs-gpu
BUNDLE_BIN = $(addprefix $(GPU_BUNDLE)/,mount.rkfs rk-worker rkcall check bench)
BUNDLE_LIBS = $(filter-out libsystemd,$(sort $(LIBS_DAEMON) $(LIBS_WORKER)))
static     = -Wl,-Bstatic $(shell $(PKG_CONFIG) --libs-only-L --libs-only-l $(1)) -Wl,-Bdynamic

$(GPU_BUNDLE)/%.o: $(BUILD)/flags
	$(call say,CC,$@)mkdir -p $(@D) && $(CC) $(ALL_CFLAGS) $(OWN_CFLAGS) -MMD -MP -c -o $@ $(filter %.c,$^)

$(GPU_BUNDLE)/compat.o: tests/gpu/compat.c
$(GPU_BUNDLE)/notify.o: fs/mount/notify.c
$(GPU_BUNDLE)/notify.o: private OWN_CFLAGS = -URK_HAVE_SYSTEMD

$(GPU_BUNDLE)/mount.rkfs: $(filter-out %/notify.o,$(DAEMON_OBJ)) $(GPU_BUNDLE)/notify.o
$(GPU_BUNDLE)/mount.rkfs: BUNDLE_MORE = -Wl,--no-as-needed -lgcc_s
$(GPU_BUNDLE)/rk-worker: $(WORKER_OBJ)
$(GPU_BUNDLE)/rkcall: $(RKCALL_OBJ) $(BUILD)/librkfs.a
$(GPU_BUNDLE)/check: $(call obj,$(GPU_TEST_SRC)) $(BUILD)/librkfs.a
$(GPU_BUNDLE)/bench: $(call obj,$(GPU_BENCH_SRC)) $(BUILD)/librkfs.a
$(BUNDLE_BIN): $(GPU_BUNDLE)/compat.o
	$(call say,LD,$@)$(CC) $(ALL_LDFLAGS) -Wl,--strip-debug -o $@ $(filter %.o,$^) $(filter %.a,$^) \
		$(call static,$(BUNDLE_LIBS)) -ldl -lm $(BUNDLE_MORE)

gpu-bundle: $(BUNDLE_BIN) $(GPU_MODULES)
	@rm -rf '$(GPU_PACK)' && mkdir -p '$(GPU_PACK)/bin' '$(GPU_PACK)/kernels.d'
	@cp $(BUNDLE_BIN) '$(GPU_PACK)/bin/'
	@cp -r '$(BUILD)/gpu/modules' '$(GPU_PACK)/'
	@cp etc/kernels.d/*.ini '$(GPU_PACK)/kernels.d/'
	@cp tests/gpu/run tests/gpu/README '$(GPU_PACK)/'
	@echo '$(VERSION), $(or $(shell git describe --always --dirty 2>/dev/null),not from git), $(notdir $(NVCC)) $(shell $(NVCC) --version | sed -n 's/.*release \([^,]*\),.*/\1/p'), compute capabilities $(CUDA_ARCHS)' >'$(GPU_PACK)/VERSION'
	@! ldd '$(GPU_PACK)'/bin/* | grep -v -E '^[^[:space:]]|linux-vdso|lib(c|m|dl|rt|pthread)\.so|libgcc_s|ld-linux' || \
		{ echo 'gpu-bundle: these libraries are not on every machine' >&2; exit 1; }
	@tar -C '$(GPU_BUNDLE)' --owner=0 --group=0 -czf '$(BUILD)/gpu-bundle.tar.gz' rkfs-gpu
	@echo "$(BUILD)/gpu-bundle.tar.gz: $$(du -h '$(BUILD)/gpu-bundle.tar.gz' | cut -f1)"

endif
