# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154 # set by lib.sh
# The files of a packaged kernel of another architecture, of which nothing is run on the host.

# fetch ARCH TOOLS KERNEL OUT: unpack them to OUT/root, from where apt of the root folder TOOLS
# gets packages.
fetch() {
	local arch=$1 tools=$2 kernel=$3 out=$4 names=()
	for package in binary modules; do names+=("linux-$package-$kernel:$arch"); done
	rm -rf "$out/packages" "$out/root"
	mkdir -p "$out/packages" "$out/root"
	contained --bind "$tools" / --dev /dev --proc /proc --bind "$out/packages" /mnt --chdir /mnt \
		--ro-bind "$(readlink -f /etc/resolv.conf)" /etc/resolv.conf \
		sh -euc 'apt-get update; apt-get -o APT::Sandbox::User=root download "$@"' sh "${names[@]}"
	for package in "$out"/packages/*.deb; do in_tree dpkg-deb -x "$package" "$out/root"; done
}

# kernel_files ARCH TOOLS KERNEL OUT: the same, if they are not there yet.
kernel_files() {
	[ -e "$4/root/usr/lib/modules/$3/vmlinuz" ] || step "packages of $3" "1 min" fetch "$@"
}
