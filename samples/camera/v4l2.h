/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the sample uses of the kernel. */
#include <linux/videodev2.h>
