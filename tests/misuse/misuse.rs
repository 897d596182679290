// SPDX-License-Identifier: GPL-2.0

//! What safe code must not be able to do to memory by way of src/sys. As part of
//! the driver each marked line is an error, by that number, and no other is.

use crate::sys::{
    address_space::{
        AddressSpace,
        LockedMappings, //
    },
    configfs::Keepable,
    dma_attachment::{
        Attachment,
        ImporterMapping, //
    },
    dma_buf,
    dma_device::DmaDevice,
    dma_mapping::{
        Backing,
        DeviceMapping, //
    },
    dma_pool::{
        Block,
        Pool, //
    },
    io_region::{
        IoRange,
        Width, //
    },
    node::NodeOperations,
    span::Span,
    vma::{
        NewMapping,
        NewVma,
        Unfilled, //
    },
};
use core::ptr::NonNull;
use kernel::{
    device::Device,
    dma::DataDirection,
    fs::File,
    mm::virt::VmaNew,
    sync::Arc, //
};

/// What is mapped in a VMA is not mapped over.
fn map_twice(vma: NewVma<'_>) {
    let _ = NewMapping::new(vma, 4096);
    let _ = NewMapping::new(vma, 4096); //~ E0382
}

/// Nobody configures a VMA beside who maps it.
fn configure_a_mapping(new: NewMapping<'_>) {
    new.vma.set_mixedmap(); //~ E0616
}

/// A VMA is the core's, until it says otherwise.
fn map_any_vma(vma: &VmaNew) {
    let _ = NewVma(vma); //~ E0423
}

/// A fault is served while the VMA is locked.
fn fill_later(unfilled: Unfilled<'_>) {
    let _ = unfilled.vma; //~ E0616
}

/// A file that is in use stays in its address space, and keeps its own.
fn adopt_any_file(space: &AddressSpace, file: &File) {
    space.adopt(file.as_ptr()); //~ E0624
}

/// What is being opened has no handle yet, so open() cannot ask for it.
fn open_with_the_file<T: NodeOperations>(data: &T::Data, file: &File) {
    let _ = T::open(data, file); //~ E0308
}

/// A block has the size that its pool has.
fn block_past_its_pool(pool: &Arc<Pool>) {
    let _ = Block::new(pool, 4096); //~ E0061
}

/// Device memory is what the firmware gives a device, and not any address.
fn region_of_any_address() {
    let _ = IoRange::new(1, 1, Width::One); //~ E0624
}

/// A span is of memory that somebody keeps.
fn span_of_anything() {
    let _ = Span::new(NonNull::dangling(), 4096, 0); //~ E0624
}

/// What is allocated for a device goes before it.
fn allocate_beside_its_device(device: &DmaDevice) {
    let _ = device.device(); //~ E0624
}

/// A mapping ends before its device is unbound.
fn map_for_any_device(device: &Device, memory: Backing, importers: ImporterMapping) {
    let range = importers.range();
    let direction = DataDirection::ToDevice;
    let _ = DeviceMapping::new(device, memory.clone(), range, direction); //~ E0308
    let _ = DeviceMapping::of_device(device, memory, range, direction); //~ E0624
    let _ = Attachment::new(device, range.len()); //~ E0624
}

/// An importer's table is that of a mapping which lives.
fn table_of_nothing(attachment: Attachment<'_>) {
    let _ = attachment.into_table(); //~ E0624
}

/// What can be mapped for devices has pages.
fn map_what_has_no_pages() -> Backing {
    Backing(1) //~ E0423
}

/// Importers get the address of a view that stays.
fn address_of_anything<T: dma_buf::Exporter>(exporter: &T) -> usize {
    exporter.vmap().unwrap() //~ E0308
}

/// What is mapped of a buffer stays so while the lock of its mappings is held.
fn mappings_without_the_lock(space: &AddressSpace) {
    let _ = LockedMappings(space); //~ E0423
}

/// What can be kept is the data of a folder, while configfs keeps that.
fn keep_a_folder_that_is_gone(folder: &Keepable<()>) {
    let _ = folder.group.clone(); //~ E0616
}
