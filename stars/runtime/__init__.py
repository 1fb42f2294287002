"""The machine: devices, the compiler, memory and processes.

Holds what does not depend on any network.
Import from it: its modules.
It may import `stars.errors`.
Only `allocator` works without torch.
"""
