/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * shmbuf: memory that a program, the kernel and DMA devices share, with the
 * cache attributes that the program chose.
 *
 * A program opens /dev/shmbuf and maps it; all other operations are ioctls of
 * this file. This header is the one definition of the ABI. The Rust side is
 * generated from it, in the module and in user space. Documentation/abi.md
 * lists all calls and errors, Documentation/user-guide.md explains them.
 *
 * All structures have fixed-width fields, no holes, and the same layout for
 * 32 and 64 bits. They may grow at the end, and the ioctl number contains the
 * size. This kernel accepts a longer structure of a later header if the fields
 * that it does not know are zero, and else returns E2BIG. It reads a shorter
 * structure of an earlier header as if zeroes followed. A structure that is
 * shorter than in the first header fails with EINVAL, as do flags that are not
 * defined here and reserved fields that are not zero. A refused call changes
 * nothing.
 *
 * Errors of the other system calls on a handle:
 *
 * mmap(2)
 *	EINVAL		offset plus length reach past the end of the buffer
 *	EOVERFLOW	offset plus length reach 4 GiB on a 32-bit kernel (the
 *			kernel's own check)
 *	EOPNOTSUPP	copy-on-write (MAP_PRIVATE with PROT_WRITE): a private
 *			read-only mapping works and cannot become writable; or
 *			kind pool, which shares its page with other buffers; or
 *			the node was opened with O_SYNC or O_DSYNC, and the
 *			memory is cached and needs SYNC: see the kernel log
 *	EPERM		PROT_EXEC
 *	EACCES		PROT_WRITE and MAP_SHARED on a handle that is not open
 *			for writing
 *	EBUSY		SET_CACHE is replacing the memory; or, on a VIVT cache,
 *			this process has a cached mapping of some of the same
 *			bytes, and the two would be incoherent: use that
 *			mapping or unmap it first
 *	ENOMEM		no memory for page tables
 * A load or store through a mapping of a strict buffer raises SIGBUS
 * (BUS_ADRERR) while some of the page is lent to a device.
 * read(2), pread(2)
 *	They return 0 at or past the end. They are short across the end and
 *	before a byte that is lent to a device. A large read is done in pieces
 *	of at most 64 KiB, between which other callers may write.
 *	EBUSY		the first byte is lent to a device: SYNC START first
 *	EFAULT		the pointer is bad, and nothing was read
 *	EINVAL		kind region: position or length is not a multiple of
 *			shmbuf_info.access_width
 *	EAGAIN		O_NONBLOCK or RWF_NOWAIT: a SYNC, a COPY or another
 *			transfer uses the first byte, so the call would have to
 *			wait
 *	EINTR		a signal interrupted that wait, and nothing was read
 *	ENOMEM		no memory for the queue of calls; or for the kernel's
 *			view, in buffers above 4 MiB that are not write-back or
 *			not in the linear map
 * write(2), pwrite(2)
 *	They are short where read(2) is. With O_SYNC or O_DSYNC, or RWF_SYNC or
 *	RWF_DSYNC, the bytes are in memory when the call returns.
 *	ENOSPC		the position is at or past the end; O_APPEND, RWF_APPEND
 *	EAGAIN, EBUSY, EFAULT, EINTR, EINVAL, ENOMEM	as read(2)
 * splice(2), sendfile(2): as read(2) and write(2)
 * fsync(2), fdatasync(2), msync(2)
 *	They bring to memory what the CPU has written, except to bytes that are
 *	lent to a device, and change no owner. They wait for other callers.
 *	EINTR		a signal interrupted that wait
 *	ENOMEM		as read(2)
 * lseek(2): SEEK_SET, SEEK_CUR, SEEK_END; EINVAL outside of 0 to the size
 *
 * With O_NONBLOCK, which fcntl(2) sets and clears, read, write, SYNC and
 * SET_CACHE do not wait for other callers that use the same bytes. COPY waits
 * unless it is asynchronous, and fsync(2) waits. poll(2) reports the end of an asynchronous copy,
 * and not when other callers are done.
 */
#ifndef _UAPI_SHMBUF_H
#define _UAPI_SHMBUF_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Where the memory of a buffer comes from. */
enum shmbuf_kind {
	/* Physically contiguous pages that are not mapped for a device. */
	SHMBUF_KIND_PAGES	= 0,
	/* DMA memory that needs no cache maintenance (dma_alloc_attrs). */
	SHMBUF_KIND_COHERENT	= 1,
	/* Write-back pages mapped for DMA; SYNC moves their ownership. */
	SHMBUF_KIND_STREAMING	= 2,
	/* Write-back pages wherever they lie, mapped for DMA by a scatter-gather table. */
	SHMBUF_KIND_SCATTER	= 3,
	/* Coherent DMA memory of less than a page (dma_pool); not mappable. */
	SHMBUF_KIND_POOL	= 4,
	/* Device memory that a device-tree node names; ALLOC cannot make it. */
	SHMBUF_KIND_REGION	= 5,
	/* A dma-buf of another driver, which IMPORT took; ALLOC cannot make it. */
	SHMBUF_KIND_IMPORTED	= 6,
};

/*
 * The memory type of all CPU views of a buffer. Documentation/policies.md lists
 * what each policy is on each architecture. shmbuf_info.memory_type names the
 * type in force on this machine.
 */
enum shmbuf_policy {
	/* Cached; the kernel's own type for RAM. */
	SHMBUF_POLICY_WRITEBACK		= 0,
	/* Cached for reads; writes go to memory at once. */
	SHMBUF_POLICY_WRITETHROUGH	= 1,
	/* Not cached; writes may be buffered and merged. */
	SHMBUF_POLICY_WRITECOMBINE	= 2,
	/*
	 * Not cached, not buffered. On ARMv6 and later this is Strongly-ordered
	 * memory: unaligned accesses and exclusives are not allowed, so neither
	 * is a memset() or memcpy() that was not made for such memory.
	 */
	SHMBUF_POLICY_NONCACHED		= 3,
};

/* shmbuf_alloc.policy: the default policy of the kind. */
#define SHMBUF_POLICY_DEFAULT		0xFFFFFFFFU

/* How user mappings are made. */
enum shmbuf_mapping {
	/* All at once, by page frame number; the kernel takes no references. */
	SHMBUF_MAPPING_PFNMAP		= 0,
	/*
	 * By page faults. While any of a page is lent to a device, the page is
	 * not mapped, and a load or store there raises SIGBUS. For kinds
	 * streaming and scatter, and for a cached region.
	 */
	SHMBUF_MAPPING_STRICT		= 1,
	/*
	 * All at once, with a reference to each page, which O_DIRECT, io_uring,
	 * vmsplice(2) and process_vm_readv(2) need. Pages that they hold stay
	 * allocated after the buffer is gone. For write-back buffers of kinds
	 * pages, streaming and scatter, except on VIVT caches. SET_CACHE is
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
 * Who may touch the contents now. Only cached memory that a device reaches can
 * be lent to a device. Each cache line has an owner of its own. The owner of
 * the buffer is the device while any line is lent.
 */
enum shmbuf_owner {
	SHMBUF_OWNER_CPU	= 0,
	SHMBUF_OWNER_DEVICE	= 1,
};

/* phys_addr, dma_addr are valid: the caller has CAP_SYS_RAWIO. */
#define SHMBUF_INFO_PHYS_ADDR	0x1U
#define SHMBUF_INFO_DMA_ADDR	0x2U
/*
 * The kernel has a cacheable alias of this non-cached memory, which the
 * architecture forbids. Either the administrator accepted that (parameter
 * accept_alias), or the memory is coherent memory, whose alias the kernel keeps
 * (32-bit ARM without CONFIG_DMA_CMA, 64-bit ARM).
 */
#define SHMBUF_INFO_ALIASED	0x4U
/* The device @dma_device snoops the CPU's caches: SYNC need maintain none. */
#define SHMBUF_INFO_SNOOPS	0x8U

/**
 * struct shmbuf_info - what a buffer is and what is in force
 * @flags: in: zero; out: SHMBUF_INFO_*
 * @kind: enum shmbuf_kind
 * @policy: enum shmbuf_policy, the policy in force
 * @policies: a bit (1 << policy) for each policy that SET_CACHE accepts for this
 *	buffer on this machine; it refuses the others with EOPNOTSUPP
 * @size: bytes
 * @phys_addr: address of the first byte on the CPU's bus, or zero; kind
 *	scatter: of its first page only
 * @dma_addr: address of the first byte for the device @dma_device and for no
 *	other device, or zero; kind scatter: of its first page only, and
 *	SHMBUF_IOC_SEGMENT tells of the others
 * @owner: enum shmbuf_owner
 * @cache_line: bytes; SYNC works in multiples of it
 * @mappings: user mappings (VMAs) that exist now, in all processes
 * @reserved: zero
 * @memory_type: the memory type in force, in the words of the architecture,
 *	NUL-terminated
 * @dma_device: the device that @dma_addr is for, NUL-terminated; empty if there
 *	is none. It is a device of the driver's own, whose DMA may be that of
 *	another device: then it has the name of that one
 * @mapping: enum shmbuf_mapping
 * @direction: enum shmbuf_direction
 * @exports: dma-bufs of the buffer that exist now
 * @access_width: bytes of each access to the device for kind region, unless it
 *	is cached; else 1
 * @name: NAME of the node /dev/shmbuf-NAME, NUL-terminated; empty for
 *	/dev/shmbuf and for private buffers
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
 * Only buffers of kind pages have a choice. The contents survive. The memory may
 * move.
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
 * START makes what a device wrote visible to the CPU. If the handle is open for
 * writing, START also takes back the bytes of the range that are lent to a
 * device. END makes what the CPU wrote visible to the device. If the handle is
 * open for writing, END also lends to the device the bytes of a streaming or
 * scatter buffer, or of a cached region, that it does not have. What an importer of a dma-buf has
 * mapped moves as a whole if the range meets it. No other bytes are maintained.
 * On memory that is not cached, SYNC drains the write buffer. No thread may
 * access the range while SYNC runs. Documentation/user-guide.md defines all of
 * this.
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
 * @kind: enum shmbuf_kind except SHMBUF_KIND_REGION
 * @policy: enum shmbuf_policy, or SHMBUF_POLICY_DEFAULT
 * @mapping: enum shmbuf_mapping
 * @direction: enum shmbuf_direction for kinds streaming and scatter, else zero
 * @align: kind pool: the buffer begins at a multiple of this number of bytes, a
 *	power of two that is at most a page; zero for no such limit and for
 *	other kinds
 * @boundary: kind pool: the buffer crosses no multiple of this number of bytes,
 *	a power of two that is at least @size and @align; zero for no such
 *	limit and for other kinds
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

/* shmbuf_export.flags: make the dma-buf read-only, whatever the handle allows. */
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
/* shmbuf_copy.flags: with ASYNC, add one to an eventfd when the copy has ended. */
#define SHMBUF_COPY_EVENTFD	0x2U
/* shmbuf_copy.flags: with ASYNC, return a sync_file, signalled at the copy's end. */
#define SHMBUF_COPY_SYNC_FILE	0x4U

/**
 * struct shmbuf_copy - copy between buffers with a DMA engine
 * @src_offset: bytes, in the buffer of @src_fd
 * @dst_offset: bytes, in the buffer of the call
 * @length: bytes, not zero
 * @src_fd: a handle of any buffer, open for reading
 * @timeout_ms: how long the engine may take, at most 60000; zero for 10000
 * @flags: SHMBUF_COPY_*
 * @eventfd: an eventfd with SHMBUF_COPY_EVENTFD, else zero
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
 * struct shmbuf_lent - find bytes that are lent to devices
 * @offset: in: where the search begins; out: where the first lent byte is
 * @length: in: how many bytes to search, not zero; out: how many lent bytes
 *	follow each other there, zero if no byte is lent
 */
struct shmbuf_lent {
	__u64 offset;
	__u64 length;
};

/**
 * struct shmbuf_segment - find where the device sees a part of a buffer
 * @offset: bytes, inside the buffer
 * @length: in: zero; out: how many bytes from @offset on follow each other for
 *	the device
 * @dma_addr: in: zero; out: address of the byte at @offset for the device
 *	shmbuf_info.dma_device and for no other device
 */
struct shmbuf_segment {
	__u64 offset;
	__u64 length;
	__u64 dma_addr;
};

/**
 * struct shmbuf_import - get a handle on a dma-buf of another driver
 * @fd: the dma-buf
 * @flags: zero
 */
struct shmbuf_import {
	__s32 fd;
	__u32 flags;
};

#define SHMBUF_IOC_MAGIC	0xBC

/*
 * Describe the buffer. The handle may be open in any mode.
 *	EINVAL		flags is not zero
 *	EFAULT		the pointer is bad
 */
#define SHMBUF_IOC_INFO		_IOWR(SHMBUF_IOC_MAGIC, 0x00, struct shmbuf_info)

/*
 * Change the cache policy. The handle must be open for writing.
 *	EINVAL		there is no such policy; flags is not zero
 *	EBADF		the handle is not open for writing
 *	EOPNOTSUPP	this kind or this machine cannot have that policy: see
 *			shmbuf_info.policies, and the kernel log for the reason
 *	EBUSY		the buffer is mapped or exported somewhere, or some of
 *			it is lent to a device
 *	EDQUOT		the memory of a private buffer has to move and counts
 *			twice meanwhile, which would exceed a limit of ALLOC
 *	ENOMEM		the memory has to move, and no suitable memory is free
 *	EAGAIN		O_NONBLOCK: another call uses some of the buffer
 *	EINTR		a signal interrupted the wait for such a call
 *	EFAULT		the pointer is bad
 */
#define SHMBUF_IOC_SET_CACHE	_IOW(SHMBUF_IOC_MAGIC, 0x01, struct shmbuf_set_cache)

/*
 * Begin or end CPU access. A handle that is not open for writing may sync with
 * SHMBUF_SYNC_READ alone, and does not change the owner. START waits for the
 * fences that others have put on dma-bufs of the range.
 *	EINVAL		neither READ nor WRITE is set; unknown flags; reserved
 *			is not zero; length is zero; offset or length is not a
 *			multiple of the cache line
 *	ERANGE		the range reaches past the end of the buffer, or wraps
 *	EBADF		SHMBUF_SYNC_WRITE on a handle that is not open for
 *			writing
 *	EBUSY		some of the range is lent to a device, and the handle is
 *			not open for writing
 *	EAGAIN		O_NONBLOCK: another call uses some of the range, or
 *			START has to wait for a fence
 *	EINTR		a signal interrupted the wait for such a call or fence
 *	ENOMEM		as read(2); the owner is unchanged
 *	EFAULT		the pointer is bad
 */
#define SHMBUF_IOC_SYNC		_IOW(SHMBUF_IOC_MAGIC, 0x02, struct shmbuf_sync)

/*
 * Make a private buffer. It is zeroed, and lives until its last handle, mapping
 * and dma-buf are gone. Returns a new handle, close-on-exec, which is open for
 * reading and writing. The handle of the call must be open for writing. The new
 * buffer is for the device that the handle's buffer is for, and in its reach:
 * see shmbuf_info.dma_device. Nothing else about the handle matters.
 *	EINVAL		a field has an unknown value or one that does not go
 *			with the kind; the size is zero or not a multiple of the
 *			page size, or for kind pool not less than a page
 *	EFBIG		the size is more than this machine can address
 *	EBADF		the handle is not open for writing
 *	EOPNOTSUPP	this kind or this machine cannot have that policy or
 *			mapping, or the kind is region: see the kernel log for
 *			the reason
 *	EDQUOT		the module's limit of private memory would be exceeded,
 *			or the share of one user (limit and user_share in
 *			/sys/module/shmbuf/parameters): see the kernel log
 *	ENOMEM		no suitable memory is free: see the kernel log
 *	EMFILE		the process has no free file descriptor
 *	ENFILE		the system has no free file descriptor
 *	EFAULT		the pointer is bad
 */
#define SHMBUF_IOC_ALLOC	_IOW(SHMBUF_IOC_MAGIC, 0x03, struct shmbuf_alloc)

/*
 * Make a dma-buf of a range. Returns its file descriptor, close-on-exec. While
 * the dma-buf exists, the memory stays allocated. DMA_BUF_IOCTL_SYNC on the
 * dma-buf is SHMBUF_IOC_SYNC of its range. An importer that maps the dma-buf for
 * its device is lent all of it, as by SYNC END, and returns it by unmapping.
 *
 * A dma-buf is read-only if SHMBUF_EXPORT_READ_ONLY is set or the handle is not
 * open for writing. Importers may map it only for reading by the device
 * (DMA_TO_DEVICE), and else get EACCES. A read-only dma-buf lends nothing: the
 * device sees what the memory held when it was mapped, and at each END since.
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
 * Copy a range of another buffer, or of the same buffer, to this buffer with a
 * DMA engine. The handle must be open for writing. The CPU owns both ranges
 * before and after. Caches are maintained as by read(2) and write(2); the CPU
 * copies the bytes of cache lines that the range shares with its neighbours. No
 * thread may access the two ranges through a mapping meanwhile; calls wait. If a
 * copy fails, some of the target range may have been written, all other bytes
 * are unchanged, and the engine has stopped.
 *
 * COPY waits for the fences that others have put on dma-bufs of the ranges. It
 * puts a fence of its own on each of these dma-bufs: for writing on those of the
 * target, for reading on those of the source.
 *
 * With SHMBUF_COPY_ASYNC the call returns when the copy has begun. Until the
 * copy has ended, calls that touch the ranges wait: SYNC, SET_CACHE, write(2),
 * importers that map them, and read(2) of the target. Meanwhile poll(2) reports
 * this handle as neither readable nor writable; at all other times it reports
 * both. Afterwards COPY_RESULT tells once how the copy ended. A handle has one
 * such copy at a time. The copy is cancelled if the last descriptor of the
 * handle is closed. With SHMBUF_COPY_SYNC_FILE the call returns the descriptor,
 * close-on-exec, of a sync_file that is signalled when the copy has ended.
 *	EINVAL		a field has an unknown value; length is zero; the ranges
 *			belong to one buffer and overlap; eventfd is not an
 *			eventfd
 *	ERANGE		a range reaches past the end of its buffer, or wraps
 *	EBADF		the handle is not open for writing; src_fd is not a
 *			handle of a buffer, or is not open for reading; eventfd
 *			is not open
 *	EBUSY		some of the ranges is lent to a device
 *	EACCES		devices may only read this buffer (its direction)
 *	EOPNOTSUPP	there is no DMA engine that copies; or devices do not
 *			reach one of the buffers: kind pool, kind region, memory
 *			reserved with no-map
 *	EINPROGRESS	ASYNC: an earlier copy of this handle has not ended, or
 *			nobody has taken its result
 *	ENODEV		the driver of the engine is leaving
 *	EIO		the engine cannot address the memory, or failed
 *	ETIMEDOUT	the engine took longer than timeout_ms
 *	EINTR		a signal interrupted the wait or the copy
 *	ENOMEM		as ALLOC; or the engine's driver has no descriptor left
 *	EMFILE, ENFILE, EFAULT	as ALLOC
 */
#define SHMBUF_IOC_COPY		_IOW(SHMBUF_IOC_MAGIC, 0x05, struct shmbuf_copy)

/*
 * Take the result of the copy that SHMBUF_COPY_ASYNC began on this handle: zero,
 * or the error that COPY would have returned. Does not wait.
 *	EAGAIN		the copy has not ended
 *	ENODATA		no copy was started on this handle, or its result has
 *			been taken already
 */
#define SHMBUF_IOC_COPY_RESULT	_IO(SHMBUF_IOC_MAGIC, 0x06)

/*
 * Find the first bytes of a range that are lent to devices, as far as they
 * follow each other. The handle may be open in any mode. The range need not
 * consist of whole lines. If other callers use the buffer, the answer may be out
 * of date when the call returns.
 *
 * poll(2) reports POLLPRI on a handle when something that was lent has come back
 * since the handle was opened, or since its last LENT with the offset zero.
 *	EINVAL		length is zero
 *	ERANGE		the range reaches past the end of the buffer, or wraps
 *	EFAULT		the pointer is bad
 */
#define SHMBUF_IOC_LENT		_IOWR(SHMBUF_IOC_MAGIC, 0x07, struct shmbuf_lent)

/*
 * Find the address of a byte for the buffer's device, and how many bytes follow
 * it without a gap. A program that begins with the offset zero, and adds the
 * length until it is at the end, has the whole list. The addresses are valid as
 * long as the buffer exists. The handle may be open in any mode.
 *	EINVAL		length or dma_addr is not zero
 *	ERANGE		offset is at or past the end of the buffer
 *	EPERM		the caller does not have CAP_SYS_RAWIO
 *	EOPNOTSUPP	no device has a view of the buffer: kinds pages and region
 *	EFAULT		the pointer is bad
 */
#define SHMBUF_IOC_SEGMENT	_IOWR(SHMBUF_IOC_MAGIC, 0x08, struct shmbuf_segment)

/*
 * Get a handle on a dma-buf of another driver: a camera's, a GPU's, that of a
 * heap, or of a memfd by /dev/udmabuf. The dma-buf is mapped for the device that
 * the buffer of the call is for (for kinds pages and region one of the driver's
 * own). It stays where it is, and exists, until the new handle is closed; which
 * of the two drivers and programs goes first does not matter. The handle of the
 * call must be open for writing; nothing else about it matters. Returns a new
 * handle, close-on-exec, which is open for what the dma-buf is open for.
 *
 * The device has the memory at first, as after END, if the dma-buf is open for
 * writing. Else the device may only read it, and nothing is lent. What the calls
 * do on the new handle:
 * INFO		kind imported; memory_type has the name of the exporter; policy,
 *		policies, mapping, mappings, exports, phys_addr say nothing and
 *		are zero
 * SEGMENT	the addresses for the device
 * SYNC		for all of the dma-buf, no part of it. START waits for the fences
 *		of others, and goes to the exporter's begin of CPU access and to
 *		the mapping for the device; END to the exporter's end and to the
 *		mapping. It loses nothing that the CPU wrote before
 * LENT		all, while the device has it
 * mmap(2)	what the exporter does
 * read(2), write(2)	by the exporter's view for the kernel. EBUSY while the
 *		device has the memory; EOPNOTSUPP if the exporter gives no view
 * EXPORT	the same dma-buf: for all of it, with its rights
 * COPY_RESULT	ENODATA
 * SET_CACHE, COPY (also by src_fd), ALLOC, IMPORT	EOPNOTSUPP
 * SYNC and EXPORT of a part, and EXPORT with READ_ONLY of what is writable,
 * fail with EOPNOTSUPP too. The kernel log has the reasons. Calls on the handle
 * do not wait for each other.
 *	EINVAL		fd is no dma-buf; flags is not zero
 *	EBADF		the handle is not open for writing; fd is not open
 *	EOPNOTSUPP	the dma-buf is of this driver; or the kernel would copy
 *			for the device (swiotlb): see the kernel log
 *	EIO		the device does not reach the memory
 *	ENOMEM, EMFILE, ENFILE, EFAULT	as ALLOC
 *	others		what the exporter refuses
 */
#define SHMBUF_IOC_IMPORT	_IOW(SHMBUF_IOC_MAGIC, 0x09, struct shmbuf_import)

/* Any other ioctl fails with ENOTTY. */

#endif /* _UAPI_SHMBUF_H */
