# SPDX-License-Identifier: GPL-2.0-or-later
# One Makefile for everything, not recursive. Run it in the source folder or wherever configure ran;
# what it makes goes below build/ there. "make help" lists the goals.

SRC ?= $(patsubst %/,%,$(dir $(firstword $(MAKEFILE_LIST))))
B := build
MAKEFLAGS += --no-builtin-rules
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j$(shell nproc)
endif

all: programs

# Goals that need more than the build does let configure install what is missing first.
GOALS_demo := demo
GOALS_check := check check-asan check-tsan
GOALS_slow := check-slow check-valgrind check-fuzz bench bench-guest
NEEDED := $(lastword $(foreach s,demo check slow,$(if $(filter $(GOALS_$(s)),$(MAKECMDGOALS)),$(s))))
CONFIGURED := $(B)/config.mk $(NEEDED:%=$(B)/has-%.mk)

ifneq ($(filter-out help clean distclean dist deb check-layers check-columns,$(or $(MAKECMDGOALS),all)),)
include $(CONFIGURED)
endif

$(CONFIGURED) &: $(SRC)/configure $(SRC)/VERSION
	@$(CONFIGURE_ENV) $(SRC)/configure $(CONFIGURE_ARGS) $(NEEDED:%=--install-deps=%)

# ---- rooms -------------------------------------------------------------------------------------
# A room is a folder; all its sources make one static library. Below modules/ each folder is a
# library that is loaded when first needed (checkers of packages want it to name libc). What those
# are linked with that one can do without, configure says.

