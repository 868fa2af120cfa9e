# rkfs: GPU kernels as files.
#
# Targets
#   all        build/mount.rkfs, rk-worker, rkcall and rktop (the default)
#   deps       install the Debian packages that a build needs and that are missing (needs root)
#   up         deps, all, then mount at MNT and print five commands to try
#   down       unmount MNT; does nothing where no rkfs is mounted
#   check      set up, then every test: unit, bats, and unit under ASan+UBSan and TSan;
#              the last line is "N passed, N failed"
#   kernels    the tests' user libraries, tests/kernels_src/, with descriptions in build/kernels
#   unit       the unit programs, tests/unit/ROOM/test_*.c, and the fuzz targets on their corpus
#   fuzz       each fuzz target, tests/fuzz/fuzz_*.c, for FUZZ_S seconds (clang, libFuzzer)
#   bats       the tests of a mounted rkfs, tests/bats/*.bats; needs root and /dev/fuse
#   check-system  the tests that boot a container, build a package or run other daemons,
#              tests/system/*.bats; needs root
#   check-trixie  unit and bats, built and run in a bare root of Debian trixie, which debootstrap makes
#              and /var/cache/rkfs keeps; without CUDA; needs root
#   asan       a build in build/asan with AddressSanitizer and UBSan; runs its unit programs
#   tsan       the same in build/tsan with ThreadSanitizer
#   lint       who includes and calls whom (tests/lint/tower), format, shellcheck, cppcheck, man pages
#   fmt        clang-format -i on all C files
#   bench      measure the binaries in BIN against their floors; needs root and /dev/fuse.
#              Its programs are built by bats too, which runs each for one round
#   install    mount.rkfs to /sbin (libmount looks nowhere else), the rest below PREFIX
#   deb        build/deb/rkfs_VERSION_amd64.deb, with debhelper
#   uninstall  remove what install put there; the configuration stays
#   clean      remove build/
#   help       print this
#
# Knobs (make NAME=value)
#   MNT=/mnt/rk        where up mounts and down unmounts
#   CONFIG=            configuration file for up (etc/rkfs.conf)
#   PREFIX=/usr/local  for install; also compiled in, as the place of rk-worker
#   DESTDIR=           put in front of every installed path
#   CC=, CFLAGS=, LDFLAGS=   compiler; flags given here are added to the project's
#   WERROR=1           warnings are errors (as in CI)
#   BIN=build          which binaries bats and bench use, for example BIN=build/asan
#   FUZZ_S=60          seconds for each fuzz target
#   BENCH_ARGS=        --once: bench runs everything once and prints nothing
#   OTHER=             another build's BIN: bench compares small calls with it
#   TESTS=             names of unit programs or bats files to run alone: TESTS="config plan"
#   NVCC=, CUDA_HOME=, CUDA_ARCHS="75 90"   CUDA toolkit (NVCC=no: none), and what to compile for
#   SYSTEMD=no         without libsystemd
#   V=1                show the commands

# Where root builds in the tree of somebody else, as sudo does, all of it happens in a make below this
# one, after which build/ is given to whom the tree belongs: his own make shall work there as before.
owner := $(if $(RK_GIVEN_BACK)$(findstring n,$(firstword -$(MAKEFLAGS))),,$(filter-out 0:%, \
	$(shell [ "$$(id -u)" -ne 0 ] || stat -c %u:%g .)))
ifneq ($(owner),)

.PHONY: below $(or $(MAKECMDGOALS),all)
$(or $(MAKECMDGOALS),all): below ;
below:
	@+trap : INT TERM; $(MAKE) --no-print-directory RK_GIVEN_BACK=1 $(MAKECMDGOALS); status=$$?; \
	for dir in build '$(or $(BUILD),build)'; do [ ! -d "$$dir" ] || chown -hR $(owner) "$$dir/"; done; \
	exit $$status

else

VERSION    = 0.1.0

MNT        = /mnt/rk
CONFIG     = etc/rkfs.conf
PREFIX     = /usr/local
DESTDIR    =
BUILD      = build
FUZZ_S     = 60
BIN        = $(BUILD)
LIBEXECDIR = $(PREFIX)/libexec/rkfs
MANDIR     = $(PREFIX)/share/man
COMPDIR    = $(PREFIX)/share/bash-completion/completions
UNITDIR    = $(PREFIX)/lib/systemd/system
INCDIR     = $(PREFIX)/include/rkfs

