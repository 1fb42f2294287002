# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # The energy of two students
#
# Which of two networks costs less, and under which published cost table? The counts are
# exact. The joules are counts times published costs.

# %%
from __future__ import annotations

import numpy as np

import targets
from stars.testing import random_graph, random_images

# %% [markdown]
# Random networks stand in for students here. Replace them by `export.read("a.nir")`, or
# pass the path of a run.

# %%
small = random_graph(np.random.default_rng(0), kind="conv")
large = random_graph(np.random.default_rng(3), kind="vgg")

# %%
for name, graph in {"small": small, "large": large}.items():
    images = random_images(np.random.default_rng(1), 20, graph.shapes[graph.input])
    report = targets.energy(graph, images)
    print(name, report, sep="\n")

# %% [markdown]
# In a notebook a report is shown as a table.

# %%
report
