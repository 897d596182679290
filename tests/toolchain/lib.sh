# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034 # what is set here is used there
# Shared by the scripts of this folder: where the cache is, how to say
# things, how to become root, how to enter the toolchain tree.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

say() { printf '==> %s\n' "$*" >&2; }
die() {
	printf 'shmbuf: %s\n' "$*" >&2
	exit 1
}

[ -n "${SHMBUF_CACHE:-${XDG_CACHE_HOME:-${HOME:-}}}" ] ||
	die "neither HOME nor SHMBUF_CACHE is set: set SHMBUF_CACHE to the folder that the set-up shall use."
cache=${SHMBUF_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/shmbuf}
: "${HOME:=/nonexistent}"

# Where this checkout's own output goes; the rest of the cache is shared. What depends
# on no kernel is in $programs. All else is for the kernels that test, or with
# SHMBUF_KERNEL=bench for those that measure, which have nothing that looks for
# faults, or with SHMBUF_KERNEL=demo for those that have only what the demo needs and
# are built sooner, or with SHMBUF_KERNEL=fuzz for those that tell a fuzzer which code
# of the module runs. With SHMBUF_KDIR=<built kernel tree> it is for that kernel in place
# of the boards'.
build=$cache/build-$(printf '%s' "$top" | sha256sum | cut -c1-8)
programs=$build/programs
build=$build${SHMBUF_KERNEL:+-$SHMBUF_KERNEL}
[ -z "${SHMBUF_KDIR:-}" ] || build=$build-kdir-$(printf '%s' "$SHMBUF_KDIR" | sha256sum | cut -c1-8)

case $cache in
/*) ;;
*) die "SHMBUF_CACHE and XDG_CACHE_HOME have to be absolute paths, and \"$cache\" is none." ;;
esac
case $top$cache in
*[[:space:]:]*) die "kbuild cannot work in a path with a space or a colon in it: ${top}, ${cache}." ;;
esac

# is_cache FOLDER: whether a set-up has begun in it.
is_cache() { [ -e "$1/setup.lock" ]; }

# A set-up takes no folder that holds something else: distclean would remove it.
case ${0##*/} in
setup | setup-*)
	[ ! -e "$cache" ] || is_cache "$cache" || [ -z "$(ls -A "$cache")" ] ||
		die "there is something else in $cache: set SHMBUF_CACHE to an empty folder, or to one that is not there yet."
	;;
esac

# Where the logs are of what a script makes: what setup-... make is shared, one of
# them at a time, the rest is the checkout's own.
case ${0##*/} in
setup-*) logs=$cache/log ;;
*) logs=$build/log ;;
esac

# step "what it is" "how long it usually takes" command...: one long step,
# its output in a log that is shown only when it fails.
step() {
	local what=$1 usual=$2 log
	shift 2
	mkdir -p "$logs"
	log=$logs/$(printf '%s' "$what" | tr -cs 'A-Za-z0-9.' '-').log
	say "$what (usually $usual; log: $log)"
	local begin=$SECONDS status
	# What the step started has got the terminal's Ctrl-C too, and is waited for.
	trap 'die "\"$what\" was interrupted: run the same command again to go on (log: $log)."' INT
	# Not as a condition: there "set -e" would not hold, and what follows a
	# command that failed would run.
	set +e
	(
		set -e
		"$@"
	) >"$log" 2>&1 </dev/null
	status=$?
	set -e
	trap - INT
	if [ $status != 0 ]; then
		if grep -qE '^E: Failed to fetch .* 404 ' "$log"; then
			die "\"$what\": the package server does not have a package that its own lists name. It may be in the middle of an update: run the same command again later, it resumes, or name another server with DEBIAN_MIRROR=... after \"make distclean\" (log: $log)."
		elif grep -qiE 'Temporary failure resolving|Could not resolve|Failed to fetch|Unable to connect|Connection (refused|timed out)|Network is unreachable|NewConnectionError|NameResolutionError' "$log"; then
			die "\"$what\" could not reach its package server: check the network and run the same command again, it resumes (log: $log)."
		elif grep -qiE 'No space left on device|not have enough free space' "$log"; then
			die "\"$what\" ran out of disk space in $cache: make room and run the same command again (log: $log)."
		elif grep -qE '^sudo: .*(password|terminal)' "$log"; then
			die "\"$what\" needs root, and sudo got no password: $no_password (log: $log)."
		fi
		tail -n 25 "$log" >&2
		die "\"$what\" failed; its whole output is in $log. When its cause is mended, run the same command again to go on."
	fi
	say "$what: done in $((SECONDS - begin)) s"
}

