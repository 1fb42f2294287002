"""The Loihi emulator: bit-exact to Lava's fixed-point models of the chip.

Holds the emulator, its neurons, and its matrix products in several forms.
Import from it: `emulator`.
It may import `targets.base` and `stars.grid`.
Nothing here needs torch.
"""
