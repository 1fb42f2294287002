"""Labeled images, their augmentation, and accuracy on them.

Holds the bundled test images, .npz files, image folders and torchvision's data sets.
Import from it: `LabeledImages`, `load`, and its modules.
It may import `stars.files`, `stars.networks` and what these may import.
`augment` and `accuracy` need torch; the others do not.
"""

from stars.data.images import LabeledImages as LabeledImages, load as load
