"""Integers: put a graph on the grid, lower it to a plan, and prove it exact.

Holds exact numbers, intervals, integer neurons, plans, the lowering, the certificate
and the quantization. Import from it: the names below.
It may import `stars.graph` and what that may import.
Nothing here imports torch.
"""

from stars.grid.breaks import Break as Break
from stars.grid.certificate import (
    Certificate as Certificate,
    PopulationBits as PopulationBits,
    certify as certify,
)
from stars.grid.lowering import lower as lower
from stars.grid.plan import IntegerPlan as IntegerPlan
from stars.grid.plan_file import read_plan as read_plan, write_plan as write_plan
from stars.grid.quantization import (
    Quantization as Quantization,
    is_on_grid as is_on_grid,
    quantize as quantize,
)
from stars.grid.rewrite import with_truncating_decay as with_truncating_decay
