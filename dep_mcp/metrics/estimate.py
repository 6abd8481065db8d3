"""The mean of item scores, its standard error, and a confidence interval that holds at small n and at the ends."""

import math
from collections.abc import Sequence
from statistics import NormalDist

from dep_mcp.protocol import Estimate

_Z = NormalDist().inv_cdf(0.975)


def estimate(values: Sequence[float], *, epochs: int = 1) -> Estimate:
    """Estimate the mean of per-item scores.

    Args:
        values: One score in 0..1 per item, the mean over its scored epochs: epochs of one item are not
            independent, so the item is the unit (clustered standard error).
        epochs: Planned epochs; bounds the effective sample size at `len(values) * epochs`.

    Returns:
        Mean, sample standard error (n - 1), and a 95 % Wilson (1927) score interval with the effective
        sample size `p(1-p) / (s²/n)` of Korn and Graubard (1998), which is `n` exactly for 0/1 scores.
        Where every score is 0, or every score is 1, the effective size is `n`.
    """
    n = len(values)
    if n == 0:
        return Estimate(value=None, n=0, stderr=None, low=None, high=None, method="wilson")
    mean = min(1.0, max(0.0, math.fsum(values) / n))
    squares = math.fsum((value - mean) ** 2 for value in values)
    low, high = _wilson(mean, _effective_size(mean, squares, n, n * epochs))
    stderr = math.sqrt(squares / (n - 1) / n) if n > 1 else None
    return Estimate(value=mean, n=n, stderr=stderr, low=low, high=high, method="wilson")


def estimate_from_mean(mean: float | None, n: int) -> Estimate:
    """What a mean of `n` item scores says by itself, as if each were 0 or 1: of a rounded one nothing else is told.

    Args:
        mean: In 0..1; `None` when nothing was scored.
        n: Items.
    """
    if mean is None or n == 0:
        return estimate(())
    low, high = _wilson(mean, n)
    stderr = math.sqrt(mean * (1 - mean) / (n - 1)) if n > 1 else None
    return Estimate(value=mean, n=n, stderr=stderr, low=low, high=high, method="wilson")


def _effective_size(mean: float, squares: float, n: int, most: int) -> float:
    spread = mean * (1 - mean)
    if spread <= 0:
        return n
    return most if squares <= 0 else min(most, spread * n * n / squares)


def _wilson(mean: float, n: float) -> tuple[float, float]:
    centre = mean + _Z * _Z / (2 * n)
    half = _Z * math.sqrt(mean * (1 - mean) / n + _Z * _Z / (4 * n * n))
    scale = 1 + _Z * _Z / n
    low, high = (centre - half) / scale, (centre + half) / scale
    return max(0.0, min(mean, low)), min(1.0, max(mean, high))  # at the ends, rounding would leave the mean outside
