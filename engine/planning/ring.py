"""Sizes of the small pinned ring through which activations may travel to RAM."""

RING_BYTES = (256 << 20, 128 << 20, 64 << 20)
"""Best first: 4 to 2 blocks of 64 to 32 MiB."""
