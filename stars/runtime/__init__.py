"""The machine: devices, the compiler, memory and processes.

Holds code that depends on no network.
Import from it: its modules.
It may import `stars.errors`.
Only `allocator` works without torch.
"""
