# SPDX-License-Identifier: GPL-2.0
SUMMARY = "Driver for memory that programs share with the kernel and with DMA devices"
LICENSE = "GPL-2.0-only"

require shmbuf.inc
# Skips the recipe unless KERNEL_FEATURES has "rust".
inherit module-rust

SRC_URI += "file://Kbuild file://src"

# Kbuild makes the Rust side of the headers.
DEPENDS += "bindgen-cli-native clang-native"

# The checkout's own Makefile is for people.
EXTRA_OEMAKE += "-C ${STAGING_KERNEL_DIR} M=${S}"
MAKE_TARGETS = "modules"

RPROVIDES:${PN} += "kernel-module-shmbuf"
