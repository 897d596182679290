// SPDX-License-Identifier: GPL-2.0
/*
 * Static inline functions, macros, and functions and structures of headers
 * that the kernel crate's bindings lack: each is a call and little else. The
 * Rust side carries the documentation.
 */
#include <linux/amba/bus.h>
#include <linux/anon_inodes.h>
#include <linux/capability.h>
#include <linux/cc_platform.h>
#include <linux/completion.h>
#include <linux/cred.h>
#include <linux/dma-direct.h>
#include <linux/dma-map-ops.h>
#include <linux/dma-mapping.h>
#include <linux/dmaengine.h>
#include <linux/dmapool.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/huge_mm.h>
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/iommu-dma.h>
#include <linux/mm.h>
#include <linux/of.h>
#include <linux/of_device.h>
#include <linux/of_reserved_mem.h>
#include <linux/pci.h>
#include <linux/personality.h>
#include <linux/platform_device.h>
#include <linux/poll.h>
#include <linux/preempt.h>
#include <linux/ratelimit.h>
#include <linux/sched.h>
#include <linux/string.h>
#include <linux/swiotlb.h>
#include <linux/uaccess.h>
#include <linux/user_namespace.h>
#include <linux/vmalloc.h>

#include "helpers.h"

unsigned long shmbuf_total_pages(void)
{
	return totalram_pages();
}

unsigned long shmbuf_total_highmem_pages(void)
{
	return totalhigh_pages();
}

gfp_t shmbuf_gfp(enum shmbuf_zone zone, bool account)
{
	static const gfp_t zones[] = {
		[SHMBUF_ZONE_ANY] = __GFP_HIGHMEM,
		[SHMBUF_ZONE_LINEAR] = 0,
		[SHMBUF_ZONE_DMA32] = __GFP_DMA32,
		[SHMBUF_ZONE_DMA] = __GFP_DMA,
	};

	return GFP_KERNEL | __GFP_NOWARN | __GFP_RETRY_MAYFAIL | zones[zone] |
	       (account ? __GFP_ACCOUNT : 0);
}

/* What is free, without making room for it. */
gfp_t shmbuf_gfp_at_once(gfp_t flags)
{
	return (flags & ~(__GFP_DIRECT_RECLAIM | __GFP_RETRY_MAYFAIL)) | __GFP_NORETRY;
}

struct page *shmbuf_alloc_contig_pages(unsigned long count, gfp_t flags)
{
#ifdef CONFIG_CONTIG_ALLOC
	return alloc_contig_pages(count, flags, numa_node_id(), NULL);
#else
	return NULL;
#endif
}

struct page *shmbuf_nth_page(struct page *first, unsigned long n)
{
	return pfn_to_page(page_to_pfn(first) + n);
}

unsigned long shmbuf_page_to_pfn(struct page *page)
{
	return page_to_pfn(page);
}

struct page *shmbuf_phys_to_page(phys_addr_t address)
{
	const unsigned long pfn = PHYS_PFN(address);

	return pfn_valid(pfn) ? pfn_to_page(pfn) : NULL;
}

bool shmbuf_page_is_highmem(struct page *page)
{
	return PageHighMem(page);
}

void *shmbuf_page_address(struct page *page)
{
	return page_address(page);
}

/*
 * kunmap() keeps the mapping, which is cacheable, even when the page is freed, until
 * the kernel needs the place.
 */
bool shmbuf_page_is_kmapped(struct page *page)
{
	return PageHighMem(page) && page_address(page);
}

void shmbuf_get_page(struct page *page)
{
	get_page(page);
}

/* Of a block of the buddy allocator, whose struct pages follow each other. */
void shmbuf_pages_set_reserved(struct page *first, unsigned int order)
{
	for (unsigned int n = 0; n < 1U << order; n++)
		SetPageReserved(first + n);
}

void shmbuf_pages_clear_reserved(struct page *first, unsigned int order)
{
	for (unsigned int n = 0; n < 1U << order; n++)
		ClearPageReserved(first + n);
}

/* What an entry of the level above that of pages maps, where that may be without references. */
size_t shmbuf_block_size(void)
{
#ifdef CONFIG_ARCH_SUPPORTS_PMD_PFNMAP
	if (has_transparent_hugepage())
		return PMD_SIZE;
#endif
	return 0;
}

unsigned long shmbuf_get_unmapped_area(struct file *file, unsigned long addr, unsigned long len,
				       unsigned long pgoff, unsigned long flags)
{
#ifdef CONFIG_ARCH_SUPPORTS_PMD_PFNMAP
	return thp_get_unmapped_area(file, addr, len, pgoff, flags);
#else
	return -ENOMEM;
#endif
}

