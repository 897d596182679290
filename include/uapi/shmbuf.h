/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * shmbuf: physically contiguous memory shared between a program, the kernel
 * and DMA devices, with the cache attributes that the program chose.
 *
 * open("/dev/shmbuf"), mmap() it, done; everything else is an ioctl of this
 * file. It is the one definition of the ABI: the Rust side is generated from
 * it, in the module and in user space.
 *
 * All structures have fixed-width fields, no holes, and the same layout for
 * 32 and 64 bits. They may grow at the end: the size is part of the ioctl
 * number, a longer structure of a later header is taken if what this kernel
 * does not know is zero (else E2BIG), a shorter one of an earlier header is
 * taken as if followed by zeroes (one that is shorter than in the first header
 * is EINVAL). Flags that are not defined here and reserved fields must be
 * zero, else EINVAL. A refused call changes nothing.
 *
 * Errors of the other system calls on a handle:
 *
 * mmap(2)
 *	EINVAL		offset plus length reach past the end of the buffer
 *	EOVERFLOW	they wrap (the kernel's own check)
 *	EOPNOTSUPP	copy-on-write (MAP_PRIVATE with PROT_WRITE). A private
 *			read-only mapping works and cannot become writable.
 *			Kind pool, whose page others use too.
 *	EPERM		PROT_EXEC
 *	EACCES		PROT_WRITE and MAP_SHARED on a handle not open for it
 *	EBUSY		SET_CACHE is replacing the memory. VIVT caches: a cached
 *			mapping of some of the same bytes exists in this
 *			process, and the two would be incoherent. Use that
 *			one, or unmap it first.
 *	ENOMEM		no memory for page tables
 * read(2), pread(2)
 *	0 at or past the end; short across it, and where the next byte is a
 *	device's. Large ones are done in pieces of at most 64 KiB, between which
 *	others may write.
 *	EBUSY		a device was lent the first of these bytes: SYNC START
 *			first
 *	EFAULT		bad pointer, and nothing was read
 *	EINVAL		kind region: position or length is not a multiple of
 *			shmbuf_info.access_width
 *	EAGAIN		O_NONBLOCK, and a SYNC, a COPY or another transfer uses
 *			the first of these bytes: it would have to wait
 *	EINTR		interrupted while waiting for these to end, and nothing
 *			was read
 *	ENOMEM		no memory for the kernel's view; only in buffers above
 *			4 MiB that are not write-back
 * write(2), pwrite(2)
 *	ENOSPC		at or past the end; short across it
 *	EAGAIN, EBUSY, EFAULT, EINTR, EINVAL, ENOMEM	as read
 * lseek(2): SEEK_SET, SEEK_CUR, SEEK_END within 0 .. size, else EINVAL
 *
 * O_NONBLOCK, which fcntl(2) sets and clears, is for what waits for others that use
 * the same bytes: read, write, SYNC and SET_CACHE. COPY has an asynchronous way of
 * its own. poll(2) tells of that, and not of others.
 */
#ifndef _UAPI_SHMBUF_H
#define _UAPI_SHMBUF_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Where the memory of a buffer comes from. */
enum shmbuf_kind {
	/* Physically contiguous pages; no device's view. */
	SHMBUF_KIND_PAGES	= 0,
	/* DMA memory that needs no cache maintenance (dma_alloc_attrs). */
	SHMBUF_KIND_COHERENT	= 1,
	/* Write-back pages mapped for DMA; SYNC hands them to and fro. */
	SHMBUF_KIND_STREAMING	= 2,
	/* Single write-back pages mapped for DMA by a scatter-gather table. */
	SHMBUF_KIND_SCATTER	= 3,
	/* Coherent DMA memory of less than a page (dma_pool); not mappable. */
	SHMBUF_KIND_POOL	= 4,
	/* Device memory that a device-tree node names; not by ALLOC. */
	SHMBUF_KIND_REGION	= 5,
};

/*
 * The memory type of all CPU views of a buffer. What each one is on a given
 * architecture is in Documentation/cache-coherence.md and, for the machine at
 * hand, in shmbuf_info.memory_type.
 */
enum shmbuf_policy {
	/* Cached; the kernel's own type for RAM. */
	SHMBUF_POLICY_WRITEBACK		= 0,
	/* Cached for reads; writes go to memory at once. */
	SHMBUF_POLICY_WRITETHROUGH	= 1,
	/* Not cached; writes may be buffered and merged. */
	SHMBUF_POLICY_WRITECOMBINE	= 2,
	/*
	 * Not cached, not buffered. On ARMv6 and later strongly-ordered: no
	 * unaligned access, no exclusives, hence no memset() or memcpy() that
	 * was not made for it.
	 */
	SHMBUF_POLICY_NONCACHED		= 3,
};

/* shmbuf_alloc.policy: the one that suits the kind. */
#define SHMBUF_POLICY_DEFAULT		0xFFFFFFFFU

/* How user mappings are made. */
enum shmbuf_mapping {
	/* At once, by page frame number; the kernel takes no reference. */
	SHMBUF_MAPPING_PFNMAP		= 0,
	/*
	 * By fault, and a page is withdrawn while a device was lent any of it:
	 * a touch is SIGBUS then. For the kinds that have an owner: streaming,
	 * scatter.
	 */
	SHMBUF_MAPPING_STRICT		= 1,
	/*
	 * At once, with a reference to each page, as O_DIRECT, io_uring,
	 * vmsplice(2) and process_vm_readv(2) need it. What they hold stays
	 * allocated after the buffer is gone. For write-back buffers of kind
	 * pages, streaming and scatter, and not on VIVT caches; SET_CACHE is
	 * refused.
	 */
	SHMBUF_MAPPING_REFCOUNTED	= 2,
};

/* What devices do with a buffer of kind streaming or scatter. */
enum shmbuf_direction {
	SHMBUF_DIRECTION_BIDIRECTIONAL	= 0,
	SHMBUF_DIRECTION_TO_DEVICE	= 1,
	SHMBUF_DIRECTION_FROM_DEVICE	= 2,
};

/*
 * Who may touch the contents now (cached memory that a device reaches). Each
 * cache line has an owner of its own; the buffer's is the device while any is.
 */
enum shmbuf_owner {
	SHMBUF_OWNER_CPU	= 0,
	SHMBUF_OWNER_DEVICE	= 1,
};

/* phys_addr and dma_addr are given: the caller has CAP_SYS_RAWIO. */
#define SHMBUF_INFO_PHYS_ADDR	0x1U
#define SHMBUF_INFO_DMA_ADDR	0x2U
/*
 * A cacheable kernel alias of the non-cached memory exists, which contract and
 * architecture forbid and the administrator accepted (parameter accept_alias)
 * or, for coherent memory, the kernel keeps (32-bit ARM without CONFIG_DMA_CMA,
 * 64-bit ARM).
 */
#define SHMBUF_INFO_ALIASED	0x4U

/**
 * struct shmbuf_info - what a buffer is and what is in force
 * @flags: in: zero; out: SHMBUF_INFO_*
 * @kind: enum shmbuf_kind
 * @policy: enum shmbuf_policy, as asked for and in force
 * @policies: bit (1 << policy) for each policy that SET_CACHE takes on this
 *	buffer and machine; it refuses the others with EOPNOTSUPP
 * @size: bytes
 * @phys_addr: address of the first byte on the CPU's bus, or zero; kind
 *	scatter: of its first page only
 * @dma_addr: address of the first byte for the device @dma_device and no
 *	other, or zero; kind scatter: of its first page only
 * @owner: enum shmbuf_owner
 * @cache_line: bytes; SYNC takes multiples of it
 * @mappings: user mappings (VMAs) that exist now, in all processes
 * @reserved: zero
 * @memory_type: the type in force in the architecture's words, NUL-terminated
 * @dma_device: the device that @dma_addr is for, NUL-terminated, empty if none
 * @mapping: enum shmbuf_mapping
 * @direction: enum shmbuf_direction
 * @exports: dma-bufs of the buffer that exist now
 * @access_width: kind region: bytes of each access to the device; else 1
 * @name: of the node is /dev/shmbuf-NAME; empty for /dev/shmbuf and for private
 *	buffers; NUL-terminated
 * @engine: the DMA engine that COPY uses, NUL-terminated; empty until a COPY has
 *	asked for one, and if there is none
 */
struct shmbuf_info {
	__u32 flags;
	__u32 kind;
	__u32 policy;
	__u32 policies;
	__u64 size;
	__u64 phys_addr;
	__u64 dma_addr;
	__u32 owner;
	__u32 cache_line;
	__u32 mappings;
	__u32 reserved;
	char memory_type[48];
	char dma_device[32];
	__u32 mapping;
	__u32 direction;
	__u32 exports;
	__u32 access_width;
	char name[32];
	char engine[32];
};

/**
 * struct shmbuf_set_cache - change the cache policy of a buffer
 * @policy: enum shmbuf_policy
 * @flags: zero
 *
 * For buffers of kind pages. Contents survive; the memory may move.
 */
struct shmbuf_set_cache {
	__u32 policy;
	__u32 flags;
};

/* As in <linux/dma-buf.h>: what the CPU does between START and END. */
#define SHMBUF_SYNC_READ	0x1U
#define SHMBUF_SYNC_WRITE	0x2U
#define SHMBUF_SYNC_RW		(SHMBUF_SYNC_READ | SHMBUF_SYNC_WRITE)
#define SHMBUF_SYNC_START	0x0U
#define SHMBUF_SYNC_END		0x4U

/**
 * struct shmbuf_sync - begin or end CPU access to a range
 * @offset: bytes, a multiple of shmbuf_info.cache_line
 * @length: bytes, not zero, a multiple of shmbuf_info.cache_line or up to the
 *	end of the buffer
 * @flags: SHMBUF_SYNC_START or SHMBUF_SYNC_END, with SHMBUF_SYNC_READ,
 *	SHMBUF_SYNC_WRITE or both
 * @reserved: zero
 *
 * START makes what a device wrote visible to the CPU and takes the range of a
 * streaming buffer back from the device; END makes what the CPU wrote visible
 * to the device and lends it the range of a streaming buffer. What importers of
 * dma-bufs have mapped goes to and fro as a whole, if the range meets it. No
 * other bytes are maintained, and none that have the owner already: an END of
 * half a buffer leaves the other half to the CPU. On memory that is not cached,
 * SYNC drains the write buffer. No thread may access the range while SYNC runs.
 */
struct shmbuf_sync {
	__u64 offset;
	__u64 length;
	__u32 flags;
	__u32 reserved;
};

/**
 * struct shmbuf_alloc - make a private buffer
 * @size: bytes, not zero; a multiple of the page size, for kind pool less than
 *	a page
 * @kind: enum shmbuf_kind but SHMBUF_KIND_REGION
 * @policy: enum shmbuf_policy, or SHMBUF_POLICY_DEFAULT
 * @mapping: enum shmbuf_mapping
 * @direction: enum shmbuf_direction; zero for kinds but streaming and scatter
 * @align: kind pool: the buffer begins at a multiple of this power of two in
 *	bytes, at most a page; zero for any; zero for other kinds
 * @boundary: kind pool: the buffer crosses no multiple of this power of two in
 *	bytes, at least @size; zero for none; zero for other kinds
 * @flags: zero
 * @reserved: zero
 */
struct shmbuf_alloc {
	__u64 size;
	__u32 kind;
	__u32 policy;
	__u32 mapping;
	__u32 direction;
	__u32 align;
	__u32 boundary;
	__u32 flags;
	__u32 reserved;
};

/* shmbuf_export.flags: the dma-buf of a handle open for writing is read-only. */
#define SHMBUF_EXPORT_READ_ONLY	0x1U

/**
 * struct shmbuf_export - make a dma-buf of a range
 * @offset: bytes, a multiple of the page size
 * @length: bytes, not zero, a multiple of the page size
 * @flags: zero or SHMBUF_EXPORT_READ_ONLY
 * @reserved: zero
 */
struct shmbuf_export {
	__u64 offset;
	__u64 length;
	__u32 flags;
	__u32 reserved;
};

/* shmbuf_copy.flags: return when the copy has begun. */
#define SHMBUF_COPY_ASYNC	0x1U
/* shmbuf_copy.flags: add one to an eventfd when it has ended; with ASYNC. */
#define SHMBUF_COPY_EVENTFD	0x2U
/* shmbuf_copy.flags: return a sync_file, close-on-exec, of its end; with ASYNC. */
#define SHMBUF_COPY_SYNC_FILE	0x4U

/**
 * struct shmbuf_copy - copy between buffers, by a DMA engine
 * @src_offset: bytes, in the buffer of @src_fd
 * @dst_offset: bytes, in the buffer of the call
 * @length: bytes, not zero
 * @src_fd: a handle of any buffer, open for reading
 * @timeout_ms: how long the engine may take, at most 60000; zero for 10000
 * @flags: SHMBUF_COPY_*
 * @eventfd: with SHMBUF_COPY_EVENTFD, else zero
 */
struct shmbuf_copy {
	__u64 src_offset;
	__u64 dst_offset;
	__u64 length;
	__s32 src_fd;
	__u32 timeout_ms;
	__u32 flags;
	__s32 eventfd;
};

/**
 * struct shmbuf_lent - what devices were lent
 * @offset: bytes; where to look, and where it was found
 * @length: bytes; how far to look, not zero, and how much was found: zero if
 *	devices were lent nothing there
 */
struct shmbuf_lent {
	__u64 offset;
	__u64 length;
};

#define SHMBUF_IOC_MAGIC	0xBC

/*
 * Describe the buffer. Any handle.
 *	EINVAL		flags is not zero
 *	EFAULT		bad pointer
 */
#define SHMBUF_IOC_INFO		_IOWR(SHMBUF_IOC_MAGIC, 0x00, struct shmbuf_info)

/*
 * Change the cache policy. The handle must be open for writing.
 *	EINVAL		no such policy; flags is not zero
 *	EBADF		the handle is not open for writing
 *	EOPNOTSUPP	this kind or this machine cannot give that policy: see
 *			shmbuf_info.policies, and the kernel log for the reason
 *	EBUSY		the buffer is mapped or exported somewhere, or a device
 *			was lent some of it
 *	EDQUOT		the memory of a private buffer has to move, and counts
 *			twice meanwhile: a limit of ALLOC would be exceeded
 *	ENOMEM		the memory has to move, and there is none that fits
 *	EAGAIN		O_NONBLOCK, and somebody uses it
 *	EINTR		interrupted while waiting for who uses it
 *	EFAULT		bad pointer
 */
#define SHMBUF_IOC_SET_CACHE	_IOW(SHMBUF_IOC_MAGIC, 0x01, struct shmbuf_set_cache)

/*
 * Begin or end CPU access. A handle that is not open for writing may sync with
 * SHMBUF_SYNC_READ alone, and does not change the owner. START waits for the fences
 * that others have put on dma-bufs of the range.
 *	EINVAL		no direction; unknown flags; reserved is not zero;
 *			length is zero; offset or length is not a multiple of
 *			the cache line
 *	ERANGE		the range reaches past the end of the buffer, or wraps
 *	EBADF		SHMBUF_SYNC_WRITE on a handle not open for writing
 *	EBUSY		a device was lent some of the range, and the handle is
 *			not open for writing
 *	EAGAIN		O_NONBLOCK, and somebody uses some of the range, or there is a
 *			fence to wait for
 *	EINTR		interrupted while waiting for who uses some of the range, or
 *			for a fence
 *	ENOMEM		as read(2); the owner is as before
 *	EFAULT		bad pointer
 */
#define SHMBUF_IOC_SYNC		_IOW(SHMBUF_IOC_MAGIC, 0x02, struct shmbuf_sync)

/*
 * Make a private buffer, zeroed, that lives until its last handle, mapping and
 * dma-buf are gone. Returns a new handle, open for reading and writing and
 * close-on-exec. The handle of the call only has to be open for writing.
 *	EINVAL		a field that is not understood, or does not go with the
 *			kind; a size that is zero or not a multiple of the page
 *			size, or for kind pool not less than a page
 *	EFBIG		more bytes than this machine can address
 *	EBADF		the handle is not open for writing
 *	EOPNOTSUPP	this kind or this machine cannot give that policy or
 *			that mapping, or that kind: see the kernel log for the
 *			reason
 *	EDQUOT		the module's limit of private memory would be exceeded, or
 *			what one user may have of it (limit and user_share in
 *			/sys/module/shmbuf/parameters): see the kernel log
 *	ENOMEM		there is no memory that fits: see the kernel log
 *	EMFILE		the process has no free file descriptor
 *	ENFILE		the system has none
 *	EFAULT		bad pointer
 */
#define SHMBUF_IOC_ALLOC	_IOW(SHMBUF_IOC_MAGIC, 0x03, struct shmbuf_alloc)

/*
 * Make a dma-buf of a range. Returns its file descriptor, close-on-exec. It
 * keeps the memory. Importers of a read-only dma-buf may map it for reading by
 * the device (DMA_TO_DEVICE) only, others get EACCES. DMA_BUF_IOCTL_SYNC on it
 * is SHMBUF_IOC_SYNC of its range; mapping it for a device lends it all of that,
 * as SYNC END does, and unmapping returns it. A read-only one lends nothing: its
 * importers see what was there when they mapped it, and at each END since.
 *	EBUSY		SET_CACHE is replacing the memory
 *	EBADF		the handle is not open for reading
 *	EINVAL		unknown flags; reserved is not zero; length is zero;
 *			offset or length is not a multiple of the page size
 *	ERANGE		the range reaches past the end of the buffer, or wraps
 *	EOPNOTSUPP	the memory has no pages of its own: kind pool, kind
 *			region, memory reserved with no-map
 *	ENOMEM, EMFILE, ENFILE, EFAULT	as ALLOC
 */
#define SHMBUF_IOC_EXPORT	_IOW(SHMBUF_IOC_MAGIC, 0x04, struct shmbuf_export)

/*
 * Copy a range of another buffer, or of the same, to this one, by a DMA engine.
 * Caches are maintained for both, as read(2) and write(2) do it; the bytes of the
 * cache lines at the ends of the range that belong to neighbours are the CPU's. No
 * thread may access the two ranges by a mapping meanwhile; calls wait for it. If it
 * fails, some of the range may have been written, and nothing else: the rest is as
 * before; the engine has stopped. The handle must be open for writing.
 *
 * It waits for the fences that others have put on dma-bufs of the ranges, and puts
 * one on each: of the target for writing, of the source for reading.
 *
 * With SHMBUF_COPY_ASYNC the call returns when the copy has begun. Until it has
 * ended, calls that touch the ranges wait: SYNC, SET_CACHE, write(2), importers
 * that map them, and read(2) of what is written. poll(2) says of this handle
 * that it is neither readable nor writable (at all other times it is both). Then
 * COPY_RESULT says how it ended, once. A handle has one such copy. When its last
 * descriptor is closed, the copy is cancelled. With SHMBUF_COPY_SYNC_FILE the call
 * returns the descriptor of a sync_file that is signalled when it has ended.
 *	EINVAL		a field that is not understood; length is zero; the
 *			ranges are of one buffer, and overlap; not an eventfd
 *	ERANGE		a range reaches past the end of its buffer, or wraps
 *	EBADF		the handle is not open for writing; src_fd is no
 *			handle of a buffer, or not open for reading
 *	EBUSY		a device was lent some of the ranges
 *	EACCES		devices may only read this buffer (its direction)
 *	EOPNOTSUPP	there is no DMA engine that copies; devices do not
 *			reach one of the buffers: kind pool, kind region, memory
 *			reserved with no-map
 *	EINPROGRESS	ASYNC: such a copy of this handle has not ended, or its
 *			result was not taken
 *	ENODEV		the engine's driver is leaving
 *	EIO		the engine cannot address the memory, or failed
 *	ETIMEDOUT	it took longer than allowed
 *	EINTR		interrupted
 *	ENOMEM		as ALLOC; the engine's driver has no descriptor left
 *	EMFILE, ENFILE, EFAULT	as ALLOC
 */
#define SHMBUF_IOC_COPY		_IOW(SHMBUF_IOC_MAGIC, 0x05, struct shmbuf_copy)

/*
 * Take the result of the copy that SHMBUF_COPY_ASYNC began by this handle: zero,
 * or what COPY would have said. Does not wait.
 *	EAGAIN		it has not ended
 *	ENODATA		there is none, or its result was taken
 */
#define SHMBUF_IOC_COPY_RESULT	_IO(SHMBUF_IOC_MAGIC, 0x06)

/*
 * Find the first bytes of a range that devices were lent, as far as they follow
 * each other. Any handle. The range need not be whole lines; what is found may
 * have changed when the call returns, if others use the buffer.
 *	EINVAL		length is zero
 *	ERANGE		the range reaches past the end of the buffer, or wraps
 *	EFAULT		bad pointer
 */
#define SHMBUF_IOC_LENT		_IOWR(SHMBUF_IOC_MAGIC, 0x07, struct shmbuf_lent)

/* Any other ioctl: ENOTTY. */

#endif /* _UAPI_SHMBUF_H */
