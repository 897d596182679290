# SPDX-License-Identifier: GPL-2.0
# "make help": targets by their "## text", headings by "##@ text".
/^##@ / { printf "\n%s\n", substr($0, 5) }
/^[a-z_-]+:.* ## / {
	name = $1; sub(":.*", "", name)
	text = $0; sub(".* ## ", "", text)
	printf "  %-16s %s\n", name, text
}