# put FILE AS: copy a file so that whoever reads AS meanwhile has the old one, or the new one.
put() {
	cp "$1" "$2.new"
	mv "$2.new" "$2"
}

no_password="run the same command in a terminal, or as root, or allow this user sudo without a password (NOPASSWD)"

# check_root: say before anything is begun why this user cannot become root.
check_root() {
	[ "$(id -u)" != 0 ] || return 0
	command -v sudo >/dev/null 2>&1 ||
		die "this needs root, and there is no sudo here: run the same command as root, or install sudo."
	! sudo -n true 2>/dev/null || return 0
	(: </dev/tty) 2>/dev/null ||
		die "this needs root, and sudo asks for a password without a terminal to ask at: $no_password."
	say "this needs root: sudo asks for your password"
	sudo -v || die "this needs root, and sudo refuses it to $(id -un): run the same command as a user who may become root."
}
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	else
		sudo -E "$@"
	fi
}

# contained BWRAP-OPTION... -- COMMAND...: run a command as root whose processes all
# end with it, and with this script. apt gives dpkg a session of its own, and what
# ends the script reaches that no other way.
# What stands before it is the caller's: emulated, where programs of ARM run.
runs=()
contained() { as_root "${runs[@]}" bwrap --unshare-pid --die-with-parent --cap-add ALL "$@"; }

# The toolchain tree is named by what it holds: the suite, the packages, and a number
# that grows when setup-tree makes something else of them. What the 64-bit boards
# need besides is in a copy of it, which shares its files.
suite=trixie
tree_32bit=$cache/tree-$( (
	echo "$suite 1"
	grep -hv '^#' "$top"/tests/toolchain/packages* | cut -d'|' -f3-
) | sha256sum | cut -c1-12)
tree_64bit=$tree_32bit-64bit
tree=$tree_64bit
[ -e "$tree" ] || tree=$tree_32bit

# missing MB COMPLETE BEGUN: how much is still to be written of what takes so many MB,
# has all of them when COMPLETE exists, and until then those in BEGUN.
missing() {
	local there=0
	if [ -e "$2" ]; then
		there=$1
	elif [ -e "$3" ]; then
		there=$(du -sm "$3" 2>/dev/null | cut -f1 || true)
	fi
	echo $((there < $1 ? $1 - there : 0))
}
# What setup-tree has still to write; what it downloads is there until it is complete.
missing_tree() { missing 4000 "$tree_32bit" "$tree_32bit.partial"; }
missing_tree_64bit() { missing 1400 "$tree_64bit" "$tree_64bit.partial/downloads"; }

make_cache() {
	mkdir -p "$cache" 2>/dev/null ||
		die "cannot write to $cache: set SHMBUF_CACHE to a folder that this user may write."
}

# check_room MB: whether there is that much room in the cache.
check_room() {
	local free
	make_cache
	free=$(df --output=avail -BM "$cache" | tail -1 | tr -dc 0-9)
	[ "$free" -ge "$1" ] ||
		die "the set-up needs $1 MB more in $cache, where $free MB are free: make room, or set SHMBUF_CACHE to a folder on a larger disk."
}

# Where the host's files are in the tree with SHMBUF_SEES_HOST=1: sources may include
# others anywhere.
host=/run/host
[ -z "${SHMBUF_IN_TREE:-}" ] || host=

