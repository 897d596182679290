# SPDX-License-Identifier: MIT OR Apache-2.0
"""What INFO tells of a buffer."""

from dataclasses import dataclass
from typing import Self

from . import _abi as abi
from ._enums import Direction, Kind, MappingKind, Owner, Policy


@dataclass(frozen=True)
class DmaAddress:
    """An address for one device, and for no other."""

    device: str
    #: Of the buffer's first byte; of scattered memory, of the first page only.
    address: int


@dataclass(frozen=True)
class Segment:
    """A part of a buffer whose bytes follow each other for its device."""

    where: range
    #: Of its first byte, for the device of the buffer, and for no other.
    dma_addr: int


@dataclass(frozen=True)
class Info:
    """What a buffer is, and what is in force for it."""

    kind: Kind
    #: The policy in force. Of Kind.IMPORTED it says nothing: see known_policy.
    policy: Policy
    #: The policies that set_policy() takes for this buffer on this machine.
    policies: frozenset[Policy]
    #: Bytes.
    size: int
    #: Of the first byte on the CPU's bus (of scattered memory: of the first page only), for
    #: those who have CAP_SYS_RAWIO.
    phys_addr: int | None
    #: For those who have CAP_SYS_RAWIO, if the kind has one.
    dma_addr: DmaAddress | None
    #: Whether the kernel has a cacheable alias of this memory, which is not cached.
    aliased: bool
    #: Whether the device that dma_addr is for snoops the CPU's caches.
    snoops: bool
    #: Who may touch the contents now.
    owner: Owner
    #: Bytes of a cache line; sync() takes multiples of it.
    cache_line: int
    #: Mappings that exist now, in all processes.
    mappings: int
    #: The memory type in force, in the words of the architecture.
    memory_type: str
    #: How mappings are made.
    mapping: MappingKind
    #: What devices do with the buffer.
    direction: Direction
    #: Dma-bufs of the buffer that exist now.
    exports: int
    #: Bytes of each access to the device for kind region, else 1.
    access_width: int
    #: NAME of the node /dev/shmbuf-NAME; None for /dev/shmbuf and for private buffers.
    name: str | None
    #: The DMA engine that copies use, once one has asked for it, if there is one.
    engine: str | None

    @property
    def known_policy(self) -> Policy | None:
        """The policy in force; None for Kind.IMPORTED, whose exporter alone knows it."""
        return None if self.kind is Kind.IMPORTED else self.policy

    @classmethod
    def of(cls, raw: abi.shmbuf_info) -> Self:
        """What the driver's structure says."""
        dma_addr = DmaAddress(raw.dma_device.decode(), raw.dma_addr)
        return cls(
            kind=Kind.from_raw(raw.kind),
            policy=Policy.from_raw(raw.policy),
            policies=frozenset(it for it in Policy if raw.policies & 1 << it.raw),
            size=raw.size,
            phys_addr=raw.phys_addr if raw.flags & abi.SHMBUF_INFO_PHYS_ADDR else None,
            dma_addr=dma_addr if raw.flags & abi.SHMBUF_INFO_DMA_ADDR else None,
            aliased=bool(raw.flags & abi.SHMBUF_INFO_ALIASED),
            snoops=bool(raw.flags & abi.SHMBUF_INFO_SNOOPS),
            owner=Owner.from_raw(raw.owner),
            cache_line=raw.cache_line,
            mappings=raw.mappings,
            memory_type=raw.memory_type.decode(),
            mapping=MappingKind.from_raw(raw.mapping),
            direction=Direction.from_raw(raw.direction),
            exports=raw.exports,
            access_width=raw.access_width,
            name=raw.name.decode() or None,
            engine=raw.engine.decode() or None,
        )
