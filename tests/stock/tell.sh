# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034 # what is set here is used there
# What both ways to try a packaged kernel have in common on the host.
toolchain=$top/tests/toolchain

# Parts of the names of the guest's tests.
tests=data,info,configfs,rmmod

# try WHAT COMMAND...: one line, and what a command said that failed.
try() {
	local what=$1 said
	shift
	said=$("$@" 2>&1) && echo "ok - $what" && return
	echo "not ok - $what"
	printf '%s\n' "$said" | sed 's/^/# /'
}

# kernel_of ROOT: the version of the kernel whose headers are there.
kernel_of() { basename "$(dirname "$1"/usr/src/linux-headers-*/Module.symvers)" | sed 's/^linux-headers-//'; }

# told KERNEL OUTPUT: the row of the table, and the counts; status 1 if something failed.
told() {
	local kernel=$1 output=$2 passed failed
	ended() { grep -qx 'end of the run' "$output"; }
	# counts BY: those in a comment of the output.
	counts() { sed -n "s/^# $1\([0-9]* passed, .*\)/\1/p" "$output"; }
	try "the system came to the end of its run" ended | tee -a "$output"
	echo "| $kernel | $(counts 'demo: ') | $(counts '') |"
	passed=$(grep -c '^ok ' "$output") failed=$(grep -c '^not ok ' "$output") || true
	echo "$passed passed, $failed failed"
	[ "$failed" = 0 ]
}