# in_tree command...: run in the toolchain tree, with the checkout, the cache
# and /tmp at their own paths. The network and package mirrors are the host's.
in_tree() {
	# The root is a tmpfs with the tree's programs in it, so that mount points
	# need not be made in the tree, which is root's.
	local args=(--tmpfs / --perms 0755 --dir /etc) e f name
	if [ -n "${SHMBUF_IN_TREE:-}" ]; then # already there
		"$@"
		return
	fi
	for e in "$tree"/{bin,lib*,sbin,usr} "$tree"/etc/*; do
		name=${e#"$tree"}
		case $name in
		/etc/resolv.conf | /etc/hosts | /etc/pip.conf | /etc/passwd) continue ;;
		esac
		if [ -L "$e" ]; then
			args+=(--symlink "$(readlink "$e")" "$name")
		elif [ -r "$e" ]; then
			args+=(--ro-bind "$e" "$name")
		fi
	done
	# The folders above those that follow, which bwrap would make root's alone.
	for f in "$cache" "$top" "${SHMBUF_ENV:-/}" "${KDIR:-/}" "$HOME/.ssh"; do
		name=
		for e in $(dirname "$(readlink -f "$f")" | tr / ' '); do
			name+=/$e
			args+=(--perms 0755 --dir "$name")
		done
	done
	# What runs in the tree ends with its caller, an emulator too. Process numbers
	# are few and come again there, and make names the pipe of its jobs by one: it
	# is on this root, and not in /tmp with those of others.
	args+=(--dev-bind /dev /dev --unshare-pid --proc /proc --bind /tmp /tmp
		--perms 1777 --dir /run --setenv MAKE_TMPDIR /run
		--ro-bind-try /sys /sys
		--bind "$cache" "$cache" --bind "$top" "$top"
		--die-with-parent
		--setenv SHMBUF_IN_TREE 1 --setenv SHMBUF_CACHE "$cache"
		--setenv HOME "$cache/home" --setenv PATH /usr/bin:/usr/sbin:/bin:/sbin
		--setenv LC_ALL C.UTF-8 --unsetenv PIP_FIND_LINKS --unsetenv MAKEFLAGS
		--setenv CARGO_HOME "$cache/cargo" --unsetenv RUSTUP_HOME
		--setenv PYTHONPYCACHEPREFIX "$cache/pycache"
		--chdir "$PWD")
	# ssh and others want the user to have a name.
	for f in /etc/passwd /etc/resolv.conf /etc/hosts /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
		[ -e "$f" ] && args+=(--ro-bind "$(readlink -f "$f")" "$f")
	done
	# A package mirror configured for this user is used in the tree too.
	mkdir -p "$cache/home/.config" "$cache/cargo"
	for f in .config/pip/pip.conf .pip/pip.conf; do
		[ -e "$HOME/$f" ] && args+=(--ro-bind "$HOME/$f" "$cache/home/$f")
	done
	for f in config config.toml; do
		[ -e "${CARGO_HOME:-$HOME/.cargo}/$f" ] &&
			args+=(--ro-bind "${CARGO_HOME:-$HOME/.cargo}/$f" "$cache/cargo/$f")
	done
	# A real board's environment file, and the keys to reach it.
	if [ -n "${SHMBUF_ENV:-}" ]; then
		f=$(dirname "$(readlink -f "$SHMBUF_ENV")")
		args+=(--ro-bind "$f" "$f")
		[ -d "$HOME/.ssh" ] && args+=(--ro-bind "$HOME/.ssh" "$HOME/.ssh")
		[ -S "${SSH_AUTH_SOCK:-}" ] && args+=(--ro-bind "$SSH_AUTH_SOCK" "$SSH_AUTH_SOCK")
	fi
	if [ -n "${KDIR:-}" ] && [ -d "${KDIR}" ]; then
		args+=(--bind "$(readlink -f "$KDIR")" "$(readlink -f "$KDIR")")
	fi
	if [ -n "${SHMBUF_KDIR:-}" ]; then
		for f in "$(kernel_source)" "$SHMBUF_KDIR"; do args+=(--bind "$f" "$f"); done
	fi
	[ -z "${SHMBUF_SEES_HOST:-}" ] || args+=(--ro-bind / "$host")
	if [ "$(id -u)" = 0 ]; then
		bwrap "${args[@]}" "$@"
	elif bwrap --bind / / true 2>/dev/null; then
		bwrap "${args[@]}" "$@"
	else
		# Hosts that forbid unprivileged user namespaces (Ubuntu 24.04).
		sudo -E bwrap "${args[@]}" --cap-add CAP_SETUID --cap-add CAP_SETGID \
			setpriv --reuid="$(id -u)" --regid="$(id -g)" --clear-groups "$@"
	fi
}

# debian NAME: the root folder that setup-debian makes, named by what goes into it.
debian() {
	printf '%s/debian-%s-%s' "$cache" "$1" \
		"$(cat "$top/tests/toolchain/debian-$1" "$top/tests/toolchain/setup-debian" | sha256sum | cut -c1-12)"
}

# debian_says NAME KEY ELSE: what a line "KEY: " in that list says.
debian_says() { sed -n "s/^$2: //p" "$top/tests/toolchain/debian-$1" | grep . || echo "$3"; }

# board_python ARCH: the Python of the boards, which setup-board-python makes, named likewise.
board_python() {
	printf '%s/python-%s-%s' "$cache" "$1" \
		"$(sha256sum <"$top/tests/toolchain/setup-board-python" | cut -c1-12)"
}

# browser: the browser that setup-browser makes, named likewise.
browser() { printf '%s/browser-%s' "$cache" "$(sha256sum <"$top/tests/toolchain/setup-browser" | cut -c1-12)"; }

# Kernel source and build folders, named by what goes into them.
linux_tarball=/usr/src/linux-source-7.3.tar.xz
kernel_source() {
	if [ -n "${SHMBUF_KDIR:-}" ]; then
		readlink -en "$SHMBUF_KDIR/source" || printf "%s" "$SHMBUF_KDIR"
		return
	fi
	printf '%s/linux-%s' "$cache" "$(cat "$tree"/var/lib/dpkg/info/linux-source-7.3.md5sums \
		"$top"/tests/boards/patches/*.patch | sha256sum | cut -c1-12)"
}
# Boards whose configurations are links to one file share a kernel.
kernel_build() {
	local config
	if [ -n "${SHMBUF_KDIR:-}" ]; then
		printf "%s" "$SHMBUF_KDIR"
		return
	fi
	config=$(readlink -f "$top/tests/boards/$1/kernel.config")
	printf '%s/kernel-%s-%s' "$cache" "$(basename "$(dirname "$config")")" "$( (kernel_source; kernel_config "$1"
		cat "$top/tests/toolchain/setup-kernel") | sha256sum | cut -c1-12)"
}
# ARCH= of a board's kernel, as kbuild wants it.
kernel_arch() {
	case $(grep -xE 'CONFIG_(ARM64|X86_64)=y' "$top/tests/boards/$1/kernel.config") in
	CONFIG_ARM64=y) echo arm64 ;;
	CONFIG_X86_64=y) echo x86_64 ;;
	*) echo arm ;;
	esac
}
# What kbuild has to be told of the compilers: those that the kernel is of.
kernel_compiler() {
	if grep -qx CONFIG_CC_IS_GCC=y "$(kernel_build "$1")/.config" 2>/dev/null; then
		echo CROSS_COMPILE=arm-linux-gnueabihf-
	else
		echo LLVM=-19
	fi
}
# What a board's kernel shall have, over allnoconfig.
kernel_config() {
	local config=$top/tests/boards
	local usual=("$config/$(kernel_arch "$1").config" "$config/$1/kernel.config")
	case ${SHMBUF_KERNEL:-tests} in
	tests) cat "$config/common.config" "$config/debug.config" "${usual[@]}" ;;
	bench) cat "$config/common.config" "$config/bench.config" "${usual[@]}" ;;
	fuzz)
		cat "$config/common.config" "$config/debug.config" "$config/fuzz.config" "${usual[@]}"
		[ "$(kernel_arch "$1")" = arm ] || cat "$config/fuzz-64bit.config"
		;;
	demo)
		cat "$config/common.config" "${usual[@]}" |
			grep -vxF -f <(sed -n 's/^# \(CONFIG_.*\) is not set$/\1=y/p' "$config/demo.config")
		cat "$config/demo.config"
		;;
	*) die "SHMBUF_KERNEL is bench, demo, fuzz or not set, not \"$SHMBUF_KERNEL\"." ;;
	esac
}
# How long a kernel usually takes.
kernel_minutes() { [ "${SHMBUF_KERNEL:-}" = demo ] && echo 2-5 || echo 4-15; }

# Whether the modules of the tests are wanted; the demo runs none.
has_tests() { [ "${SHMBUF_KERNEL:-}" != demo ]; }

# Whether the kernel takes the DMA engine of tests/engine.
has_engine() { has_tests && grep -qx 'CONFIG_DMADEVICES=y' "$top/tests/boards/$1/kernel.config"; }

# Whether the kernel has pages to map by kmap(), as tests/kmap does.
has_highmem() { has_tests && grep -qx 'CONFIG_HIGHMEM=y' "$top/tests/boards/$1/kernel.config"; }

# Whether the board has the PCI device of samples/edu.
has_edu() { has_tests && grep -q -- '-device edu' "$top/tests/boards/$1/labgrid.yaml"; }

# A board is a folder with a kernel configuration here.
boards() { (cd "$top/tests/boards" && for f in */kernel.config; do echo "${f%/*}"; done); }
check_board() {
	[ -e "$top/tests/boards/${1:-none}/kernel.config" ] ||
		die "there is no board \"${1:-}\"; there are: $(boards | paste -sd' ')."
}

