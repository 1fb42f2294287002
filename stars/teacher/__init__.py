"""The ANN teacher: its description, the frozen module, its files, its training.

Import from it: the names below, and `training`.
It may import `stars.networks`, `stars.data`, `stars.run_directory` and what these may
import.
All of it needs torch.
"""

from stars.teacher.loading import load as load, save as save
from stars.teacher.spec import TeacherSpec as TeacherSpec, spec_of as spec_of
from stars.teacher.teacher import BatchNormTap as BatchNormTap, Teacher as Teacher
