# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
# What is done with a packaged kernel once it has booted, each as one line "ok" or "not ok", and
# the guest's tests. $tests is on the kernel's command line: parts of their names.

# try WHAT COMMAND...: one line, and what a command said that failed.
try() {
	what=$1
	shift
	said=$("$@" 2>&1) && echo "ok - $what" && return
	echo "not ok - $what"
	echo "$said" | sed 's/^/# /'
}

no_complaint() { ! dmesg -r | grep -A 20 -E '^<[0-4]>.*(BUG|WARNING|Call [Tt]race|Internal error)'; }

# use MODULE: what a user does with the module, which is installed, and in this file too.
use() {
	try 'the command writes a pattern and reads it otherwise' shmbuf verify
	try 'the module is removed again' modprobe -r shmbuf
	modprobe configfs
	try 'the demo' shmbuf-test demo --module "$1"
	echo "# demo: $(echo "$said" | tail -n 1)"
	# shellcheck disable=SC2086,SC2154 # words of the kernel's command line
	(IFS=, && shmbuf-test run $tests --module "$1") || echo "not ok - the guest's tests"
	try 'the kernel has nothing to complain about' no_complaint
	echo 'end of the run'
	echo o >/proc/sysrq-trigger
	# Without a program, whose file system may be gone by now.
	while :; do :; done
}
