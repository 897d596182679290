# SPDX-License-Identifier: GPL-2.0
SUMMARY = "Command, headers and udev rule of the shmbuf driver"
LICENSE = "(MIT OR Apache-2.0) AND GPL-2.0-only WITH Linux-syscall-note"

require shmbuf.inc
inherit cargo useradd

# The command, and the members of its cargo workspace.
SRC_URI += " \
    file://lib/Cargo.lock \
    file://lib/Cargo.toml \
    file://lib/c \
    file://lib/rust \
    file://lib/verify \
    file://packaging/udev \
    file://samples \
    file://tests/guest \
    file://tools/shmbuf \
"
CARGO_SRC_DIR = "tools/shmbuf"
CARGO_LOCK_PATH = "${S}/lib/Cargo.lock"

# The crates are those of the checkout's Cargo.lock.
python () {
    import tomllib

    lock = d.expand('${SHMBUF_CHECKOUT}/lib/Cargo.lock')
    bb.parse.mark_dependency(d, lock)
    with open(lock, 'rb') as file:
        packages = tomllib.load(file)['package']
    for crate in packages:
        if 'source' in crate:
            d.appendVar('SRC_URI', ' crate://crates.io/{name}/{version}'.format(**crate))
            name = '{name}-{version}.sha256sum'.format(**crate)
            d.setVarFlag('SRC_URI', name, crate['checksum'])
}

# The build script reads the header with libclang.
DEPENDS += "clang-native"
export LIBCLANG_PATH = "${STAGING_LIBDIR_NATIVE}"
export BINDGEN_EXTRA_CLANG_ARGS = "--sysroot=${STAGING_DIR_HOST}"

# The command prints its own manual page, on the machine that builds.
BBCLASSEXTEND = "native"
DEPENDS:append:class-target = " shmbuf-tools-native"

USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "--system shmbuf"

do_install:append:class-target() {
    install -d ${D}${mandir}/man1
    shmbuf man > ${D}${mandir}/man1/shmbuf.1
    install -D -m 0644 ${S}/include/uapi/shmbuf.h ${D}${includedir}/shmbuf.h
    install -D -m 0644 ${S}/lib/c/shmbuf-helpers.h ${D}${includedir}/shmbuf-helpers.h
    install -D -m 0644 ${S}/packaging/udev/60-shmbuf.rules \
        ${D}${nonarch_base_libdir}/udev/rules.d/60-shmbuf.rules
}
FILES:${PN} += "${nonarch_base_libdir}/udev/rules.d"
