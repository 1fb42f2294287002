"""Back ends: write a SpikingGraph to a file, and read one from a file.

Holds a writer for each format, the reader of NIR, and the guard around HDF5.
Import from it: `to_nir`, `from_nir`, `to_onnx`, `to_lava`; `formats` lists them.
It may import `stars`.
Nothing here imports torch.
"""
