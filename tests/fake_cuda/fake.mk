# SPDX-License-Identifier: MIT
# The fake libcuda.so.1 and libnvidia-ml.so.1 of tests/fake_cuda, in $(BUILD)/fake_cuda; see the README
# there. Included by the Makefile behind gpu/cuda.mk and the rule of all. Without the
# toolkit's cuda.h there is only NVML.
#
#   fake-cuda       the libraries
#   FAKE_CUDA_LIBS  the same as a list, for those that need them
#
# fake_cuda/old holds a libcuda.so.1 as old drivers are: without cuGetProcAddress.

FAKE_DIR   = $(BUILD)/fake_cuda
FAKE_CUDA  = $(filter-out tests/fake_cuda/nvml.c tests/fake_cuda/old.c,$(wildcard tests/fake_cuda/*.c)) \
	$(wildcard gpu/kernels/*.c) gpu/base/cancel.c gpu/base/packet.c gpu/base/parallel.c gpu/base/thread.c runtime/base/error.c runtime/base/helper.c runtime/base/home.c runtime/base/log.c runtime/base/log_file.c runtime/base/scm.c runtime/base/tensor.c runtime/base/thread.c runtime/base/trust.c
FAKE_NVML  = tests/fake_cuda/nvml.c tests/fake_cuda/trigger.c
fake_obj   = $(patsubst %.c,$(FAKE_DIR)/obj/%.o,$(1))
FAKE_OBJ   = $(call fake_obj,$(sort $(FAKE_CUDA) $(FAKE_NVML) tests/fake_cuda/old.c))
FAKE_CUDA_LIBS = $(if $(HAVE_CUDA),$(FAKE_DIR)/libcuda.so.1 $(FAKE_DIR)/old/libcuda.so.1) \
	$(FAKE_DIR)/libnvidia-ml.so.1
# a function that a list has and a fake has not is an undefined symbol
FAKE_LINK  = $(CC) $(filter-out -pie,$(ALL_LDFLAGS)) -shared -Wl,-z,defs

.PHONY: fake-cuda
fake-cuda: $(FAKE_CUDA_LIBS)
unit bats: $(FAKE_CUDA_LIBS)

$(FAKE_DIR)/obj/%.o: %.c $(BUILD)/flags
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) $(ALL_CFLAGS) -fPIC -fvisibility=hidden -MMD -MP -c -o $@ $<

$(FAKE_DIR)/libcuda.so.1: $(call fake_obj,$(FAKE_CUDA))
	$(call say,LD,$@)mkdir -p $(@D) && $(FAKE_LINK) -Wl,-soname,libcuda.so.1 -o $@ $^ $(PKG_WORKER) -lm

$(FAKE_DIR)/old/libcuda.so.1: $(call fake_obj,tests/fake_cuda/old.c)
	$(call say,LD,$@)mkdir -p $(@D) && $(FAKE_LINK) -Wl,-soname,libcuda.so.1 -o $@ $^

$(FAKE_DIR)/libnvidia-ml.so.1: $(call fake_obj,$(FAKE_NVML))
	$(call say,LD,$@)mkdir -p $(@D) && $(FAKE_LINK) -Wl,-soname,libnvidia-ml.so.1 -o $@ $^

-include $(FAKE_OBJ:.o=.d)