# all cores, unless whoever calls make says how many
ALL_CORES  = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc))

SHELL      = /bin/sh
PKG_CONFIG = pkg-config
quiet      = $(findstring s,$(filter-out --%,$(firstword -$(MAKEFLAGS))))
say        = $(if $(V),,@$(if $(quiet),,printf '  %-7s %s\n' '$(1)' '$(2)';))

# libsystemd tells a service manager how the daemon does; without it, or with SYSTEMD=no, nobody is told
HAVE_SYSTEMD = $(if $(filter no,$(SYSTEMD)),,$(call once,HAVE_SYSTEMD,$(shell $(PKG_CONFIG) --exists libsystemd 2>/dev/null && echo 1)))
LIBS_DAEMON = fuse3 inih jansson libseccomp $(if $(HAVE_SYSTEMD),libsystemd)
LIBS_WORKER = libffi jansson
# asked once, and only by a target that compiles: `make deps` must work without pkg-config
once        = $(eval $(1) := $(2))$(2)
PKG_CFLAGS  = $(call once,PKG_CFLAGS,$(shell $(PKG_CONFIG) --cflags $(LIBS_DAEMON) $(LIBS_WORKER)))
PKG_DAEMON  = $(call once,PKG_DAEMON,$(shell $(PKG_CONFIG) --libs $(LIBS_DAEMON)))
PKG_WORKER  = $(call once,PKG_WORKER,$(shell $(PKG_CONFIG) --libs $(LIBS_WORKER)))
PKG_RKTOP   = $(call once,PKG_RKTOP,$(shell $(PKG_CONFIG) --libs ncursesw))
PKG_CMOCKA  = $(call once,PKG_CMOCKA,$(shell $(PKG_CONFIG) --libs cmocka))

# a sanitizer's build is to be compiled soon and to name lines, no more: half the time of -O2 -g; that
# warns of what only it can tell; and it checks the assertions
OPT_FLAGS   = $(if $(SANITIZE),-O1 -g1,-O2 -g -DNDEBUG $(HARD_FLAGS))
# what makes a mistake in C end the process instead of serving somebody; packages have flags of their own
HARD_FLAGS  = -fstack-protector-strong -fPIE $(if $(filter x86_64,$(MACHINE)),-fcf-protection) \
	$(if $(findstring _FORTIFY_SOURCE,$(CFLAGS) $(CPPFLAGS)),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3)
HARD_LINK   = -pie -Wl,-z,relro,-z,now
MACHINE     = $(call once,MACHINE,$(shell uname -m))
SAN_FLAGS   = $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer \
	$(if $(findstring clang,$(CC)),,-Wno-maybe-uninitialized))
# nvcc, the CUDA kernels, and whether there is a CUDA backend at all
include gpu/cuda.mk

ALL_CFLAGS  = -std=gnu17 -D_GNU_SOURCE -I. -DFUSE_USE_VERSION=312 $(OPT_FLAGS) -pthread \
	-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	$(if $(WERROR),-Werror) $(SAN_FLAGS) $(PKG_CFLAGS) \
	-DRK_VERSION='"$(VERSION)"' $(if $(HAVE_SYSTEMD),-DRK_HAVE_SYSTEMD) $(CUDA_CFLAGS) $(CUDA_INC) $(CFLAGS)
ALL_LDFLAGS = -pthread -Wl,--as-needed $(if $(SANITIZE),,$(HARD_LINK)) $(SAN_FLAGS) $(LDFLAGS)
TEST_CFLAGS = -DRK_SOURCE_DIR='"$(CURDIR)"' -DRK_WORKER_PATH='"$(abspath $(BUILD)/rk-worker)"' \
	-DRK_KERNELS_DIR='"$(abspath $(KERNELS_DIR))"' \
	-DRK_FAKE_CUDA_DIR='"$(abspath $(BUILD)/fake_cuda)"'
# as a user builds a library, whatever this build is; results do not depend on fused instructions
LIB_CFLAGS  = -std=gnu17 -O2 -g -Wall -Wextra $(if $(WERROR),-Werror) -shared -fPIC -pthread \
	-ffp-contract=off

# --- sources ----------------------------------------------------------------

