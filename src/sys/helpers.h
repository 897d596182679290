/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What params.c, arch.c, calls.c and fences.c have for the Rust side. bindgen makes
 * src/sys/ffi.rs of this file, so that there is one declaration of each; types
 * come from kernel::bindings.
 */
#ifndef _SHMBUF_HELPERS_H
#define _SHMBUF_HELPERS_H

#ifdef __BINDGEN__
#include <stdbool.h>
#include <stddef.h>
typedef unsigned long phys_addr_t;
typedef unsigned long dma_addr_t;
typedef unsigned int gfp_t;
typedef unsigned long pgprot_t;
typedef unsigned long long u64;
typedef unsigned int vm_fault_t;
#else
#include <linux/mm_types.h>
#include <linux/types.h>
#endif

struct address_space;
struct completion;
struct device;
struct dma_async_tx_descriptor;
struct dma_chan;
struct dma_fence;
struct dma_pool;
struct dma_resv;
struct dmaengine_result;
struct file;
struct file_operations;
struct kiocb;
struct mm_struct;
struct page;
struct poll_table_struct;
struct resource;
struct scatterlist;
struct sg_table;
struct vm_area_struct;
struct vm_fault;
struct wait_queue_head;
struct workqueue_struct;

/* params.c: module parameters. */
const char *shmbuf_param_size(void);
const char *shmbuf_param_kind(void);
const char *shmbuf_param_policy(void);
const char *shmbuf_param_mapping(void);
const char *shmbuf_param_engine(void);
const char *shmbuf_param_device(void);
unsigned long shmbuf_param_limit(void);
unsigned int shmbuf_param_user_share(void);
bool shmbuf_param_accept_alias(void);

/* arch.c: what differs between architectures. */

/* How caches and write buffer treat a mapping. */
enum shmbuf_cache_mode {
	SHMBUF_MODE_WRITEBACK,
	SHMBUF_MODE_WRITETHROUGH,
	SHMBUF_MODE_WRITECOMBINE,
	SHMBUF_MODE_NONCACHED,
};

/* What shmbuf_memory_type() finds in a pgprot; the names are the kernel's. */
enum shmbuf_mt {
	SHMBUF_MT_UNCACHED,
	SHMBUF_MT_BUFFERABLE,
	SHMBUF_MT_WRITETHROUGH,
	SHMBUF_MT_WRITEBACK,
	SHMBUF_MT_WRITEALLOC,
	SHMBUF_MT_OTHER,
};

/* How the data caches of this machine find their lines. */
enum shmbuf_cache_type {
	SHMBUF_CACHE_VIVT,
	SHMBUF_CACHE_VIPT_ALIASING,
	SHMBUF_CACHE_NONALIASING,
	SHMBUF_CACHE_ARM64,
	SHMBUF_CACHE_SNOOPING,
};

/* The machine. */
enum shmbuf_cache_type shmbuf_cpu_cache_type(void);
unsigned int shmbuf_cpu_midr(void);
bool shmbuf_cpu_writethrough_available(void);
bool shmbuf_cma_remapped(struct device *dev);
bool shmbuf_has_cma(void);
unsigned long shmbuf_free_cma_pages(void);
unsigned int shmbuf_dma_cache_alignment(void);

/* Memory types. */
enum shmbuf_mt shmbuf_memory_type(enum shmbuf_cache_mode mode);
pgprot_t shmbuf_prot(pgprot_t prot, enum shmbuf_cache_mode mode);
pgprot_t shmbuf_vma_prot(struct vm_area_struct *vma);
void *shmbuf_vmap(struct page **pages, unsigned int count, enum shmbuf_cache_mode mode);
int shmbuf_io_remap(struct vm_area_struct *vma, unsigned long pfn, enum shmbuf_cache_mode mode);

/* Caches and barriers. */
bool shmbuf_is_mapped_by(struct mm_struct *mm, struct address_space *space, size_t start,
			 size_t end);
void shmbuf_flush_mappings(struct address_space *space, size_t start, size_t end);
bool shmbuf_flushes_all_instead(size_t size);
void shmbuf_flush_all(void);
void shmbuf_flush_to_memory(void *addr, phys_addr_t phys, size_t size);
void shmbuf_flush_from_memory(void *addr, phys_addr_t phys, size_t size);
void shmbuf_drain_write_buffer(void);

