/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel has for Rust alone, and declares nowhere, by the names that
 * objects have: for delays.c.
 */
#ifndef SHMBUF_DELAYS_H
#define SHMBUF_DELAYS_H

#include <linux/types.h>

struct mm_struct;
struct mutex;

void rust_helper_mutex_lock(struct mutex *lock);
bool rust_helper_mmap_read_trylock(struct mm_struct *mm);
void rust_helper_mmap_read_unlock(struct mm_struct *mm);

#endif
