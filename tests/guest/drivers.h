/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What the tests use of other drivers and of the kernel, and of the coherence checker. */
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>
#include <linux/userfaultfd.h>
#include <linux/videodev2.h>

#include "../../tools/coherence/hint.h"
