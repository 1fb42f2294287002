"""Cross-entropy with the teacher's class, or with the data set's labels."""

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
        teacher: logits [1, B, K], v; only the largest one matters.
        labels: whether y is the data set's labels instead of the teacher's class.

    Returns:
        Scalar in nats, mean over the batch; positive, and 0 only in the limit.

    Raises:
        ConfigError: `labels` is set, but the images are synthetic and have none.

    Source: the usual loss of a classifier; hard targets beside soft ones in Hinton,
        Vinyals & Dean 2015, arXiv:1503.02531, section 2.
    Differs: without data there are no true labels; y is the teacher's predicted class.
    """
    if labels:
        if teacher.labels is None:
            raise ConfigError(
                "ce: synthetic images have no labels; set data to real images"
            )
        return F.cross_entropy(student.mean_logits.float(), teacher.labels)
    return F.cross_entropy(student.mean_logits.float(), predicted(teacher))