ROOMS := util qapi crypto io block monitor nbd fuse tools control net system/base migration virtio virtio/blk vhost-user balloon tcg target hw
PROGRAMS := qemu-img qemu-io qemu-nbd qemu-storage-daemon qemu-system-x86_64 qemu-migrate
# Where the sources of a program are.
folder = $(or $(folder_$(1)),$(1))
folder_qemu-storage-daemon := storage-daemon
folder_qemu-system-x86_64 := system
FOLDERS := $(foreach p,$(PROGRAMS),$(call folder,$(p)))
# Those that QMP controls, and the rooms that bring their commands.
QMP_PROGRAMS := qemu-storage-daemon qemu-system-x86_64
QMP_ROOMS_qemu-storage-daemon := block monitor nbd
QMP_ROOMS_qemu-system-x86_64 := block monitor nbd net
# Those that emulate a machine.
EMULATORS := qemu-system-x86_64
MODULES := $(notdir $(wildcard $(addprefix $(SRC)/,$(addsuffix /modules/*,$(ROOMS) $(FOLDERS)))))
MODULE_LIBS_crypto := $(NETTLE_LIBS)
MODULE_LIBS_sandbox := $(LIBSECCOMP_LIBS)
MODULE_LIBS_tls := $(GNUTLS_LIBS)
MODULES := $(filter-out $(DISABLED_MODULES),$(MODULES))

sources = $(filter-out $(SRC)/$(1)/modules/% $(patsubst %,$(SRC)/%/%,$(filter $(1)/%,$(ROOMS))),$(foreach p,* */* */*/*,$(wildcard $(SRC)/$(1)/$(p).c)))
objects = $(patsubst $(SRC)/%.c,$(B)/obj/%.o,$(call sources,$(1)))
module_sources = $(wildcard $(SRC)/*/modules/$(1)/*.c)
module_objects = $(patsubst $(SRC)/%.c,$(B)/pic/%.o,$(call module_sources,$(1)))

GEN := $(B)/gen
LIBS := $(GLIB_2_0_LIBS) $(JANSSON_LIBS) $(LIBZSTD_LIBS) $(ZLIB_LIBS) $(LIBURING_LIBS) -lm -ldl -pthread
CPPFLAGS_ALL := -I$(SRC) -I$(B) -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -include $(B)/config.h \
    $(GLIB_2_0_CFLAGS) $(JANSSON_CFLAGS) $(GNUTLS_CFLAGS) $(OPTIONAL_CFLAGS) $(CPPFLAGS)
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition \
    -Wwrite-strings -Wvla -Wundef -Wformat=2 -Wno-unused-parameter -Wno-missing-field-initializers \
    -Wno-sign-compare
CFLAGS_ALL := -std=gnu17 -g $(OPTIMIZE) -fstack-protector-strong -fno-strict-aliasing -pthread $(WARNINGS) $(SANITIZE) \
    $(EXTRA_CFLAGS)
LDFLAGS_ALL := $(SANITIZE) -rdynamic -Wl,-z,relro,-z,now $(EXTRA_LDFLAGS)

.DELETE_ON_ERROR:
.SUFFIXES:

$(B)/obj/%.o: $(SRC)/%.c $(B)/config.h
	@mkdir -p $(@D)
	@echo "  CC $*.c"
	@$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(B)/pic/%.o: $(SRC)/%.c $(B)/config.h
	@mkdir -p $(@D)
	@echo "  CC $*.c (module)"
	@$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -fPIC -fvisibility=hidden -MMD -MP -c -o $@ $<

$(B)/obj/gen/%.o: $(GEN)/%.c $(B)/config.h
	@mkdir -p $(@D)
	@$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(B)/config.h: $(B)/config.mk ;

# ---- generated sources -------------------------------------------------------------------------

TABLE := $(SRC)/scripts/make-table

# The drivers, from the files of block/ that define one.
BLOCK_DRIVER_FILES := $(foreach d,formats formats/* protocols protocols/* filters,$(wildcard $(SRC)/block/$(d)/*.c)) $(SRC)/nbd/driver.c
$(GEN)/block-drivers.c: $(BLOCK_DRIVER_FILES) $(TABLE)
	@mkdir -p $(@D)
	@$(TABLE) BlockDriver block_drivers block/driver.h $(BLOCK_DRIVER_FILES) > $@

# The objects users make, from the files of the rooms that define a class.
OBJECT_CLASS_FILES := $(foreach r,util crypto io block,$(call sources,$(r)))
$(GEN)/object-classes.c: $(OBJECT_CLASS_FILES) $(TABLE)
	@mkdir -p $(@D)
	@$(TABLE) ObjectClass object_classes qapi/object.h $(OBJECT_CLASS_FILES) > $@

# Emulators also have objects for the guest's memory.
EMULATOR_OBJECT_FILES := $(OBJECT_CLASS_FILES) $(SRC)/system/memory-backend.c
$(GEN)/emulator-object-classes.c: $(EMULATOR_OBJECT_FILES) $(TABLE)
	@mkdir -p $(@D)
	@$(TABLE) ObjectClass object_classes qapi/object.h $(EMULATOR_OBJECT_FILES) > $@

# The kinds of character device, from the files of monitor/ that define one.
CHARDEV_FILES := $(call sources,monitor)
$(GEN)/chardev-drivers.c: $(CHARDEV_FILES) $(TABLE)
	@mkdir -p $(@D)
	@$(TABLE) ChardevDriver chardev_drivers monitor/backend.h $(CHARDEV_FILES) > $@

# The devices of emulated machines, from the files of hw/ that define one.
DEVICE_FILES := $(call sources,hw)
$(GEN)/device-classes.c: $(DEVICE_FILES) $(TABLE)
	@mkdir -p $(@D)
	@$(TABLE) DeviceClass device_classes system/base/device.h $(DEVICE_FILES) > $@

# The types of netdev, from the files of net/ that define one.
NETDEV_FILES := $(call sources,net)
$(GEN)/netdev-drivers.c: $(NETDEV_FILES) $(TABLE)
	@mkdir -p $(@D)
	@$(TABLE) NetdevDriver netdev_drivers net/backend.h $(NETDEV_FILES) > $@

# The kinds of export, from the files of the rooms that define one.
EXPORT_DRIVER_FILES := $(foreach r,nbd fuse vhost-user,$(call sources,$(r)))
$(GEN)/export-drivers.c: $(EXPORT_DRIVER_FILES) $(TABLE)
	@mkdir -p $(@D)
	@$(TABLE) ExportDriver export_drivers block/export.h $(EXPORT_DRIVER_FILES) > $@

SCHEMA_FILES := $(wildcard $(SRC)/qapi/*.json)
GEN_SCHEMA := $(addprefix $(GEN)/,schema.c schema.h qmp.c qmp.h)
$(GEN_SCHEMA) &: $(SRC)/qapi/gen.py $(SCHEMA_FILES)
	@mkdir -p $(@D)
	@python3 -B $(SRC)/qapi/gen.py $(SRC)/qapi/schema.json $(GEN)
GEN_OBJECTS := $(B)/obj/gen/schema.o $(B)/obj/gen/qmp.o
GEN_HEADERS := $(GEN)/schema.h $(GEN)/qmp.h
$(GEN_OBJECTS): $(GEN_HEADERS)

# The commands of a program, from the files qmp*.c of its folder and rooms.
qmp_sources = $(foreach r,$(QMP_ROOMS_$(1)) $(call folder,$(1)),$(wildcard $(SRC)/$(r)/qmp*.c))
define qmp_rule
$(GEN)/$(1)-qmp.c: $(SRC)/qapi/gen.py $(SCHEMA_FILES) $(call qmp_sources,$(1))
	@mkdir -p $$(@D)
	@python3 -B $(SRC)/qapi/gen.py $(SRC)/qapi/schema.json $$@ $(call qmp_sources,$(1))
endef
$(foreach p,$(QMP_PROGRAMS),$(eval $(call qmp_rule,$(p))))
$(foreach r,$(ROOMS) $(FOLDERS),$(call objects,$(r))): | $(GEN_HEADERS)
$(foreach m,$(MODULES),$(call module_objects,$(m))): | $(GEN_HEADERS)

$(GEN)/%-commands.c: $(TABLE)
	@mkdir -p $(@D)
	@$(TABLE) Command commands $*/command.h $(filter %.c,$^) > $@
$(foreach p,$(PROGRAMS),$(eval $(GEN)/$(p)-commands.c: $(call sources,$(p))))

# ---- libraries, modules, programs --------------------------------------------------------------

define room_rule
$(B)/lib/$(1).a: $(call objects,$(1)) $(if $(filter $(1),io),$(IO_ASM)) $(if $(filter $(1),qapi),$(GEN_OBJECTS))
	@mkdir -p $$(@D)
	@rm -f $$@
	@ar rcsD $$@ $$^
endef
IO_ASM := $(if $(filter asm,$(COROUTINE)),$(B)/obj/io/switch-$(ARCH).o)
$(foreach r,$(ROOMS),$(eval $(call room_rule,$(r))))

$(B)/obj/%.o: $(SRC)/%.S $(B)/config.h
	@mkdir -p $(@D)
	@$(CC) $(CPPFLAGS_ALL) -g $(EXTRA_CFLAGS) -c -o $@ $<

define module_rule
$(B)/modules/$(1).so: $(call module_objects,$(1))
	@mkdir -p $$(@D)
	@echo "  MODULE $(1)"
	@$$(CC) $$(LDFLAGS_ALL) -shared -o $$@ $$^ $$(MODULE_LIBS_$(1)) -lglib-2.0 -Wl,--no-as-needed -lc
endef
$(foreach m,$(MODULES),$(eval $(call module_rule,$(m))))

ifeq ($(STATIC_MODULES),yes)
MODULE_FILES :=
STATIC_OBJECTS := $(foreach m,$(MODULES),$(call module_objects,$(m)))
STATIC_LIBS := $(foreach m,$(MODULES),$(MODULE_LIBS_$(m)))
else
MODULE_FILES := $(addprefix $(B)/modules/,$(addsuffix .so,$(MODULES)))
endif

# From the top of the house down, as the linker wants them.
ROOM_LIBS := $(addprefix $(B)/lib/,control.a tools.a nbd.a fuse.a vhost-user.a virtio/blk.a virtio.a monitor.a block.a io.a crypto.a qapi.a util.a)
# What emulators link besides.
EMULATOR_LIBS := $(addprefix $(B)/lib/,hw.a balloon.a net.a target.a tcg.a system/base.a)
# What programs that read or write migration streams link besides.
MIGRATION_PROGRAMS := qemu-system-x86_64 qemu-migrate
# What modules alone use has to be in the programs, too.
FOR_MODULES := -Wl,-u,poll_set_new
LINK = $(CC) $(LDFLAGS_ALL) $(FOR_MODULES) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(STATIC_LIBS) $(LIBS)

define program_rule
$(B)/$(1): $(call objects,$(call folder,$(1))) $(if $(wildcard $(SRC)/$(1)/command.h),$(B)/obj/gen/$(1)-commands.o) \
    $(if $(filter $(1),$(QMP_PROGRAMS)),$(B)/obj/gen/$(1)-qmp.o $(B)/obj/gen/export-drivers.o $(B)/obj/gen/chardev-drivers.o) $(if $(filter $(1),$(EMULATORS)),$(B)/obj/gen/device-classes.o $(B)/obj/gen/netdev-drivers.o $(EMULATOR_LIBS)) $(if $(filter $(1),$(MIGRATION_PROGRAMS)),$(B)/lib/migration.a) \
    $(B)/obj/gen/block-drivers.o $(B)/obj/gen/$(if $(filter $(1),$(EMULATORS)),emulator-)object-classes.o $(ROOM_LIBS) $(STATIC_OBJECTS) | $(MODULE_FILES)
	@echo "  LINK $(1)"
	@$$(LINK)
endef
$(foreach p,$(PROGRAMS),$(eval $(call program_rule,$(p))))

BUILT_PROGRAMS := $(addprefix $(B)/,$(foreach p,$(PROGRAMS),$(if $(wildcard $(SRC)/$(call folder,$(p))/main.c),$(p))))
programs: $(BUILT_PROGRAMS) $(MODULE_FILES) $(EMULATOR_LIBS)

# ---- tests -------------------------------------------------------------------------------------

UNIT_SOURCES := $(wildcard $(SRC)/tests/unit/*.c $(SRC)/tests/block/*.c $(SRC)/tests/nbd/*.c)
UNIT_TESTS := $(patsubst $(SRC)/tests/%.c,$(B)/tests/%,$(UNIT_SOURCES))
TEST_LIB := $(patsubst $(SRC)/%.c,$(B)/obj/%.o,$(wildcard $(SRC)/tests/lib/*.c))
$(UNIT_TESTS): $(B)/tests/%: $(B)/obj/tests/%.o $(TEST_LIB) $(B)/obj/gen/block-drivers.o $(B)/obj/gen/object-classes.o $(ROOM_LIBS) $(STATIC_OBJECTS) | $(MODULE_FILES)
	@mkdir -p $(@D)
	@$(LINK)
$(TEST_LIB) $(patsubst $(SRC)/%.c,$(B)/obj/%.o,$(UNIT_SOURCES)): | $(GEN_HEADERS)
# Sessions need devices; commands are the test's own.
$(B)/tests/unit/monitor: $(B)/obj/gen/chardev-drivers.o
$(B)/tests/unit/balloon: $(addprefix $(B)/lib/,balloon.a system/base.a)

# Tests of the emulator, with what they share.
X86_TESTS := $(patsubst $(SRC)/tests/%.c,$(B)/tests/%,$(wildcard $(SRC)/tests/x86/*.c))
X86_TEST_LIB := $(patsubst $(SRC)/%.c,$(B)/obj/%.o,$(wildcard $(SRC)/tests/x86/lib/*.c))
$(X86_TESTS): $(B)/tests/%: $(B)/obj/tests/%.o $(TEST_LIB) $(X86_TEST_LIB) $(B)/obj/gen/block-drivers.o $(B)/obj/gen/object-classes.o $(EMULATOR_LIBS) $(ROOM_LIBS) $(STATIC_OBJECTS) | $(MODULE_FILES)
	@mkdir -p $(@D)
	@$(LINK)

# Fuzzers: built with clang in a folder of their own, see tests/fuzz/run.
FUZZ_SOURCES := $(wildcard $(SRC)/tests/fuzz/*.c)
FUZZERS := $(patsubst $(SRC)/tests/%.c,$(B)/%,$(FUZZ_SOURCES))
FUZZ_LIB := $(B)/obj/tests/lib/memdisk.o $(B)/obj/tests/fuzz/lib/format.o
$(FUZZERS): $(B)/fuzz/%: $(B)/obj/tests/fuzz/%.o $(FUZZ_LIB) $(B)/obj/gen/block-drivers.o $(B)/obj/gen/object-classes.o $(EMULATOR_LIBS) $(B)/lib/migration.a $(ROOM_LIBS) $(STATIC_OBJECTS) | $(MODULE_FILES)
	@mkdir -p $(@D)
	@$(LINK) -fsanitize=fuzzer
# This one has the commands of the storage daemon.
$(B)/fuzz/qmp: $(addprefix $(B)/obj/gen/,qemu-storage-daemon-qmp.o export-drivers.o chardev-drivers.o)
# And this one the tables of all devices.
$(B)/fuzz/migration: $(addprefix $(B)/obj/gen/,device-classes.o netdev-drivers.o chardev-drivers.o)
fuzzers: $(FUZZERS)

# Programs that scripts use to reach what no tool shows; each has a main of its own.
TEST_PROGRAMS := $(patsubst $(SRC)/tests/%.c,$(B)/tests/%,$(wildcard $(SRC)/tests/programs/*.c))
$(TEST_PROGRAMS): $(B)/tests/%: $(B)/obj/tests/%.o $(ROOM_LIBS) $(STATIC_OBJECTS) | $(MODULE_FILES)
	@mkdir -p $(@D)
	@$(LINK)
$(patsubst $(B)/%,$(B)/obj/%.o,$(TEST_PROGRAMS)): | $(GEN_HEADERS)

# Preloaded into programs under test.
PRELOADS := $(patsubst $(SRC)/tests/%.c,$(B)/%.so,$(wildcard $(SRC)/tests/preload/*.c))
$(PRELOADS): $(B)/preload/%.so: $(SRC)/tests/preload/%.c
	@mkdir -p $(@D)
	@$(CC) -O1 -D_GNU_SOURCE -fno-builtin -fPIC -shared -o $@ $< -ldl

tests-build: programs $(UNIT_TESTS) $(X86_TESTS) $(TEST_PROGRAMS) $(PRELOADS)

RUN_TESTS = FERRY_BUILD=$(abspath $(B)) FERRY_REFERENCE=$(REFERENCE) FERRY_WATCHED=$(SANITIZED) \
    $(if $(LOOP),FERRY_LOOP=$(LOOP)) python3 -B $(SRC)/tests/run

check: tests-build check-layers check-columns check-headers check-circles
	@$(RUN_TESTS) $(TESTS)

# A kernel for emulated machines; tests that need it skip with the reason where it cannot be had.
TEST_KERNEL := $(B)/test-kernel
$(TEST_KERNEL)/vmlinuz:
	-@$(SRC)/scripts/fetch-test-kernel $(TEST_KERNEL)

check-slow: tests-build $(TEST_KERNEL)/vmlinuz
	@FERRY_TEST_KERNEL=$${FERRY_TEST_KERNEL:-$(abspath $(TEST_KERNEL))} $(RUN_TESTS) --slow $(TESTS)

check-asan check-tsan:
	@mkdir -p build-$(@:check-%=%)
	@cd build-$(@:check-%=%) && $(abspath $(SRC))/configure --cc=$(CC) --with-reference=$(REFERENCE) \
	    --enable-$(@:check-%=%) >/dev/null && \
	    $(MAKE) --no-print-directory check TESTS="$(TESTS)"

check-valgrind: tests-build
	@$(RUN_TESTS) --valgrind $(TESTS)

check-fuzz:
	@FERRY_REFERENCE=$(REFERENCE) python3 -B $(SRC)/tests/fuzz/run $(or $(FUZZ_RUNS),20000)

# Each header compiles alone.
check-headers: $(GEN_HEADERS) $(B)/config.h
	@CC="$(CC)" CPPFLAGS="$(CPPFLAGS_ALL)" WERROR="$(filter -Werror,$(EXTRA_CFLAGS))" $(SRC)/scripts/check-headers $(SRC)

check-columns:
	@python3 -B $(SRC)/scripts/check-columns $(SRC)

check-layers:
	@python3 -B $(SRC)/scripts/check-layers $(SRC)

CIRCLE_FREE := block/formats/qcow2
check-circles: programs
	@python3 -B $(SRC)/scripts/check-circles $(call objects,$(CIRCLE_FREE))

$(B)/tests/perf/measure: $(SRC)/tests/perf/measure.c
	@mkdir -p $(@D)
	@$(CC) -O2 -D_GNU_SOURCE -o $@ $<

# Work that runs in a guest without a system, and natively (tests/perf/guest/compare).
GUEST := $(B)/tests/perf/guest
GUEST_FLAGS := -O2 -I$(SRC) -fno-pic -ffreestanding -fno-builtin -fno-stack-protector -mno-red-zone \
    -fcf-protection=none -fno-tree-loop-distribute-patterns
$(GUEST)/%.o: $(SRC)/tests/perf/guest/%.c $(SRC)/tests/perf/guest/work.h
	@mkdir -p $(@D)
	@$(CC) $(GUEST_FLAGS) -c -o $@ $<
$(GUEST)/start.o: $(SRC)/tests/perf/guest/start.S
	@mkdir -p $(@D)
	@$(CC) -c -o $@ $<
$(GUEST)/native.o: GUEST_FLAGS := -O2 -I$(SRC) -fno-pic
$(GUEST)/native: $(GUEST)/native.o $(GUEST)/work.o
	@$(CC) -no-pie -o $@ $^
$(GUEST)/image.elf: $(GUEST)/start.o $(GUEST)/guest.o $(GUEST)/work.o
	@$(CC) -nostdlib -static -no-pie -Wl,--build-id=none,-e,start,-Ttext=0x100000,-n,-z,noexecstack \
	    -Wl,--no-warn-rwx-segments -o $@.64 $^
	@objcopy -O elf32-i386 $@.64 $@
$(GUEST)/emulate: $(B)/obj/tests/perf/guest/emulate.o $(EMULATOR_LIBS) $(ROOM_LIBS)
	@mkdir -p $(@D)
	@$(LINK)
bench-guest: $(GUEST)/native $(GUEST)/image.elf $(GUEST)/emulate
	@FERRY_BUILD=$(abspath $(B)) FERRY_REFERENCE=$(REFERENCE) python3 -B \
	    $(SRC)/tests/perf/guest/compare $(BENCH)

bench: programs $(B)/tests/perf/measure
	@FERRY_BUILD=$(abspath $(B)) FERRY_REFERENCE=$(REFERENCE) python3 -B $(SRC)/tests/perf/bench $(BENCH)

demo: programs
	@FERRY_BUILD=$(abspath $(B)) FERRY_REFERENCE=$(REFERENCE) $(SRC)/scripts/demo

# ---- installation ------------------------------------------------------------------------------

INSTALL = install -D
installed = $(DESTDIR)$(PREFIX)/bin/$(PROGRAM_PREFIX)$(1)
MAN_PAGES := $(wildcard $(SRC)/docs/man/*.[18])
COMPLETIONS := $(wildcard $(SRC)/scripts/completion/*)

install: programs
	@for p in $(notdir $(BUILT_PROGRAMS)); do $(INSTALL) -m755 $(B)/$$p $(DESTDIR)$(PREFIX)/bin/$(PROGRAM_PREFIX)$$p; done
	@for m in $(notdir $(MODULE_FILES)); do $(INSTALL) -m644 $(B)/modules/$$m $(DESTDIR)$(PREFIX)/lib/ferry/$$m; done
	@for m in $(MAN_PAGES); do $(INSTALL) -m644 $$m $(DESTDIR)$(PREFIX)/share/man/man$${m##*.}/$(PROGRAM_PREFIX)$$(basename $$m); done
	@for c in $(COMPLETIONS); do \
	    to=$(DESTDIR)$(PREFIX)/share/bash-completion/completions/$(PROGRAM_PREFIX)$$(basename $$c); \
	    $(INSTALL) -m644 $$c $$to && sed -i 's/^\(complete .* \)/\1$(PROGRAM_PREFIX)/' $$to; done

uninstall:
	@rm -f $(foreach p,$(PROGRAMS),$(DESTDIR)$(PREFIX)/bin/$(PROGRAM_PREFIX)$(p)) \
	    $(foreach m,$(MAN_PAGES),$(DESTDIR)$(PREFIX)/share/man/man$(patsubst .%,%,$(suffix $(m)))/$(PROGRAM_PREFIX)$(notdir $(m))) \
	    $(foreach c,$(COMPLETIONS),$(DESTDIR)$(PREFIX)/share/bash-completion/completions/$(PROGRAM_PREFIX)$(notdir $(c)))
	@rm -rf $(DESTDIR)$(PREFIX)/lib/ferry

VERSION := $(shell cat $(SRC)/VERSION)
DIST := ferry-$(VERSION)
# What git has committed; without it, all but what was built.
dist:
	@mkdir -p $(B)
	@if [ -e $(SRC)/.git ]; then \
	    git -C $(SRC) archive --format=tar.gz --prefix=$(DIST)/ -o $(abspath $(B))/$(DIST).tar.gz HEAD; \
	else \
	    tar -C $(SRC) --sort=name --owner=0 --group=0 --mtime=$(SRC)/VERSION \
	        --exclude='./build*' --exclude=__pycache__ --transform='s|^\.|$(DIST)|' -I 'gzip -9n' \
	        -cf $(abspath $(B))/$(DIST).tar.gz .; \
	fi
	@echo $(B)/$(DIST).tar.gz

deb:
	+@$(SRC)/scripts/make-deb $(abspath $(SRC)) $(abspath $(B))

clean:
	@rm -rf $(B)/obj $(B)/pic $(B)/lib $(B)/gen $(B)/modules $(B)/tests $(addprefix $(B)/,$(PROGRAMS))

distclean:
	@rm -rf $(B) build-asan build-tsan build-fuzz

help:
	@echo 'all (default)     the programs and their modules, below build/'
	@echo 'demo              install what is missing, build, show the main jobs on real input'
	@echo 'check             install what is missing, build, run the tests (LOOP=epoll, TESTS=pattern)'
	@echo 'check-slow        install what is missing, build, run the long tests'
	@echo 'check-asan check-tsan   check, all programs built with sanitizers in a folder beside build/'
	@echo 'check-valgrind    check, each of our programs under valgrind (an hour or more)'
	@echo 'check-fuzz        the fuzzers (FUZZ_RUNS=number)'
	@echo 'check-headers check-layers check-columns check-circles   rules of the house'
	@echo 'bench-guest       the emulated processor, natively and beside the reference (BENCH=work)'
	@echo 'bench             ratios of time, CPU and memory against the reference (BENCH=pattern)'
	@echo 'install uninstall dist deb clean distclean   DESTDIR is honoured'

.PHONY: all programs fuzzers tests-build check check-slow check-asan check-tsan check-valgrind check-fuzz \
    check-headers check-layers check-columns check-circles bench bench-guest demo install uninstall dist deb clean distclean help

-include $(shell find $(B)/obj $(B)/pic -name '*.d' 2>/dev/null)
