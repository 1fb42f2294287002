"""Settings: what a configuration may say, and its defaults.

Holds the models, the recipes, checks of options, and imports of the user's own code.
Import from it: the names below, and its modules.
It may import `stars.errors` and `stars.files`.
Nothing here imports torch.
"""

from stars.config.models import (
    DistillConfig as DistillConfig,
    TeacherTrainingConfig as TeacherTrainingConfig,
    distill_config as distill_config,
    read_toml as read_toml,
    to_toml as to_toml,
)