obj       = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
FS        = $(wildcard fs/*.c fs/*/*.c)
RUNTIME   = $(wildcard runtime/*.c runtime/*/*.c)
# without nvcc there is no cuda.h either
GPU       = $(filter-out $(if $(HAVE_CUDA),,gpu/cuda/%),$(wildcard gpu/*.c gpu/*/*.c))
GEN       = $(BUILD)/gen/manifest_builtins.c
# all that gpu/ uses of runtime/base (an arrow too many fails to link)
SHARED    = $(wildcard $(addprefix runtime/base/,backends.c error.c helper.c home.c log.c log_file.c scm.c tensor.c thread.c trust.c))
MAINS     = fs/mount/mount_rkfs.c fs/client/rkcall.c fs/client/rktop.c gpu/worker_main.c
RKCALL    = $(wildcard fs/client/rkcall*.c)
RKTOP     = $(wildcard fs/client/rktop*.c)
# without cuda.h there is nothing to test with it
UNIT      = $(filter-out $(if $(HAVE_CUDA),,$(shell grep -l 'gpu/cuda/\|<cuda\.h>\|cuda_rig\.h\|fake_cuda' tests/unit/*/test_*.c)), \
	$(wildcard tests/unit/*/test_*.c))
FUZZ      = $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_HELP = tests/fuzz/request.c
BENCH     = $(wildcard tests/bench/*.c)

GEN_OBJ    = $(GEN:.c=.o)
DAEMON_OBJ = $(call obj,$(filter-out $(RKCALL) $(RKTOP),$(FS)) $(RUNTIME)) $(GEN_OBJ)
WORKER_OBJ = $(call obj,$(GPU) $(SHARED))
RKCALL_OBJ = $(call obj,$(RKCALL))
RKTOP_OBJ  = $(call obj,$(RKTOP))
LIB_OBJ    = $(call obj,$(filter-out $(MAINS) fs/client/rktop_view.c,$(FS) $(RUNTIME) $(GPU))) $(GEN_OBJ)
UNIT_MAIN  = $(call obj,tests/unit/unit.c)
UNIT_OBJ   = $(call obj,$(UNIT)) $(UNIT_MAIN)
UNIT_BIN   = $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(UNIT))
FUZZ_OBJ   = $(call obj,$(FUZZ) $(FUZZ_HELP) tests/fuzz/replay.c)
# the same targets twice: on their corpus alone, and with libFuzzer
REPLAY_BIN = $(patsubst tests/fuzz/%.c,$(BUILD)/replay/%,$(FUZZ))
FUZZ_BIN   = $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(FUZZ))
BENCH_OBJ  = $(call obj,$(BENCH))
BENCH_BIN  = $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(BENCH))
CUDA_SRC   = $(wildcard tests/kernels_src/*.cu)
# compiled as a user does it, whatever the build: one directory for the builds with sanitizers too
KERNELS_DIR = $(if $(filter build build/%,$(BUILD)),build,$(BUILD))/kernels
RING_H      = $(addprefix $(KERNELS_DIR)/include/rkfs/,ring.h ring.cuh)
KERNELS    = $(patsubst tests/kernels_src/%.c,$(KERNELS_DIR)/%.so,$(wildcard tests/kernels_src/*.c)) \
	$(patsubst tests/kernels_src/%,$(KERNELS_DIR)/%,$(filter-out \
	$(if $(HAVE_CUDA),,$(patsubst %.cu,%.ini,$(CUDA_SRC))),$(wildcard tests/kernels_src/*.ini))) \
	$(if $(HAVE_CUDA),$(patsubst tests/kernels_src/%.cu,$(KERNELS_DIR)/%.fatbin,$(CUDA_SRC)))
ALL_OBJ    = $(sort $(DAEMON_OBJ) $(RKCALL_OBJ) $(RKTOP_OBJ) $(WORKER_OBJ) $(UNIT_OBJ) $(FUZZ_OBJ) $(BENCH_OBJ) $(call obj,tests/hangfs/hangfs.c))
BATS       = $(wildcard tests/bats/*.bats)
C_FILES    = $(wildcard $(foreach room,fs runtime gpu tests,$(room)/*.[ch] $(room)/*/*.[ch]) tests/unit/*/*.[ch])

RUN        = $(if $(RESULTS),RESULTS='$(RESULTS)') BIN='$(abspath $(BIN))' tests/run

# --- build ------------------------------------------------------------------

.PHONY: all kernels deps up down check check-system check-trixie unit bats asan tsan lint fmt bench deb install uninstall clean help \
	FORCE
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:

all: $(BUILD)/mount.rkfs $(BUILD)/rk-worker $(BUILD)/rkcall $(BUILD)/rktop

# libfuse ends its threads with pthread_cancel, which loads libgcc_s only then and aborts where it
# cannot, for want of a descriptor for example; the mount would be left behind
$(BUILD)/mount.rkfs: $(DAEMON_OBJ)
	$(call say,LD,$@)$(CC) $(ALL_LDFLAGS) -o $@ $(DAEMON_OBJ) $(PKG_DAEMON) -lm \
		-Wl,--no-as-needed -lgcc_s

$(BUILD)/rk-worker: $(WORKER_OBJ)
	$(call say,LD,$@)$(CC) $(ALL_LDFLAGS) -o $@ $(WORKER_OBJ) $(PKG_WORKER) -ldl -lm

$(BUILD)/rkcall: $(RKCALL_OBJ) $(BUILD)/librkfs.a
	$(call say,LD,$@)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_DAEMON) -lm

$(BUILD)/rktop: $(RKTOP_OBJ) $(BUILD)/librkfs.a
	$(call say,LD,$@)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_RKTOP) $(PKG_DAEMON) -lm

$(BUILD)/librkfs.a: $(LIB_OBJ)
	$(call say,AR,$@)rm -f $@ && $(AR) rcs $@ $(LIB_OBJ)

$(BUILD)/unit/%: $(BUILD)/obj/tests/unit/%.o $(UNIT_MAIN) $(BUILD)/librkfs.a
	$(call say,LD,$@)mkdir -p $(@D) && $(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) \
		$(BUILD)/librkfs.a $(PKG_CMOCKA) $(PKG_DAEMON) $(PKG_WORKER) -ldl -lm

$(BUILD)/replay/%: $(BUILD)/obj/tests/fuzz/%.o $(call obj,$(FUZZ_HELP) tests/fuzz/replay.c) $(BUILD)/librkfs.a
	$(call say,LD,$@)mkdir -p $(@D) && $(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_DAEMON) \
		$(PKG_WORKER) -ldl -lm

$(BUILD)/fuzz/%: $(BUILD)/obj/tests/fuzz/%.o $(call obj,$(FUZZ_HELP)) $(BUILD)/librkfs.a
	$(call say,LD,$@)mkdir -p $(@D) && $(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $^ \
		$(PKG_DAEMON) $(PKG_WORKER) -ldl -lm

# the target starts no worker: it is the worker
$(BUILD)/replay/fuzz_wire $(BUILD)/fuzz/fuzz_wire: private ALL_LDFLAGS += -Wl,--wrap=rk_process_spawn

$(BUILD)/bench/%: $(BUILD)/obj/tests/bench/%.o $(BUILD)/librkfs.a
	$(call say,LD,$@)mkdir -p $(@D) && $(CC) $(ALL_LDFLAGS) -o $@ $^ $(PKG_DAEMON) \
		$(PKG_WORKER) -ldl -lm

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) $(ALL_CFLAGS) $(OWN_CFLAGS) -MMD -MP -c -o $@ $<

# the one object that knows PREFIX, so that another PREFIX compiles no other
$(BUILD)/obj/fs/mount/mount_rkfs.o: private OWN_CFLAGS = -DRK_LIBEXECDIR='"$(LIBEXECDIR)"'
$(BUILD)/obj/fs/mount/mount_rkfs.o: $(BUILD)/prefix_flags

$(BUILD)/obj/tests/%.o: tests/%.c $(BUILD)/flags $(BUILD)/test_flags
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) $(ALL_CFLAGS) $(TEST_CFLAGS) $(OWN_CFLAGS) -MMD -MP -c -o $@ $<

# most of a check's compiling would else be the optimisation of what runs once
$(BUILD)/obj/tests/unit/%.o: private OWN_CFLAGS = -O0

$(BUILD)/gen/%.o: $(BUILD)/gen/%.c $(BUILD)/flags
	$(call say,CC,$<)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# a file system that stops answering, for tests
$(BUILD)/hangfs: $(BUILD)/obj/tests/hangfs/hangfs.o
	$(call say,LD,$@)$(CC) $(ALL_LDFLAGS) -o $@ $< $(PKG_DAEMON)

kernels: $(KERNELS)

$(KERNELS_DIR)/nodelete_%.so: LIB_LDFLAGS = -Wl,-z,nodelete

# under another name first: a worker may have the old one open, and two builds may be at it
$(KERNELS_DIR)/%.so: tests/kernels_src/%.c $(wildcard tests/kernels_src/*.h) $(KERNELS_DIR)/flags
	$(call say,CC,$@)$(CC) $(LIB_CFLAGS) $(LIB_LDFLAGS) -o $@.$$$$ $< -lm && mv $@.$$$$ $@

# as a user would, with the header where `make install` puts it
$(KERNELS_DIR)/%.fatbin: tests/kernels_src/%.cu $(RING_H) $(KERNELS_DIR)/flags
	$(call say,NVCC,$@)$(NVCC) -fatbin -arch=all-major -I $(@D)/include -o $@.$$$$ $< && mv $@.$$$$ $@

$(RING_H) &: gpu/kernels/ring.h gpu/kernels/ring.cuh
	@mkdir -p $(@D) && cp gpu/kernels/ring.h gpu/kernels/ring.cuh $(@D)/

$(KERNELS_DIR)/%.ini: tests/kernels_src/%.ini $(KERNELS_DIR)/flags
	$(call say,CP,$@)cp $< $@

# written anew only where it differs, so that a removed description is noticed too
$(GEN): FORCE
	@mkdir -p $(@D) && sh runtime/kernel/embed.sh $(wildcard etc/kernels.d/*.ini) >$@.$$$$ && \
	if cmp -s $@.$$$$ $@; then rm $@.$$$$; else mv $@.$$$$ $@; fi

# other flags or another compiler: everything is compiled again; in another place: the tests
$(BUILD)/flags: now = $(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS)
$(BUILD)/prefix_flags: now = $(LIBEXECDIR)
$(BUILD)/test_flags: now = $(TEST_CFLAGS)
$(KERNELS_DIR)/flags: now = $(CC) $(LIB_CFLAGS) $(NVCC)
$(BUILD)/flags $(BUILD)/prefix_flags $(BUILD)/test_flags $(KERNELS_DIR)/flags: FORCE
	@mkdir -p $(@D) && printf '%s\n' '$(subst ','\'',$(now))' >$@.$$$$ && \
	if cmp -s $@.$$$$ $@; then rm $@.$$$$; else mv $@.$$$$ $@; fi

FORCE:

-include $(ALL_OBJ:.o=.d)

include tests/fake_cuda/fake.mk
include tests/cuda_emu/emu.mk
-include tests/gpu/gpu.mk

# --- try it -----------------------------------------------------------------

deps:
	@.ci/deps.sh build

# Whether an rkfs is mounted at MNT, as the kernel writes that. The table is asked, never the directory: a
# daemon that hangs must not hang this.
up down: export MNT := $(MNT)
find_mnt = parent=$$(CDPATH= cd -- "$$(dirname -- "$$MNT")" 2>/dev/null && pwd -P) && dir=$${parent%/}/$$(basename -- "$$MNT") || dir=; \
	mounted() { \
		dir=$$(printf %s "$$dir" | sed 's/\\/\\134/g; s/ /\\040/g; s/	/\\011/g') awk \
			'$$5 == ENVIRON["dir"] && / - fuse\.rkfs / { found = 1 } END { exit !found }' /proc/self/mountinfo; \
	}; \
	mounted || [ ! -L "$$MNT" ] || dir=$$(readlink -f -- "$$MNT")

# what deps installs must be there before make looks for libraries: hence a second make
up:
	@.ci/deps.sh build
	@+$(MAKE) --no-print-directory $(ALL_CORES) all
	@$(find_mnt); \
	if mounted && state=$$(timeout -k 1 5 cat "$$dir/state" 2>/dev/null); then \
		printf '%s\n' "rkfs is mounted at $$MNT already; its state is $$state"; \
		exit; \
	fi; \
	mounted || mkdir -p -- "$$MNT" || exit; \
	$(BUILD)/mount.rkfs '$(CONFIG)' "$$MNT" || exit; \
	case $$MNT in *[!A-Za-z0-9_./-]*) at="'$$MNT'" ;; *) at=$$MNT ;; esac; \
	printf '%s\n' "rkfs is mounted at $$MNT. Try:" \
	"  cat $$at/state" \
	"  cat $$at/stats/all" \
	"  (exec 3<>$$at/kernels/core/vector-add/call.json; echo '{\"a\":[1,2,3],\"b\":[10,20,30]}' >&3; cat <&3)" \
	"  echo drain >$$at/control && cat $$at/wait/stopped" \
	"  cat $$at/events" \
	"To unmount it: make down$(if $(filter file,$(origin MNT)),, MNT=$$at)"

down:
	@$(find_mnt); \
	if ! mounted; then printf '%s\n' "no rkfs is mounted at $$MNT"; \
	elif [ "$$(id -u)" -eq 0 ]; then umount -- "$$dir"; \
	else fusermount3 -u -- "$$dir"; fi

# --- tests ------------------------------------------------------------------

check:
	@.ci/deps.sh build test
	@+MAKE='$(MAKE) $(ALL_CORES)' tests/run check '$(BUILD)/results'

wanted = $(if $(TESTS),$(foreach t,$(TESTS),$(filter %/$(t) %/test_$(t) %/$(t).bats,$(1))),$(1))

unit: $(UNIT_BIN) $(REPLAY_BIN) $(BUILD)/rk-worker $(KERNELS)
	@BIN='$(abspath $(BUILD))' $(if $(RESULTS),RESULTS='$(RESULTS)') tests/run unit $(call wanted,$(UNIT_BIN) $(REPLAY_BIN))

bats: $(if $(filter $(BUILD),$(BIN)),all kernels) $(BUILD)/hangfs $(BENCH_BIN)
	@$(RUN) bats $(call wanted,$(BATS))

asan:
	@+$(MAKE) --no-print-directory BUILD=build/asan SANITIZE=address,undefined all unit

tsan:
	@+$(MAKE) --no-print-directory BUILD=build/tsan SANITIZE=thread all unit

fuzz:
	@.ci/deps.sh build fuzz
	@+$(MAKE) --no-print-directory BUILD=build/fuzz CC=clang SANITIZE=address,undefined \
		CFLAGS='-fsanitize=fuzzer-no-link $(CFLAGS)' fuzz-run

# what is found stays in build/fuzz/corpus, and what fails in build/fuzz/found
fuzz-run: $(FUZZ_BIN)
	@set -e; for bin in $(call wanted,$(FUZZ_BIN)); do \
		name=$${bin##*/fuzz_}; \
		mkdir -p '$(BUILD)/corpus/'$$name '$(BUILD)/found'; \
		echo "== fuzz $$name, $(FUZZ_S) s"; \
		$$bin -max_total_time=$(FUZZ_S) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
			-verbosity=0 -artifact_prefix='$(BUILD)/found/'$$name- \
			'$(BUILD)/corpus/'$$name tests/fuzz/corpus/$$name; \
	done