/* Mappings have bits then that the DMA API and ioremap() choose. */
bool shmbuf_memory_is_encrypted(void)
{
	return cc_platform_has(CC_ATTR_MEM_ENCRYPT);
}

bool shmbuf_fault_has_block(struct vm_fault *fault)
{
	return pmd_trans_huge(pmdp_get_lockless(fault->pmd));
}

bool shmbuf_fault_has_table(struct vm_fault *fault)
{
	const pmd_t entry = pmdp_get_lockless(fault->pmd);

	return !pmd_none(entry) && !pmd_trans_huge(entry);
}

/* Dirty where it is writable, so that no store is a fault. */
vm_fault_t shmbuf_insert_block(struct vm_fault *fault, unsigned long pfn)
{
#ifdef CONFIG_ARCH_SUPPORTS_PMD_PFNMAP
	return vmf_insert_pfn_pmd(fault, pfn, fault->vma->vm_flags & VM_WRITE);
#else
	return VM_FAULT_FALLBACK;
#endif
}

/*
 * To Rust, and to its optimizer, these are calls whose effects nobody knows, which a copy by the
 * language's own means would not be.
 */
void shmbuf_copy_shared(void *to, const void *from, size_t size)
{
	memmove(to, from, size);
}

void shmbuf_zero_shared(void *to, size_t size)
{
	memset(to, 0, size);
}

void *shmbuf_ioremap_wc(phys_addr_t start, size_t size)
{
	return (void __force *)ioremap_wc(start, size);
}

void shmbuf_vunmap(void *address)
{
	vunmap(address);
}

void shmbuf_vm_unmap_aliases(void)
{
	vm_unmap_aliases();
}

void shmbuf_lock_mappings(struct address_space *space)
{
	i_mmap_lock_read(space);
}

void shmbuf_unlock_mappings(struct address_space *space)
{
	i_mmap_unlock_read(space);
}

/*
 * Without a file of its own, which anon_inode_create_getfile() would make too. The
 * file system of the anonymous inodes is mounted once and for all, and has no
 * other way to it.
 */
struct inode *shmbuf_inode_new(void)
{
	static struct super_block *anonymous;

	if (!READ_ONCE(anonymous)) {
		struct file *file = anon_inode_getfile("[shmbuf]", &generic_ro_fops, NULL,
						       O_RDONLY);

		if (IS_ERR(file))
			return ERR_CAST(file);
		WRITE_ONCE(anonymous, file_inode(file)->i_sb);
		fput(file);
	}
	return alloc_anon_inode(anonymous);
}

/* With RWF_NOWAIT, which io_uring uses too, reads and writes do not wait for other callers. */
void shmbuf_file_takes_nowait(struct file *file)
{
	file->f_mode |= FMODE_NOWAIT;
}

void shmbuf_poll_wait(struct file *file, struct wait_queue_head *queue,
		      struct poll_table_struct *table)
{
	poll_wait(file, queue, table);
}

/* With a position, as a file that was opened. */
struct file *shmbuf_file_new(const char *name, const struct file_operations *operations,
			     void *data, int mode)
{
	return anon_inode_getfile_fmode(name, operations, data, mode,
					FMODE_PREAD | FMODE_PWRITE | FMODE_NOWAIT);
}

bool shmbuf_iocb_is_nowait(const struct kiocb *iocb)
{
	return iocb->ki_flags & IOCB_NOWAIT;
}

bool shmbuf_iocb_appends(const struct kiocb *iocb)
{
	return iocb->ki_flags & IOCB_APPEND;
}

/* O_SYNC and O_DSYNC, RWF_SYNC and RWF_DSYNC all say this. */
bool shmbuf_iocb_is_synchronous(const struct kiocb *iocb)
{
	return iocb->ki_flags & IOCB_DSYNC;
}

int shmbuf_reserved_attach(struct device *dev, struct device *node)
{
	return of_reserved_mem_device_init_by_idx(dev, dev_of_node(node), 0);
}

void shmbuf_reserved_detach(struct device *dev)
{
	of_reserved_mem_device_release(dev);
}

int shmbuf_reserved_range(struct device *node, struct resource *range)
{
	return of_reserved_mem_region_to_resource(dev_of_node(node), 0, range);
}