/* calls.c: what the kernel crate's bindings lack. */

/* The highest zone that pages may lie in. */
enum shmbuf_zone {
	SHMBUF_ZONE_ANY,
	SHMBUF_ZONE_LINEAR,
	SHMBUF_ZONE_DMA32,
	SHMBUF_ZONE_DMA,
};

/* Pages. */
unsigned long shmbuf_total_pages(void);
unsigned long shmbuf_total_highmem_pages(void);
gfp_t shmbuf_gfp(enum shmbuf_zone zone, bool account);
gfp_t shmbuf_gfp_at_once(gfp_t flags);
struct page *shmbuf_alloc_contig_pages(unsigned long count, gfp_t flags);
struct page *shmbuf_nth_page(struct page *first, unsigned long n);
unsigned long shmbuf_page_to_pfn(struct page *page);
struct page *shmbuf_phys_to_page(phys_addr_t address);
bool shmbuf_page_is_highmem(struct page *page);
void *shmbuf_page_address(struct page *page);
bool shmbuf_page_is_kmapped(struct page *page);
void shmbuf_get_page(struct page *page);
void shmbuf_pages_set_reserved(struct page *first, unsigned int order);
void shmbuf_pages_clear_reserved(struct page *first, unsigned int order);

/* Block entries of programs' page tables. */
size_t shmbuf_block_size(void);
unsigned long shmbuf_get_unmapped_area(struct file *file, unsigned long addr, unsigned long len,
				       unsigned long pgoff, unsigned long flags);
bool shmbuf_memory_is_encrypted(void);
bool shmbuf_fault_has_block(struct vm_fault *fault);
bool shmbuf_fault_has_table(struct vm_fault *fault);
vm_fault_t shmbuf_insert_block(struct vm_fault *fault, unsigned long pfn);

/* Memory that others write at the same time. */
void shmbuf_copy_shared(void *to, const void *from, size_t size);
void shmbuf_zero_shared(void *to, size_t size);

/* Mappings of the kernel's own. */
void *shmbuf_ioremap_wc(phys_addr_t start, size_t size);
void shmbuf_vunmap(void *address);
void shmbuf_vm_unmap_aliases(void);

/* The mappings of an address space. */
void shmbuf_lock_mappings(struct address_space *space);
void shmbuf_unlock_mappings(struct address_space *space);

/* Files. */
struct inode *shmbuf_inode_new(void);
struct file *shmbuf_file_new(const char *name, const struct file_operations *operations,
			     void *data, int mode);
void shmbuf_file_takes_nowait(struct file *file);
void shmbuf_poll_wait(struct file *file, struct wait_queue_head *queue,
		      struct poll_table_struct *table);
bool shmbuf_iocb_is_nowait(const struct kiocb *iocb);
bool shmbuf_iocb_appends(const struct kiocb *iocb);
bool shmbuf_iocb_is_synchronous(const struct kiocb *iocb);

/* Reserved memory of a device-tree node. */
int shmbuf_reserved_attach(struct device *dev, struct device *node);
void shmbuf_reserved_detach(struct device *dev);
int shmbuf_reserved_range(struct device *node, struct resource *range);
bool shmbuf_has_declared_memory(struct device *dev);

/* Devices of the machine, and what the firmware says of their DMA. */
struct device *shmbuf_find_device(const char *name);
struct device *shmbuf_find_referred(struct device *dev, const char *property);
void shmbuf_waits_for_device(struct device *dev, const char *property);
int shmbuf_dma_configure_like(struct device *dev, struct device *other);

/* DMA. */
bool shmbuf_dma_is_direct(struct device *dev);
bool shmbuf_dma_returns_excess(struct device *dev);
u64 shmbuf_dma_mask(struct device *dev);
unsigned int shmbuf_dma_max_segment(struct device *dev);
void shmbuf_dma_allow_any_segment(struct device *dev);
phys_addr_t shmbuf_dma_to_phys(struct device *dev, dma_addr_t addr);
dma_addr_t shmbuf_phys_to_dma(struct device *dev, phys_addr_t phys);
int shmbuf_sg_table_of_run(struct sg_table *table, struct page *first, size_t size,
			   unsigned int segment);