# The Python of the host's runner, named by what is in it.
venv() { printf '%s/venv-%s' "$cache" "$( (echo "$tree_32bit"; cat "$top/tests/host/requirements.txt") | sha256sum | cut -c1-12)"; }

# Debian's name for the programs that run on a board.
board_arch() {
	case $(kernel_arch "$1") in
	arm64) echo arm64 ;;
	x86_64) echo amd64 ;;
	*)
		if grep -q '^CONFIG_ARCH_MULTI_V5=y' "$top/tests/boards/$1/kernel.config"; then
			echo armel
		else
			echo armhf
		fi
		;;
	esac
}
# And for those of 32 bits that a 64-bit kernel runs too.
board_compat() {
	case $(kernel_arch "$1") in
	arm64) echo armhf ;;
	x86_64) echo i386 ;;
	esac
}

# The C compiler for programs of an architecture, with the options that make it one.
c_compiler() {
	case $1 in
	armhf) echo arm-linux-gnueabihf-gcc ;;
	armel) echo arm-linux-gnueabi-gcc -march=armv5te ;;
	arm64) echo clang-19 --target=aarch64-linux-gnu -fuse-ld=lld ;;
	amd64) echo gcc ;;
	i386) echo clang-19 --target=i686-linux-gnu -fuse-ld=lld ;;
	esac
}

