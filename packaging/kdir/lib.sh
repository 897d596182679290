# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What both scripts of this folder say of a kernel and of this machine.

no() {
	printf 'shmbuf: %s\n' "$*" >&2
	exit 1
}

# setting NAME FOLDER: what include/config/auto.conf of a kernel says of CONFIG_NAME, without quotes.
setting() { sed -n "s/^CONFIG_$1=\"\\{0,1\\}\\([^\"]*\\)\"\\{0,1\\}\$/\\1/p" "$2/include/config/auto.conf"; }

# runs_here FILE: whether a program or library is for this machine's processor.
runs_here() { [ "$(od -An -tx1 -j18 -N2 "$1")" = "$(od -An -tx1 -j18 -N2 /proc/self/exe)" ]; }

# need_version RELEASE: the kernel is not older than those that the module is for.
need_version() {
	[[ $1 =~ ^([0-9]+)\.([0-9]+) ]] || return 0
	[ $((BASH_REMATCH[1] * 1000 + BASH_REMATCH[2])) -ge 7002 ] || no "the kernel $1 is too old: shmbuf needs Linux 7.2 or later."
}

# need_config FOLDER: the kernel takes modules in Rust.
need_config() {
	[ "$(setting MODULES "$1")" = y ] || no "the kernel in $1 has no CONFIG_MODULES."
	[ "$(setting RUST "$1")" = y ] || no "the kernel in $1 has no CONFIG_RUST=y, which shmbuf needs: take another kernel (Debian's have it from Linux 6.18 on), or set it in one of your own (\"make LLVM=1 rustavailable\" there says what is missing)."
}

# need_rustc FOLDER: the compiler here is the one that built the kernel.
need_rustc() {
	local rustc=${RUSTC:-rustc} built here
	command -v "$rustc" >/dev/null 2>&1 || no "there is no $rustc in PATH, and the module is Rust: install it (Debian: apt install rustc rust-src bindgen), or say RUSTC=..."
	built=$(setting RUSTC_VERSION_TEXT "$1")
	here=$("$rustc" --version 2>/dev/null) || no "\"$rustc --version\" fails: the rustc in PATH does not work."
	[ -z "$built" ] || [ "$built" = "$here" ] || no "the kernel in $1 was built with \"$built\", but the rustc here is \"$here\": Rust modules need the same compiler (RUSTC=... chooses one)."
}