lint:
	@.ci/deps.sh build lint
	@+$(MAKE) --no-print-directory $(ALL_CORES) all
	@tests/lint/run '$(BUILD)/obj'

fmt:
	clang-format -i $(C_FILES)

bench: $(if $(filter $(BUILD),$(BIN)),all) $(BENCH_BIN)
	@BIN='$(abspath $(BIN))' HELPERS='$(abspath $(BUILD)/bench)' OTHER='$(if $(OTHER),$(abspath $(OTHER)))' \
	tests/bench/run $(BENCH_ARGS)

# what boots a container or builds a package; one after the other, as several build in this tree
check-system: all
	@.ci/deps.sh build test system deb
	@echo '== check-system'
	@+JOBS=1 $(RUN) bats $(call wanted,$(wildcard tests/system/*.bats))

check-trixie:
	@.ci/deps.sh system
	@echo '== check-trixie'
	@.ci/trixie.sh $(if $(WERROR),WERROR=1) $(if $(TESTS),TESTS='$(TESTS)')

# --- install ----------------------------------------------------------------

MAN1 = $(wildcard doc/*.1)
MAN5 = $(wildcard doc/*.5)
MAN8 = $(wildcard doc/*.8)

install: all
	install -D -m 755 $(BUILD)/mount.rkfs '$(DESTDIR)/sbin/mount.rkfs'
	ln -sf mount.rkfs '$(DESTDIR)/sbin/mount.fuse.rkfs' # by that type libmount knows what is mounted
	install -D -m 755 $(BUILD)/rk-worker '$(DESTDIR)$(LIBEXECDIR)/rk-worker'
	install -D -m 755 -t '$(DESTDIR)$(PREFIX)/bin' $(BUILD)/rkcall $(BUILD)/rktop
	install -D -m 644 etc/completion/rkcall.bash '$(DESTDIR)$(COMPDIR)/rkcall'
	install -D -m 644 -t '$(DESTDIR)$(UNITDIR)' etc/systemd/rkfs@.service etc/systemd/rkfs-nvidia.service
	install -D -m 755 -t '$(DESTDIR)$(LIBEXECDIR)/slurm' etc/slurm/healthcheck etc/slurm/prolog etc/slurm/epilog \
		etc/slurm/gpus.sbatch
	install -D -m 644 -t '$(DESTDIR)$(LIBEXECDIR)/slurm' etc/slurm/rkfs-slurm.sh
	install -D -m 644 -t '$(DESTDIR)$(PREFIX)/share/rkfs' etc/prometheus/rkfs.rules.yml
	install -D -m 644 -t '$(DESTDIR)$(INCDIR)' gpu/kernels/ring.h gpu/kernels/ring.cuh
	[ -e '$(DESTDIR)/etc/logrotate.d/rkfs' ] || \
		install -D -m 644 etc/logrotate/rkfs '$(DESTDIR)/etc/logrotate.d/rkfs'
	[ -e '$(DESTDIR)/etc/rkfs/rkfs.conf' ] || \
		install -D -m 644 etc/rkfs.conf '$(DESTDIR)/etc/rkfs/rkfs.conf'
	$(if $(MAN1),install -D -m 644 -t '$(DESTDIR)$(MANDIR)/man1' $(MAN1))
	$(if $(MAN5),install -D -m 644 -t '$(DESTDIR)$(MANDIR)/man5' $(MAN5))
	$(if $(MAN8),install -D -m 644 -t '$(DESTDIR)$(MANDIR)/man8' $(MAN8))

uninstall:
	rm -f '$(DESTDIR)/sbin/mount.rkfs' '$(DESTDIR)/sbin/mount.fuse.rkfs' '$(DESTDIR)$(LIBEXECDIR)/rk-worker' \
		'$(DESTDIR)$(PREFIX)/bin/rkcall' '$(DESTDIR)$(PREFIX)/bin/rktop' '$(DESTDIR)$(COMPDIR)/rkcall' \
		'$(DESTDIR)$(UNITDIR)/rkfs@.service' '$(DESTDIR)$(UNITDIR)/rkfs-nvidia.service' '$(DESTDIR)/etc/logrotate.d/rkfs' \
		'$(DESTDIR)$(INCDIR)/ring.h' '$(DESTDIR)$(INCDIR)/ring.cuh' \
		$(patsubst doc/%,'$(DESTDIR)$(MANDIR)/man1/%',$(MAN1)) \
		$(patsubst doc/%,'$(DESTDIR)$(MANDIR)/man5/%',$(MAN5)) \
		$(patsubst doc/%,'$(DESTDIR)$(MANDIR)/man8/%',$(MAN8))
	rm -rf '$(DESTDIR)$(LIBEXECDIR)/slurm' '$(DESTDIR)$(PREFIX)/share/rkfs'
	for dir in '$(DESTDIR)$(LIBEXECDIR)' '$(DESTDIR)$(INCDIR)'; do [ ! -d "$$dir" ] || rmdir "$$dir"; done

# a copy of the tree, since debhelper wants its files in debian/ and leaves some behind
deb:
	@.ci/deps.sh build deb
	rm -rf build/deb && mkdir -p build/deb/rkfs
	tar -c --exclude=./build --exclude=./.git . | tar -x -C build/deb/rkfs
	mv build/deb/rkfs/etc/debian build/deb/rkfs/debian
	cd build/deb/rkfs && dpkg-buildpackage --build=binary --unsigned-source --unsigned-changes
	@ls build/deb/*.deb

clean:
	rm -rf build

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//; p' $(firstword $(MAKEFILE_LIST))

endif
