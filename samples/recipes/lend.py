# SPDX-License-Identifier: MIT OR Apache-2.0
"""A page goes to a device and comes back: Documentation/recipes.md."""

import shmbuf

FRAME = range(4096)

with shmbuf.open() as node, node.alloc(65536, "streaming") as buffer, buffer.map() as view:
    with buffer.cpu_access(FRAME, "write"):
        view[:5] = b"hello"
    print("lent:", buffer.lent())
    # The device works here.
    with buffer.cpu_access(FRAME, "read"):
        print("lent:", buffer.lent())
        print(view[:5])
