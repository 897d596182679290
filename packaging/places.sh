# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034 # what is set here is used there
# Shared by install and uninstall: where things go. All places are below DESTDIR.

DESTDIR=${DESTDIR:-} # a root file system
PREFIX=${PREFIX:-/usr/local}
UDEV_RULES_DIR=${UDEV_RULES_DIR:-/etc/udev/rules.d}
INSTALL_MOD_PATH=${INSTALL_MOD_PATH:-} # the folder that has lib/modules, as kbuild calls it
manifest=$PREFIX/share/shmbuf/manifest

die() {
	printf 'shmbuf: %s\n' "$*" >&2
	exit 1
}

case $PREFIX$UDEV_RULES_DIR in
/*) ;;
*) die "PREFIX and UDEV_RULES_DIR begin with /: \"$PREFIX\", \"$UDEV_RULES_DIR\"." ;;
esac

# list_modules MODULE: have depmod list the modules anew, where a list exists.
list_modules() {
	local root=${1%/lib/modules/*} release
	release=${1#"$root"/lib/modules/}
	release=${release%%/*}
	if [ -e "$DESTDIR$root/lib/modules/$release/modules.dep" ]; then
		PATH=$PATH:/usr/sbin:/sbin depmod -b "$DESTDIR$root/" "$release"
	fi
}
