// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * label TEXT: tells the coherence checker what runs from now on. Its reports
 * say it.
 */
#include "hint.h"

int main(int argc, char **argv)
{
	coherence_label(argc > 1 ? argv[1] : "");
	return 0;
}
