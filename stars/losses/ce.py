"""Cross-entropy with the class that the teacher gives."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from stars.losses.softened import predicted
from stars.outputs import Outputs


def ce(student: Outputs, teacher: Outputs) -> Tensor:
    """Cross-entropy of the student's mean scores with the teacher's class.

    L = - 1/B sum_b log softmax(zbar_b)_y,    y = argmax_k v_bk

    Args:
        student: logits [T, B, K]; their mean over T is zbar.
        teacher: logits [1, B, K], v; only their largest matters.

    Returns:
        Scalar in nats, mean over the batch; >= 0, and 0 only in the limit.

    Source: the usual loss of a classifier; hard targets beside soft ones in Hinton,
        Vinyals & Dean 2015, arXiv:1503.02531, section 2.
    Differs: without data there are no true labels; y is the teacher's predicted class.
    """
    return F.cross_entropy(student.mean_logits.float(), predicted(teacher))
