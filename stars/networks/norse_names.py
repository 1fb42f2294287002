"""The names of Norse that we use, imported without warnings.

On import Norse compiles functions in a way that torch deprecates. Users cannot change
that.
"""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", category=FutureWarning)
    from norse.torch import (
        IAFCell,
        IAFFeedForwardState,
        IAFParameters,
        LIBoxCell,
        LIBoxParameters,
        LIBoxState,
        LIFBoxCell,
        LIFBoxParameters,
    )
    from norse.torch.functional.lif import (
        LIFFeedForwardState,
        LIFParameters,
        lif_feed_forward_step,
    )
    from norse.torch.functional.lif_box import (
        LIFBoxFeedForwardState,
        lif_box_feed_forward_step,
    )

__all__ = [
    "IAFCell",
    "IAFFeedForwardState",
    "IAFParameters",
    "LIBoxCell",
    "LIBoxParameters",
    "LIBoxState",
    "LIFBoxCell",
    "LIFBoxFeedForwardState",
    "LIFBoxParameters",
    "LIFFeedForwardState",
    "LIFParameters",
    "lif_box_feed_forward_step",
    "lif_feed_forward_step",
]
