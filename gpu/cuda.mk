# SPDX-License-Identifier: MIT
# Whether there is a CUDA backend (HAVE_CUDA), how its sources are compiled (CUDA_CFLAGS, CUDA_INC),
# and the kernels that ship: nvcc makes a fatbin and a PTX of them, gpu/cuda/images.c takes both in.
#
# The fatbin is for drivers that are as new as the toolkit. Its members are compressed, and its PTX is of
# the toolkit's version, so an older driver reads none of it. The PTX beside it is text for the oldest
# device that nvcc knows, and says the lowest version that it assembles with: nvcc writes its own.
#
# Knobs (make NAME=value)
#   NVCC=         nvcc to use; else the one in PATH, of CUDA_HOME or of /usr/local/cuda; "no" = none
#   CUDA_HOME=    where the toolkit is
#   CUDA_ARCHS=   "75 90": compute capabilities to compile for, without the dot, ascending, and PTX of
#                 the last one; default: 70 and all later ones that nvcc knows

.DEFAULT_GOAL := all

# the redirection makes it a job for the shell, which `command` needs
NVCC      ?= $(call once,NVCC,$(firstword $(shell command -v nvcc 2>/dev/null) \
	$(wildcard $(addsuffix /bin/nvcc,$(CUDA_HOME) /usr/local/cuda))))
cuda_nvcc := $(filter-out no,$(NVCC))
cuda_root := $(patsubst %/bin/nvcc,%,$(realpath $(or $(wildcard $(lastword $(cuda_nvcc))), \
	$(shell command -v '$(lastword $(cuda_nvcc))' 2>/dev/null))))
# cuda.h may come in a package of its own
cuda_h    := $(if $(cuda_nvcc),$(firstword $(wildcard $(addsuffix /cuda.h,$(cuda_root)/include \
	$(cuda_root)/targets/*/include $(CUDA_HOME)/include /usr/local/cuda/include /usr/include))))
cuda_why  := $(if $(cuda_nvcc),$(if $(cuda_h),,no cuda.h for $(cuda_nvcc)),no nvcc)

# said by those that build, and once, not by each make that they start
ifneq ($(cuda_why),)
ifneq ($(filter-out deps down lint fmt uninstall clean help,$(or $(MAKECMDGOALS),all)),)
ifndef RK_WITHOUT_CUDA
$(info $(cuda_why): building without the CUDA backend)
export RK_WITHOUT_CUDA = said
endif
endif
endif

ifeq ($(cuda_why),)

HAVE_CUDA   := 1
CUDA_CFLAGS := -DRK_HAVE_CUDA
CUDA_INC    := $(addprefix -isystem ,$(filter-out /usr/include,$(patsubst %/,%,$(dir $(cuda_h)))))

cuda_known   = $(call once,cuda_known,$(shell $(NVCC) --list-gpu-arch | \
	sed -n 's/^compute_\([0-9]*\)$$/\1/p' | sort -n | awk '$$1 >= 70'))
CUDA_ARCHS  ?= $(cuda_known)
# no fused operations but those written out: as the C functions round; compressed to a third
NVCC_BASE    = -std=c++17 -O3 -I. -fmad=false
NVCC_FLAGS   = $(NVCC_BASE) \
	$(foreach a,$(CUDA_ARCHS),-gencode arch=compute_$(a),code=sm_$(a)) \
	$(foreach a,$(lastword $(CUDA_ARCHS)),-gencode arch=compute_$(a),code=compute_$(a)) \
	-Xfatbin -compress-all

# one for the builds with sanitizers too
CUDA_DIR    := $(if $(filter build build/%,$(BUILD)),build,$(BUILD))/cuda

$(BUILD)/obj/gpu/cuda/images.o: $(CUDA_DIR)/builtins.fatbin $(CUDA_DIR)/builtins.ptx
$(BUILD)/obj/gpu/cuda/images.o: private ALL_CFLAGS += -DRK_CUDA_BUILTINS='"$(CUDA_DIR)/builtins"'

builtins_cu = gpu/kernels/builtins.cu $(wildcard gpu/kernels/*.cu gpu/kernels/*.cuh) gpu/kernels/ring.h \
	$(addprefix gpu/kernels/,kernels.h nan.h normal.h philox.h) $(CUDA_DIR)/flags

# two builds may be at it at the same time
$(CUDA_DIR)/builtins.fatbin: $(builtins_cu)
	$(call say,NVCC,$@)$(NVCC) $(NVCC_FLAGS) $(if $(WERROR),-Werror all-warnings) \
		-t 0 -fatbin -o $@.$$$$ $< && mv -f $@.$$$$ $@

# 7.4 is what the oldest driver (RK_CUDA_DRIVER_MIN) knows
PTX_VERSIONS = 6.0 6.1 6.2 6.3 6.4 6.5 7.0 7.1 7.2 7.3 7.4
PTX_ARCH     = $(firstword $(cuda_known))

$(CUDA_DIR)/builtins.ptx: $(builtins_cu)
	$(call say,NVCC,$@)$(NVCC) $(NVCC_BASE) -arch=compute_$(PTX_ARCH) -ptx -o $@.$$$$ $< && \
	for version in $(PTX_VERSIONS) none; do \
		[ $$version != none ] || { echo '$@: assembles with none of $(PTX_VERSIONS)' >&2; exit 1; }; \
		sed "s/^\.version .*/.version $$version/" $@.$$$$ >$@.$$$$.ptx && \
		! $(NVCC) -arch=sm_$(PTX_ARCH) -cubin -o $@.$$$$.cubin $@.$$$$.ptx >/dev/null 2>&1 || break; \
	done && mv -f $@.$$$$.ptx $@ && rm -f $@.$$$$ $@.$$$$.cubin

$(CUDA_DIR)/flags: FORCE
	@mkdir -p $(@D) && printf '%s\n' '$(NVCC) $(NVCC_FLAGS) $(PTX_ARCH)' >$@.$$$$ && \
	if cmp -s $@.$$$$ $@; then rm $@.$$$$; else mv -f $@.$$$$ $@; fi

endif

include tests/cuda_emu/emu.mk