bool shmbuf_has_declared_memory(struct device *dev)
{
#ifdef CONFIG_DMA_DECLARE_COHERENT
	return dev->dma_mem;
#else
	return false;
#endif
}

/* Of devices that do DMA themselves. */
static const struct bus_type *const buses[] = {
	&platform_bus_type,
#ifdef CONFIG_PCI
	&pci_bus_type,
#endif
#ifdef CONFIG_ARM_AMBA
	&amba_bustype,
#endif
};

/* By NAME or BUS/NAME, with a reference; or NULL, or that several buses have one. */
struct device *shmbuf_find_device(const char *name)
{
	const char *slash = strchr(name, '/');
	struct device *found = NULL;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(buses); i++) {
		const size_t len = strlen(buses[i]->name);
		struct device *dev;

		if (slash && (slash != name + len || strncmp(name, buses[i]->name, len)))
			continue;
		dev = bus_find_device_by_name(buses[i], NULL, slash ? slash + 1 : name);
		if (dev && found) {
			put_device(dev);
			put_device(found);
			return ERR_PTR(-EEXIST);
		}
		found = dev ?: found;
	}
	return found;
}

/* Whether neither a node nor one above it is disabled. */
static bool is_available(struct device_node *node)
{
	bool available = true;

	for (of_node_get(node); node; node = of_get_next_parent(node))
		available &= of_device_is_available(node);
	return available;
}

/*
 * Of the node that a property refers to, with a reference; or NULL, as long as
 * that has no device; or that there is no such node, or that it is disabled.
 */
struct device *shmbuf_find_referred(struct device *dev, const char *property)
{
	struct device_node *node = of_parse_phandle(dev_of_node(dev), property, 0);
	struct device *found = NULL;
	size_t i;

	if (!node)
		return ERR_PTR(-ENOENT);
	if (is_available(node)) {
		for (i = 0; i < ARRAY_SIZE(buses) && !found; i++)
			found = bus_find_device_by_of_node(buses[i], node);
	} else {
		found = ERR_PTR(-ENODEV);
	}
	of_node_put(node);
	return found;
}

/* For /sys/kernel/debug/devices_deferred. */
void shmbuf_waits_for_device(struct device *dev, const char *property)
{
	dev_err_probe(dev, -EPROBE_DEFER, "waits for the device of %s\n", property);
}

/* The node that describes a device's DMA: for PCI that of the host bridge. */
static struct device_node *dma_node(struct device *dev)
{
#ifdef CONFIG_PCI
	if (dev_is_pci(dev)) {
		struct device *bridge = pci_find_host_bridge(to_pci_dev(dev)->bus)->dev.parent;

		return bridge ? bridge->of_node : NULL;
	}
#endif
	return dev->of_node;
}

/*
 * A new device gets what the firmware says of the DMA of another: the offset of
 * its addresses, how far they reach, whether it snoops. Neither an IOMMU, which
 * translates for the other device alone, nor a map that is not in a device tree.
 */
int shmbuf_dma_configure_like(struct device *dev, struct device *other)
{
	struct device_node *node = dma_node(other);
	int ret = 0;

	if (device_iommu_mapped(other) || of_property_present(node, "iommus") ||
	    (!node && other->dma_range_map))
		return -EOPNOTSUPP;
	if (node) {
		/* What this says is of the node itself, or else of what is behind it. */
		dev->of_node = node == other->of_node ? node : NULL;
		ret = of_dma_configure(dev, node, true);
		dev->of_node = NULL;
	}
	/* Who is not in the device tree says so himself. */
	if (!ret && dev_is_dma_coherent(other))
		dev_assign_dma_coherent(dev, true);
	return ret;
}

/* Whether no IOMMU and no driver of the bus translates. */
bool shmbuf_dma_is_direct(struct device *dev)
{
	return !get_dma_ops(dev) && !use_dma_iommu(dev);
}

/* __dma_alloc_buffer() of 32-bit ARM does, __dma_direct_alloc_pages() does not. */
bool shmbuf_dma_returns_excess(struct device *dev)
{
	return IS_ENABLED(CONFIG_ARCH_HAS_DMA_ALLOC) && !dev_is_dma_coherent(dev);
}

u64 shmbuf_dma_mask(struct device *dev)
{
	return dma_get_mask(dev);
}

unsigned int shmbuf_dma_max_segment(struct device *dev)
{
	return dma_get_max_seg_size(dev);
}

/* Of a device that has no parameters yet, which would mean 64 KiB. */
void shmbuf_dma_allow_any_segment(struct device *dev)
{
	static struct device_dma_parameters parameters = { .max_segment_size = UINT_MAX };

	dev->dma_parms = &parameters;
}

