/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* What of the kernel's ABI this crate uses beside our own. */
#include <linux/dma-buf.h>
