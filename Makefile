# SPDX-License-Identifier: GPL-2.0
# "make help" lists what there is. Kbuild is the module's own makefile.

##@ Try it and test it (needs git, make, a Debian or Ubuntu host, 10 GB)

BOARD ?= vexpress-a9
T := tests/toolchain
SHELL := bash
BOARDS = $(sort $(patsubst tests/boards/%/kernel.config,%,$(wildcard tests/boards/*/kernel.config)))
# BOARD, if the caller has said one, else the argument.
board_or = $(if $(filter command,$(firstword $(origin BOARD))),$(BOARD),$(1))
BOARDS_32BIT = $(shell . $(T)/lib.sh 2>/dev/null && for b in $(BOARDS); do [ $$(kernel_arch $$b) != arm ] || echo $$b; done)

# The first target that is not special is what plain "make" does.
.PHONY: all
all: modules

.PHONY: help
help: ## this list
	@awk -f $(T)/help.awk $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: export SHMBUF_KERNEL := demo
demo: ## boot BOARD, load the module, run the pattern sample in every combination
	@$(T)/setup $(BOARD)
	@$(T)/in-tree python tests/host/demo.py $(BOARD)

# What needs no board first, then what takes longest; boards side by side. TESTS="path -k word" runs
# some of them.
TESTS ?= $(addprefix tests/host/test_,lint.py klog.py ktap.py pagetable.py boardinfo.py floors.py pages.py misuse.py setup.py build.py install.py kdir.py buildroot.py coherence.py coherence_run.py boards.py audit.py classic.py copies.py recipes.py python.py named.py devices.py shell.py kmap.py lowmem.py display.py camera.py page_owner.py)
PYTEST = $(T)/in-tree python -m pytest -c tests/host/pyproject.toml --rootdir .
PARALLEL = $(PYTEST) -n auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder

.PHONY: test
test: ## lints, KUnit, the guest's tests, the page-table audit, the coherence checker, on all 32-bit boards
	@$(T)/setup $(BOARDS_32BIT)
	@$(T)/setup-board-python armhf
	@$(T)/setup-browser
	@$(if $(filter file,$(origin TESTS)),tests/stock/run stock)
	@$(PARALLEL) $(TESTS)

.PHONY: test-all
test-all: ## the same, and on the 64-bit boards what is not for 32-bit ARM only, with 32-bit programs too
	@$(T)/setup $(BOARDS)
	@$(T)/setup-board-python armhf arm64
	@$(T)/setup-browser
	@$(if $(filter file,$(origin TESTS)),$(T)/try-readme trixie && $(MAKE) --no-print-directory kernels)
	@tests/stock/checked >/dev/null
	@$(PARALLEL) --all-boards $(TESTS) $(addprefix tests/host/test_,stock_kernel.py rules.py races.py blocks.py fuzz.py checker_cost.py compat.py swiotlb.py bench.py)

.PHONY: try-readme
try-readme: ## follow README.md in a fresh Debian or Ubuntu, its set-up killed at each step [RELEASE=trixie|noble]
	@$(T)/try-readme $(or $(RELEASE),trixie)

.PHONY: coherence
coherence: ## the coherence checker: seeded faults, the driver, broken drivers; on all 32-bit boards, or BOARD
	@$(T)/setup $(call board_or,$(BOARDS_32BIT))
	@$(PARALLEL) $(addprefix tests/host/test_,coherence.py checker_cost.py) $(addprefix --board ,$(call board_or))

.PHONY: coherence-stock
coherence-stock: ## drivers of Debian's kernel for ARMv7, as it is, under the coherence checker, with traffic
	@tests/stock/checked >/dev/null
	@$(PYTEST) tests/host/test_stock_kernel.py

# SEED=number: other programs. PROGRAM=file: those, each 100 times.
.PHONY: fuzz
fuzz: export SHMBUF_KERNEL := fuzz
fuzz: ## make up programs of calls for MINUTES on BOARD, by which code of the module they run [SEED=... PROGRAM=file]
	@$(T)/setup $(BOARD)
	@$(T)/in-tree python tests/host/fuzz.py $(BOARD) --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED)) $(if $(PROGRAM),--program "$(PROGRAM)")

.PHONY: classic
classic: ## the classic driver and shmbuf under the coherence checker, side by side; on ARM926 and Cortex-A9, or BOARD
	@$(T)/setup $(call board_or,$(BOARDS_32BIT))
	@$(T)/in-tree python tests/host/classic.py $(call board_or)

# What is to be run reaches the board as it was written: make expands nothing in it.
unexport CMD MODULE
coherence-run: export RUN_MODULE := $(value MODULE)
coherence-run: export RUN_PROGRAMS := $(value PROGRAMS)
coherence-run: export RUN_CMD := $(value CMD)
.PHONY: coherence-run
coherence-run: ## watch a driver of yours on BOARD: [MODULE=folder|module.ko] [CMD="modprobe ..."] [PROGRAMS=source.c|program] [KDIR=...]
	@$(T)/coherence-run $(BOARD)

# PROFILE=word: the functions that spend it, of the calls and buffers that are named so.
# UDMABUF=folder: with the driver u-dma-buf, whose source is there.
.PHONY: bench
bench: ## count instructions, cache operations and so on of each call, on BOARD [PROFILE=word] [UDMABUF=folder]
	@$(T)/build-bench $(BOARD)
	@$(T)/in-tree python tests/host/bench.py $(BOARD) $(if $(PROFILE),--profile "$(PROFILE)")

.PHONY: bench-coherence
bench-coherence: ## what the SYNC of each of them leaves in the caches; on ARM926 and Cortex-A9, or BOARD [UDMABUF=folder]
	@$(T)/in-tree python tests/host/hand_over.py $(call board_or)

.PHONY: bench-check
bench-check: ## two runs count the same, and what must be; on all 32-bit boards, or BOARD
	@$(PYTEST) tests/host/test_bench.py $(if $(filter command,$(firstword $(origin BOARD))),--board $(BOARD))

.PHONY: bench-documentation
bench-documentation: ## write the tables and plots of Documentation/benchmarks.md, UDMABUF=folder
	@for board in $$(sed -n 's/^<!-- \([^ ]*\) -->$$/\1/p' Documentation/benchmarks.md); do \
		$(T)/build-bench $$board && \
		$(T)/in-tree python tests/host/bench.py $$board --document || exit 1; \
	done

.PHONY: size
size: ## how many bytes of code each file of the module is, for BOARD, without debugging
	@SHMBUF_KERNEL=bench $(T)/setup $(BOARD)
	@$(T)/in-tree python tests/host/size.py $(BOARD)

.PHONY: shell
shell: ## boot BOARD with module and tools, its console here (Ctrl-A X leaves) [PROGRAMS="..."]
	@$(T)/setup $(BOARD)
	@$(T)/build-shell $(BOARD) $(PROGRAMS)
	@$(T)/in-tree python tests/host/shell.py $(BOARD)

.PHONY: test-board
test-board: ## the guest's tests on a real board: ENV=labgrid.yaml [PROGRAMS=armhf|armel|arm64|amd64|i386]
	@test -e "$(ENV)" || { echo "shmbuf: make test-board ENV=<labgrid environment file>, see tests/boards/ssh/labgrid.yaml." >&2; exit 1; }
	@$(T)/setup-tree $(if $(filter arm64 i386,$(PROGRAMS)),64bit)
	@$(T)/setup-python
	@$(T)/build-programs $(or $(PROGRAMS),armhf)
	@SHMBUF_ENV="$(ENV)" $(PYTEST) --env "$(ENV)" tests/host/test_boards.py

.PHONY: setup
setup: ## only the set-up that demo and test do by themselves, for BOARD
	@$(T)/setup $(BOARD)

##@ The module (KDIR=<built kernel tree> ARCH=... LLVM=...; without KDIR: for BOARD, in the tree)

# Debian's headers lack what a Rust module needs; this makes it, once for each kernel.
KERNEL ?= $(shell uname -r)
.PHONY: prepare-kdir
prepare-kdir: ## make a KDIR for a packaged kernel of Debian, this one or KERNEL
	@$(T)/setup-kdir "$(KERNEL)"

.PHONY: modules modules_install install clean clippy fmt rust-analyzer
ifdef KDIR
# A kernel of the user's, with the host's own tools.
KBUILD = +$(MAKE) -C $(KDIR) M=$(CURDIR)
CHECK = @packaging/kdir/check "$(KDIR)"
RUN =

modules: ## build shmbuf.ko
	$(CHECK)
	$(KBUILD) modules
	@echo "shmbuf.ko: $(CURDIR)/shmbuf.ko"

modules_install: ## install it (INSTALL_MOD_PATH=... as for any module)
	$(CHECK)
	$(KBUILD) modules_install

# The tool for CARGO_BUILD_TARGET, as cargo calls it, and for this machine, which prints the page.
export CARGO_TARGET_DIR ?= $(CURDIR)/lib/target
BUILD_TOOL = cargo build --locked --release --manifest-path lib/Cargo.toml -p shmbuf-tool
TOOL = $(CARGO_TARGET_DIR)/$(CARGO_BUILD_TARGET)/release/shmbuf
install: modules ## install module, tool, headers, man page, completions, udev rule [DESTDIR=... PREFIX=...]
	$(BUILD_TOOL)
	env -u CARGO_BUILD_TARGET $(BUILD_TOOL)
	+@stage=$$(mktemp -d) && trap 'rm -rf "$$stage"' EXIT && \
	$(MAKE) -C $(KDIR) M=$(CURDIR) modules_install INSTALL_MOD_PATH="$$stage" && \
	$(PLACES) packaging/install "$$stage" "$(TOOL)" "$(CARGO_TARGET_DIR)/release/shmbuf"

clean: ## remove what the build made
	$(KBUILD) clean

clippy: ## build with clippy, warnings are errors
	$(CHECK)
	$(KBUILD) CLIPPY=1 W=e modules

rust-analyzer: ## write rust-project.json for the editor
	$(CHECK)
	$(KBUILD) rust-analyzer
else
RUN = $(T)/in-tree

modules:
	@$(T)/setup-kernel $(BOARD)
	$(T)/build-module $(BOARD)
	@. $(T)/lib.sh && echo "shmbuf.ko: $$build/$(BOARD)/module/shmbuf.ko"

modules_install:
	@test -n "$(INSTALL_MOD_PATH)" || { echo "shmbuf: without KDIR this installs for BOARD: say where with INSTALL_MOD_PATH=..." >&2; exit 1; }
	@$(T)/setup-kernel $(BOARD)
	$(T)/build-module $(BOARD) modules modules_install INSTALL_MOD_PATH="$(abspath $(INSTALL_MOD_PATH))"

install:
	@test -n "$(DESTDIR)" || { echo "shmbuf: without KDIR this installs for BOARD: say where with DESTDIR=..." >&2; exit 1; }
	@$(MAKE) --no-print-directory modules programs PROGRAMS=
	@$(T)/build-host-tool
	@. $(T)/lib.sh && stage=$$(mktemp -d) && trap 'rm -rf "$$stage"' EXIT && \
	$(T)/build-module $(BOARD) modules_install INSTALL_MOD_PATH="$$stage" && \
	$(PLACES) packaging/install "$$stage" "$$programs/$$(board_arch $(BOARD))/shmbuf" "$$programs/cargo/release/shmbuf"

clean:
	@. $(T)/lib.sh && rm -rf "$$build"

clippy:
	@$(T)/setup-kernel $(BOARD)
	$(T)/build-module $(BOARD) --as clippy CLIPPY=1 W=e modules

rust-analyzer:
	@$(T)/setup-kernel $(BOARD)
	$(T)/rust-project $(BOARD)
endif

# Where things go; the scripts know the defaults.
PLACES = DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" UDEV_RULES_DIR="$(UDEV_RULES_DIR)" INSTALL_MOD_PATH="$(INSTALL_MOD_PATH)"

.PHONY: uninstall
uninstall: ## remove what install has put there [DESTDIR=... PREFIX=...]
	@$(PLACES) packaging/uninstall

.PHONY: programs
programs: ## build tool and samples for BOARD, or PROGRAMS=armhf|armel|arm64|amd64|i386
	@. $(T)/lib.sh && arch="$(PROGRAMS)" && \
	arch=$${arch:-$$(check_board $(BOARD) && board_arch $(BOARD))} && \
	case $$arch in arm64 | i386) $(T)/setup-tree 64bit ;; *) $(T)/setup-tree ;; esac && \
	$(T)/build-programs "$$arch" && echo "programs: $$programs/$$arch"

# Their names are printed last.
.PHONY: deb
deb: ## make Debian's packages, for DKMS and of the tools, and have lintian look at them
	@$(T)/build-deb

.PHONY: buildroot
buildroot: ## have Buildroot check packaging/buildroot and build the package [BUILDROOT=<its checkout>]
	@$(T)/build-buildroot "$(BUILDROOT)"

.PHONY: yocto
yocto: ## have bitbake parse the recipes of packaging/yocto [OECORE=... BITBAKE=<checkouts>]
	@$(T)/check-yocto "$(OECORE)" "$(BITBAKE)"

.PHONY: kernels
kernels: ## install those on Debian systems, boot their own kernels, use the module there, remove them
	@for system in $(patsubst $(T)/debian-%,%,$(wildcard $(T)/debian-stock*)); do tests/stock/run $$system || exit 1; done
	@for arch in $(patsubst $(T)/debian-cross-%,%,$(wildcard $(T)/debian-cross-*)); do tests/stock/cross $$arch || exit 1; done

.PHONY: kernels-emulated
kernels-emulated: ## the same for ARM, where DKMS and its compilers run emulated: more than an hour for each
	@for system in $(patsubst $(T)/debian-%,%,$(wildcard $(T)/debian-emulated*)); do tests/stock/run $$system || exit 1; done

fmt: ## format all Rust and Python
ifndef KDIR
	@$(T)/setup-python
	$(RUN) python -m ruff format tests/host lib/python
endif
	$(RUN) rustfmt $(shell find src -name '*.rs')
	$(RUN) cargo fmt --all --manifest-path lib/Cargo.toml
	$(RUN) cargo fmt --all --manifest-path tools/coherence/Cargo.toml
	$(RUN) cargo fmt --all --manifest-path tests/rules/Cargo.toml

##@ The cache (~/.cache/shmbuf, or SHMBUF_CACHE)

.PHONY: distclean
distclean: ## remove what the set-up made there: the toolchain tree, the kernels, what was built
	@$(T)/distclean