phys_addr_t shmbuf_dma_to_phys(struct device *dev, dma_addr_t addr)
{
	return dma_to_phys(dev, addr);
}

dma_addr_t shmbuf_phys_to_dma(struct device *dev, phys_addr_t phys)
{
	return phys_to_dma(dev, phys);
}

/* As sg_alloc_table_from_pages_segment(), of pages one after the other. */
int shmbuf_sg_table_of_run(struct sg_table *table, struct page *first, size_t size,
			   unsigned int segment)
{
	struct scatterlist *entry;
	size_t at = 0;
	unsigned int i;
	int ret;

	/* Not DIV_ROUND_UP(): a segment may be as long as there are addresses. */
	ret = sg_alloc_table(table, (size - 1) / segment + 1, GFP_KERNEL_ACCOUNT);
	if (ret)
		return ret;
	for_each_sgtable_sg(table, entry, i) {
		const unsigned int length = min_t(size_t, segment, size - at);

		sg_set_page(entry, shmbuf_nth_page(first, at >> PAGE_SHIFT), length, 0);
		at += length;
	}
	return 0;
}

phys_addr_t shmbuf_sg_phys(struct scatterlist *entry)
{
	return sg_phys(entry);
}

bool shmbuf_sg_is_swiotlb(struct scatterlist *entry)
{
	return sg_dma_is_swiotlb(entry);
}

bool shmbuf_dma_is_coherent(struct device *dev)
{
	return dev_is_dma_coherent(dev);
}

/* Of a device that no IOMMU translates for. */
bool shmbuf_dma_may_be_copy(struct device *dev, dma_addr_t addr)
{
#ifdef CONFIG_SWIOTLB_DYNAMIC
	/* Where its copies are is not told to modules, but whether there ever was one. */
	return READ_ONCE(dev->dma_uses_io_tlb);
#else
	return swiotlb_find_pool(dev, dma_to_phys(dev, addr));
#endif
}

/* Of a device that no IOMMU translates for; what is reserved with no-map is none. */
bool shmbuf_is_ram(struct device *dev, dma_addr_t addr, size_t size)
{
	return region_intersects(dma_to_phys(dev, addr), size, IORESOURCE_SYSTEM_RAM,
				 IORES_DESC_NONE) == REGION_INTERSECTS;
}

void shmbuf_dma_sync_for_cpu(struct device *dev, dma_addr_t addr, size_t size,
			     unsigned int dir)
{
	dma_sync_single_for_cpu(dev, addr, size, dir);
}

void shmbuf_dma_sync_for_device(struct device *dev, dma_addr_t addr,
				size_t size, unsigned int dir)
{
	dma_sync_single_for_device(dev, addr, size, dir);
}

void shmbuf_dma_sync_table_for_cpu(struct device *dev, struct sg_table *table, unsigned int dir)
{
	dma_sync_sgtable_for_cpu(dev, table, dir);
}

void shmbuf_dma_sync_table_for_device(struct device *dev, struct sg_table *table,
				      unsigned int dir)
{
	dma_sync_sgtable_for_device(dev, table, dir);
}

/* The bindings have pools where the kernel has PCI, whose header includes theirs. */
struct dma_pool *shmbuf_dma_pool_create(const char *name, struct device *dev, size_t size,
					size_t align, size_t boundary)
{
	return dma_pool_create(name, dev, size, align, boundary);
}

void shmbuf_dma_pool_destroy(struct dma_pool *pool)
{
	dma_pool_destroy(pool);
}

void *shmbuf_dma_pool_alloc(struct dma_pool *pool, dma_addr_t *dma)
{
	return dma_pool_zalloc(pool, GFP_KERNEL | __GFP_NOWARN, dma);
}

void shmbuf_dma_pool_free(struct dma_pool *pool, void *cpu, dma_addr_t dma)
{
	dma_pool_free(pool, cpu, dma);
}

/* Which channel is wanted. */
struct wanted {
	const char *name;
	struct device *provider;
};

/*
 * Whether a channel, or its device, is called so. One that cannot be stopped is
 * none: who had to wait for it could not be killed.
 */
static bool is_called(struct dma_chan *channel, const char *name)
{
	if (!channel->device->device_terminate_all)
		return false;
	return !*name || !strcmp(name, dma_chan_name(channel)) ||
	       !strcmp(name, dev_name(channel->device->dev));
}

