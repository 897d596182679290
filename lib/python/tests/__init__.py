# SPDX-License-Identifier: MIT OR Apache-2.0
"""Tests of the package on a machine with the driver: python3 -m tests."""