phys_addr_t shmbuf_sg_phys(struct scatterlist *entry);
bool shmbuf_sg_is_swiotlb(struct scatterlist *entry);
bool shmbuf_dma_is_coherent(struct device *dev);
bool shmbuf_dma_may_be_copy(struct device *dev, dma_addr_t addr);
bool shmbuf_is_ram(struct device *dev, dma_addr_t addr, size_t size);
void shmbuf_dma_sync_for_cpu(struct device *dev, dma_addr_t addr, size_t size,
			     unsigned int dir);
void shmbuf_dma_sync_for_device(struct device *dev, dma_addr_t addr,
				size_t size, unsigned int dir);
void shmbuf_dma_sync_table_for_cpu(struct device *dev, struct sg_table *table, unsigned int dir);
void shmbuf_dma_sync_table_for_device(struct device *dev, struct sg_table *table,
				      unsigned int dir);

/* Pools of small blocks. */
struct dma_pool *shmbuf_dma_pool_create(const char *name, struct device *dev, size_t size,
					size_t align, size_t boundary);
void shmbuf_dma_pool_destroy(struct dma_pool *pool);
void *shmbuf_dma_pool_alloc(struct dma_pool *pool, dma_addr_t *dma);
void shmbuf_dma_pool_free(struct dma_pool *pool, void *cpu, dma_addr_t dma);

/* DMA engines. */
struct device *shmbuf_dma_provider(const char *name);
struct dma_chan *shmbuf_dma_request_channel(struct device *provider, const char *name);
int shmbuf_device_lock(struct device *dev);
void shmbuf_device_unlock(struct device *dev);
bool shmbuf_dma_is_aligned(struct dma_chan *channel, dma_addr_t to, dma_addr_t from, size_t size);
void shmbuf_dma_release_channel(struct dma_chan *channel);
struct device *shmbuf_dma_channel_device(struct dma_chan *channel);
struct dma_async_tx_descriptor *shmbuf_dma_prep_memcpy(struct dma_chan *channel, dma_addr_t to,
						       dma_addr_t from, size_t size);
int shmbuf_dma_submit(struct dma_async_tx_descriptor *descriptor,
		      void (*ended)(void *data, const struct dmaengine_result *result),
		      void *data);
void shmbuf_dma_issue_pending(struct dma_chan *channel);
int shmbuf_dma_terminate_sync(struct dma_chan *channel);
bool shmbuf_dma_failed(const struct dmaengine_result *result);
void shmbuf_reinit_completion(struct completion *completion);

/* Fences, and the queue of who signals them. */
struct dma_fence *shmbuf_fence_new(void);
void shmbuf_fence_get(struct dma_fence *fence);
void shmbuf_fence_put(struct dma_fence *fence);
void shmbuf_fence_signal(struct dma_fence *fence, int error);
struct file *shmbuf_sync_file(struct dma_fence *fence);
int shmbuf_resv_lock(struct dma_resv *resv);
bool shmbuf_resv_trylock(struct dma_resv *resv);
void shmbuf_resv_unlock(struct dma_resv *resv);
bool shmbuf_resv_has(struct dma_resv *resv, bool writes,
		     bool (*waits)(struct dma_fence *fence, void *data), void *data);
long shmbuf_resv_wait(struct dma_resv *resv, bool writes,
		      bool (*waits)(struct dma_fence *fence, void *data), void *data);
struct workqueue_struct *shmbuf_ordered_queue(void);

/* The current task, and the log. */
bool shmbuf_capable_noaudit(int capability);
unsigned int shmbuf_user(void);
bool shmbuf_read_implies_exec(void);
bool shmbuf_fatal_signal_pending(void);
bool shmbuf_sigpending(void);
void shmbuf_cond_resched(void);
void shmbuf_pagefault_disable(void);
void shmbuf_pagefault_enable(void);
void shmbuf_atomic_begin(void);
void shmbuf_atomic_end(void);
bool shmbuf_log_allowed(void);

#endif /* _SHMBUF_HELPERS_H */
