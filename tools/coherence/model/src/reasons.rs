// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why something is found: the reasons in reports, each a sentence's end in the
//! field's words.

// Of who reads, and of what a device writes.
pub const OLD_LINE: &str = "the line that the cache may have at this address is an old one";
pub const OLD_OUTER_LINE: &str = "the line that the outer cache may have is an old one";
pub const DIRTY_ELSEWHERE: &str = "the newest value is in a dirty line at another virtual address";
pub const DIRTY_IN_INNER: &str = "the newest value is in a dirty line of the inner data cache";
pub const DIRTY_IN_OUTER: &str = "the newest value is in a dirty line of the outer cache";
pub const INVALIDATED: &str = "the newest value was invalidated before it was written back";
pub const WRITTEN_OVER: &str = "a dirty line that lacks the newest value is written over it";
pub const DIRTY_UNDER_DEVICE: &str = "a dirty line may be written over what the device writes";
pub const IN_WRITE_BUFFER: &str = "the store may still be in the core's write buffer";
pub const IN_OUTER_BUFFERS: &str = "the store may still be in the outer cache's buffers";
pub const NOT_WRITTEN: &str = "the device was to write this, and did not";

// Of the CPU's loads and stores.
pub const OWNED: &str = "a device owns this memory";
pub const BESIDE: &str = "a device has other bytes of this line, and may write them";
pub const USED_UNCACHED: &str = "the page was used uncached, through a mapping that is still there";
pub const SNOOPED: &str = "a device that looks into the caches has this memory";
pub const EARLIER_MAPPING: &str =
    "the cache may have a line of an earlier mapping of this virtual address";

// Of instructions.
pub const OLD_INSTRUCTION_LINE: &str = "the instruction cache may have the line as it was before";

// Of what devices do without a mapping.
pub const ENDED: &str = "the mapping that gave the device this memory has ended";
pub const BEYOND: &str = "the device goes on beyond its mapping";
pub const AGAINST: &str = "the mapping does not let the device do this";
pub const NEVER_MAPPED: &str = "this memory was not mapped for any device";

// Of what the kernel tells the DMA API.
pub const NO_MAPPING: &str = "the range is not inside one live mapping";
pub const PART_OF_MAPPING: &str = "the range is a part of the mapping only";
pub const OTHER_DIRECTION: &str = "the mapping was made for another direction";
pub const WITH_CPU: &str = "the CPU has this memory already";
pub const NEVER_GIVEN: &str = "no sync has given the device this memory since it was mapped";
pub const OTHER_COUNT: &str = "the list was mapped with another number of entries";
pub const SAME_BYTES: &str = "another live mapping has these bytes, and a device may write them";
pub const SAME_LINE: &str =
    "another live mapping has bytes of this line, and a device may write it";
pub const ON_STACK: &str =
    "the mapping has a part of a line of the stack, and a device may write it";
pub const FREED: &str = "the memory is freed, and the mapping is still there";
pub const DRIVER_GONE: &str = "the driver has gone, and the mapping is still there";
