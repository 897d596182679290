################################################################################
#
# shmbuf
#
################################################################################

# SPDX-License-Identifier: GPL-2.0

SHMBUF_VERSION = 0.1.0
SHMBUF_SITE = $(BR2_EXTERNAL_SHMBUF_PATH)/../..
SHMBUF_SITE_METHOD = local
SHMBUF_LICENSE = GPL-2.0 (module), GPL-2.0 WITH Linux-syscall-note (header), MIT or Apache-2.0 (command)
SHMBUF_LICENSE_FILES = LICENSE
SHMBUF_INSTALL_STAGING = YES
SHMBUF_DEPENDENCIES = host-clang

# What builds by hand have left in the checkout stays there.
SHMBUF_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = --exclude-from=$(SHMBUF_SITE)/.gitignore

# The command: its build script reads the header with libclang.
SHMBUF_SUBDIR = tools/shmbuf
SHMBUF_CARGO_ENV = \
	LIBCLANG_PATH=$(HOST_DIR)/lib \
	BINDGEN_EXTRA_CLANG_ARGS="--sysroot=$(STAGING_DIR)"

# A local source has no download step, in which Buildroot would fetch the crates.
define SHMBUF_FETCH_CRATES
	mkdir -p $(BR_CARGO_HOME)
	$(TARGET_MAKE_ENV) $(PKG_COMMON_CARGO_ENV) flock $(BR_CARGO_HOME)/.br-lock \
		cargo fetch --locked --manifest-path $(@D)/lib/Cargo.toml
endef
SHMBUF_PRE_BUILD_HOOKS += SHMBUF_FETCH_CRATES

# The kernel: Kconfig drops CONFIG_RUST silently, which is said before anything is compiled.
define SHMBUF_LINUX_CONFIG_FIXUPS
	$(call KCONFIG_ENABLE_OPT,CONFIG_RUST)
endef
define SHMBUF_CHECK_KERNEL
	$(LINUX_MAKE_ENV) ARCH=$(KERNEL_ARCH) $(@D)/packaging/kdir/check $(LINUX_DIR)
endef
SHMBUF_PRE_BUILD_HOOKS += SHMBUF_CHECK_KERNEL

define SHMBUF_INSTALL_STAGING_CMDS
	$(INSTALL) -D -m 0644 $(@D)/include/uapi/shmbuf.h $(STAGING_DIR)/usr/include/shmbuf.h
	$(INSTALL) -D -m 0644 $(@D)/lib/c/shmbuf-helpers.h \
		$(STAGING_DIR)/usr/include/shmbuf-helpers.h
endef

ifeq ($(BR2_PACKAGE_HAS_UDEV),y)
define SHMBUF_INSTALL_UDEV_RULE
	$(INSTALL) -D -m 0644 $(@D)/packaging/udev/60-shmbuf.rules \
		$(TARGET_DIR)/usr/lib/udev/rules.d/60-shmbuf.rules
endef
SHMBUF_POST_INSTALL_TARGET_HOOKS += SHMBUF_INSTALL_UDEV_RULE
define SHMBUF_USERS
	- - shmbuf -1 - - - - -
endef
endif

$(eval $(kernel-module))
$(eval $(cargo-package))
