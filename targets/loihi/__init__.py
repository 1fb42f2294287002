"""The Loihi emulator: the chip's integer arithmetic, bit for bit.

Holds the emulator, its neurons, and its products in several forms.
Import from it: `emulator`.
It may import `targets.base` and `stars.grid`.
Nothing here needs torch.
"""
