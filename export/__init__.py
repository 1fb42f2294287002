"""Back ends: write a SpikingGraph to a file, and read one from a file.

Holds a writer for each format, the reader of NIR, and the guard around HDF5.
Import from it: `write` and `read`, which are the API; `formats` lists the formats.
It may import `stars`.
Nothing here imports torch.
"""

from export.formats import read as read, write as write

__all__ = ["read", "write"]
