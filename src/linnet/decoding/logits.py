"""Operations on an engine's logits, NumPy arrays or PyTorch tensors, that differ between the two.

Shapes: N rows, V vocabulary.
"""

from __future__ import annotations

import numpy as np

from linnet.arrays import Array, namespace


def logsumexp(logits: Array) -> Array:
    """log(sum(exp)) of each row of [N, V]; minus infinity for a row of minus infinity. Returns [N].

    >>> logsumexp(np.log([[0.25, 0.5, 0.25]])).round(6)
    array([0.])
    """
    xp = namespace(logits)
    if hasattr(xp, "logsumexp"):  # PyTorch computes it in one pass
        return xp.logsumexp(logits, -1)
    most = logits.max(-1, keepdims=True)
    most[np.isneginf(most)] = 0.0
    with np.errstate(divide="ignore"):
        return np.log(np.exp(logits - most).sum(-1)) + most[..., 0]


def softmax(logits: Array) -> Array:
    """The probabilities of each row of [N, V], float64."""
    xp = namespace(logits)
    exact = xp.astype(logits, xp.float64)
    return xp.exp(exact - logsumexp(exact)[..., None])


def best(scores: Array, count: int) -> tuple[list[list[float]], list[list[int]]]:
    """The `count` largest values of each row of [N, V], in descending order, and their indices.

    >>> best(np.array([[3.0, 9.0, 4.0]]), 2)
    ([[9.0, 4.0]], [[1, 2]])
    """
    xp = namespace(scores)
    if hasattr(xp, "topk"):
        values, indices = xp.topk(scores, count, -1)
    else:
        indices = np.argpartition(scores, -count, -1)[:, -count:]
        values = np.take_along_axis(scores, indices, -1)
        order = np.argsort(-values, -1, kind="stable")
        values, indices = np.take_along_axis(values, order, -1), np.take_along_axis(indices, order, -1)
    return values.tolist(), indices.tolist()