/* Takes no channel. */
static bool note_provider(struct dma_chan *channel, void *data)
{
	struct wanted *wanted = data;

	if (!wanted->provider && is_called(channel, wanted->name))
		wanted->provider = get_device(channel->device->dev);
	return false;
}

static bool is_wanted(struct dma_chan *channel, void *data)
{
	struct wanted *wanted = data;

	return channel->device->dev == wanted->provider && is_called(channel, wanted->name);
}

static struct dma_chan *request_channel(dma_filter_fn filter, struct wanted *wanted)
{
	dma_cap_mask_t mask;

	dma_cap_zero(mask);
	dma_cap_set(DMA_MEMCPY, mask);
	return dma_request_channel(mask, filter, wanted);
}

/* The device with the first channel that is free and called so, with a reference. */
struct device *shmbuf_dma_provider(const char *name)
{
	struct wanted wanted = { .name = name };

	request_channel(note_provider, &wanted);
	return wanted.provider;
}

struct dma_chan *shmbuf_dma_request_channel(struct device *provider, const char *name)
{
	struct wanted wanted = { .name = name, .provider = provider };

	return request_channel(is_wanted, &wanted);
}

int shmbuf_device_lock(struct device *dev)
{
	return device_lock_interruptible(dev);
}

void shmbuf_device_unlock(struct device *dev)
{
	device_unlock(dev);
}

bool shmbuf_dma_is_aligned(struct dma_chan *channel, dma_addr_t to, dma_addr_t from, size_t size)
{
	return is_dma_copy_aligned(channel->device, from, to, size);
}

void shmbuf_dma_release_channel(struct dma_chan *channel)
{
	dma_release_channel(channel);
}

struct device *shmbuf_dma_channel_device(struct dma_chan *channel)
{
	return dmaengine_get_dma_device(channel);
}

struct dma_async_tx_descriptor *shmbuf_dma_prep_memcpy(struct dma_chan *channel, dma_addr_t to,
						       dma_addr_t from, size_t size)
{
	return dmaengine_prep_dma_memcpy(channel, to, from, size,
					 DMA_PREP_INTERRUPT | DMA_CTRL_ACK);
}

int shmbuf_dma_submit(struct dma_async_tx_descriptor *descriptor,
		      dma_async_tx_callback_result ended, void *data)
{
	descriptor->callback_result = ended;
	descriptor->callback_param = data;
	return dmaengine_submit(descriptor);
}

void shmbuf_dma_issue_pending(struct dma_chan *channel)
{
	dma_async_issue_pending(channel);
}

int shmbuf_dma_terminate_sync(struct dma_chan *channel)
{
	return dmaengine_terminate_sync(channel);
}

bool shmbuf_dma_failed(const struct dmaengine_result *result)
{
	return result && result->result != DMA_TRANS_NOERROR;
}

void shmbuf_reinit_completion(struct completion *completion)
{
	reinit_completion(completion);
}

bool shmbuf_capable_noaudit(int capability)
{
	return ns_capable_noaudit(&init_user_ns, capability);
}

unsigned int shmbuf_user(void)
{
	const struct user_namespace *ns = current_user_ns();
	kuid_t user = current_uid();

	for (; ns != &init_user_ns; ns = ns->parent)
		user = ns->owner;
	return from_kuid(&init_user_ns, user);
}

bool shmbuf_read_implies_exec(void)
{
	return current->personality & READ_IMPLIES_EXEC;
}

bool shmbuf_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

bool shmbuf_sigpending(void)
{
	return task_sigpending(current);
}

void shmbuf_cond_resched(void)
{
	cond_resched();
}

void shmbuf_pagefault_disable(void)
{
	pagefault_disable();
}

void shmbuf_pagefault_enable(void)
{
	pagefault_enable();
}

void shmbuf_atomic_begin(void)
{
	preempt_disable();
	pagefault_disable();
}

void shmbuf_atomic_end(void)
{
	pagefault_enable();
	preempt_enable();
}

/*
 * A user shares his part of the log with few others, and root with none: who
 * fills his own silences nobody else.
 */
bool shmbuf_log_allowed(void)
{
	static struct ratelimit_state states[32] = {
		[0 ... 31] = RATELIMIT_STATE_INIT(shmbuf_log, DEFAULT_RATELIMIT_INTERVAL,
						  DEFAULT_RATELIMIT_BURST),
	};
	const uid_t user = __kuid_val(current_uid());

	return __ratelimit(&states[user ? 1 + user % (ARRAY_SIZE(states) - 1) : 0]);
}
