"""Cross-entropy with the class that the teacher gives, or the data set."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from stars.errors import ConfigError
from stars.losses.softened import predicted
from stars.networks.outputs import Outputs


def ce(student: Outputs, teacher: Outputs, *, labels: bool = False) -> Tensor:
    """Cross-entropy of the student's mean scores with the teacher's class.

    L = - 1/B sum_b log softmax(zbar_b)_y,    y = argmax_k v_bk
    labels:  L = - 1/B sum_bk y_bk log softmax(zbar_b)_k,  y of the data set

    Args:
        student: logits [T, B, K]; their mean over T is zbar.
        teacher: logits [1, B, K], v; only their largest matters.
        labels: learn from the data set's labels and not from the teacher.

    Returns:
        Scalar in nats, mean over the batch; >= 0, and 0 only in the limit.

    Raises:
        ConfigError: labels, and the images have none, for they were invented.

    Source: the usual loss of a classifier; hard targets beside soft ones in Hinton,
        Vinyals & Dean 2015, arXiv:1503.02531, section 2.
    Differs: without data there are no true labels; y is the teacher's predicted class.
    """
    if labels:
        if teacher.labels is None:
            raise ConfigError("ce: invented images have no labels; give real ones")
        return F.cross_entropy(student.mean_logits.float(), teacher.labels)
    return F.cross_entropy(student.mean_logits.float(), predicted(teacher))