# put_programs BOARD FOLDER PROGRAM...: copy a user's programs, which have to run
# on the board: static ones for its processor, and in a 64-bit kernel those of 32
# bits. A C source is compiled for the board.
put_programs() {
	local board=$1 folder=$2 program name machines
	shift 2
	case $(kernel_arch "$board") in
	arm) machines="28 00" ;;
	arm64) machines="b7 00|28 00" ;;
	x86_64) machines="3e 00|03 00" ;;
	esac
	for program; do
		[ -f "$program" ] || die "there is no program \"$program\"."
		# The initramfs takes no spaces in a name.
		name=$(basename "$program" .c | tr ' ' _)
		if [[ $program = *.c ]]; then
			step "$(basename "$program") for $board" "1 s" compile_program "$board" "$folder/$name" "$program"
			continue
		fi
		[ "$(od -An -tx1 -N4 "$program")" = " 7f 45 4c 46" ] ||
			die "$program is no program (ELF): scripts can be pasted into the shell, or compiled in."
		od -An -tx1 -j18 -N2 "$program" | grep -qE "^ ($machines)\$" ||
			die "$program is for another processor than that of $board: see Documentation/first-program.md."
		cp "$program" "$folder/$name"
		# grep reads all of it: with -q the other program may die of SIGPIPE.
		! in_tree llvm-readelf-19 -lW "$folder/$name" | grep INTERP >/dev/null ||
			die "$program wants shared libraries, which the board does not have: link it with -static."
	done
}

# compile_program BOARD PROGRAM SOURCE: a user's C program, with shmbuf's header and
# the coherence checker's hints at hand.
compile_program() {
	local cc
	read -ra cc <<<"$(c_compiler "$(board_arch "$1")")"
	SHMBUF_SEES_HOST=1 in_tree "${cc[@]}" -std=gnu11 -O2 -g -Wall -static -pthread \
		-ffile-prefix-map="$host"= -I"$top/include/uapi" -I"$top/tools/coherence" \
		-o "$2" "$host$(realpath "$3")"
}
