################################################################################
#
# What a kernel with Rust needs, of which Buildroot's own linux package knows nothing
#
################################################################################

# SPDX-License-Identifier: GPL-2.0

ifeq ($(BR2_PACKAGE_SHMBUF),y)

# Without them Kconfig does not offer CONFIG_RUST.
# check-package TypoInPackageVariable
LINUX_KCONFIG_DEPENDENCIES += host-rustc host-rust-bindgen
# check-package TypoInPackageVariable
LINUX_MAKE_ENV += LIBCLANG_PATH=$(HOST_DIR)/lib

# The kernel compiles Rust's core library itself, whose source host-rust-bin lacks. That of
# host-rust has the same version; it is unpacked here, and not built.
# check-package TypoInPackageVariable
LINUX_PATCH_DEPENDENCIES += host-rust
# check-package TypoInPackageVariable
LINUX_MAKE_FLAGS += RUST_LIB_SRC=$(HOST_RUST_DIR)/library

# kbuild names HOSTCC to rustc as the linker, which has to be one word: the options that
# Buildroot gives with it go where kbuild has a place for them.
# check-package TypoInPackageVariable
LINUX_MAKE_FLAGS += \
	HOSTCC="$(HOSTCC_NOCCACHE)" \
	HOSTCFLAGS="$(subst -I/,-isystem /,$(subst -I /,-isystem /,$(HOST_CFLAGS)))" \
	HOSTLDFLAGS="$(HOST_LDFLAGS)"

endif
