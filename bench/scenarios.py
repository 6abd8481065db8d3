"""Limited providers: what they allow, how long a run takes at best, and how much worse than that it may be."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

LEAST_S: Final = 20.0
"""Ideal time of a run; short runs apart."""

_FAST_S: Final = 0.05
_PHASE_S: Final = 8.0
_SHORT_S: Final = 3.0
_CHANGES: Final = (100.0, 30.0, 200.0)
_SIGMA: Final = 0.6
STEADY, LOOSE, CHANGING = (1.10, 3.0, 0), (1.25, 3.0, 20), (1.25, 4.0, 0)
"""Most time over the ideal, most wasted 429s per 100 items, and how many of them are free besides."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One limited provider and a run against it.

    Attributes:
        what: The limits that were drawn.
        behaviour: Of the provider.
        items: Of each evaluation.
        ideal_s: First request to last answer of a client that knows the limit.
        bars: Most time over the ideal, most wasted 429s per 100 items, and how many are free besides.
        changes: Rates that follow, and when, in seconds after the first request.
        share: How two evaluations share the endpoint: `process` (one command) or `machine` (two at once).
    """

    what: str
    behaviour: dict[str, Any]
    items: int
    ideal_s: float
    bars: tuple[float, float, int]
    changes: tuple[tuple[float, float], ...] = ()
    share: str | None = None


@dataclass
class _Limits:
    """A source of limits."""

    rng: Random = field(repr=False)

    def rate(self, low: int = 15, high: int = 300) -> int:
        """Requests a second; as likely below as above the geometric mean."""
        return round(math.exp(self.rng.uniform(math.log(low), math.log(high))))

    def cap(self) -> int:
        """Requests in flight."""
        return round(math.exp(self.rng.uniform(math.log(5), math.log(60))))

    def seconds(self) -> float:
        """A latency that is felt."""
        return round(self.rng.uniform(1.0, 4.0), 1)


def _by_rate(
    rate: float, latency_s: float, bars: tuple[float, float, int], least_s: float = LEAST_S, sigma: float | None = None
) -> Scenario:
    burst = max(1, round(rate / 10))
    items = burst + math.ceil(rate * least_s)
    behaviour = {"rate_per_s": rate, "burst": burst, "latency_s": latency_s, "latency_sigma": sigma}
    what = f"{rate:g}/s, {latency_s:g} s" + (" lognormal" if sigma else "")
    return Scenario(what=what, behaviour=behaviour, items=items, ideal_s=least_s + latency_s, bars=bars)


def _by_cap(
    cap: int, latency_s: float, bars: tuple[float, float, int], least_s: float = LEAST_S, sigma: float | None = None
) -> Scenario:
    mean_s = latency_s * math.exp((sigma or 0.0) ** 2 / 2)
    items = cap * math.ceil(least_s / mean_s)
    behaviour = {"max_in_flight": cap, "latency_s": latency_s, "latency_sigma": sigma}
    what = f"{cap} in flight, {latency_s:g} s" + (" lognormal" if sigma else "")
    return Scenario(what=what, behaviour=behaviour, items=items, ideal_s=items / cap * mean_s, bars=bars)


def _change(limits: _Limits) -> Scenario:
    del limits
    first, *later = _CHANGES
    return Scenario(
        what=" → ".join(f"{rate:g}/s" for rate in _CHANGES) + f", {_PHASE_S:g} s each",
        behaviour={"rate_per_s": first, "burst": 10, "latency_s": _FAST_S},
        items=round(sum(_CHANGES) * _PHASE_S),
        ideal_s=len(_CHANGES) * _PHASE_S + _FAST_S,
        bars=CHANGING,
        changes=tuple((_PHASE_S * number, rate) for number, rate in enumerate(later, 1)),
    )


def _shared(limits: _Limits, share: str) -> Scenario:
    by_rate = limits.rng.random() < 0.5  # noqa: PLR2004 (either is as likely)
    both = _by_rate(limits.rate(30), _FAST_S, STEADY) if by_rate else _by_cap(limits.cap(), _FAST_S, STEADY)
    half = both.items // 2
    return Scenario(
        what=both.what, behaviour=both.behaviour, items=half, ideal_s=both.ideal_s, bars=both.bars, share=share
    )


_KINDS: Final[dict[str, Callable[[_Limits], Scenario]]] = {
    "rate": lambda limits: _by_rate(limits.rate(), _FAST_S, STEADY),
    "cap": lambda limits: _by_cap(limits.cap(), _FAST_S, STEADY),
    "slow-rate": lambda limits: _by_rate(limits.rate(5, 40), limits.seconds(), LOOSE),
    "slow-cap": lambda limits: _by_cap(limits.cap(), limits.seconds(), LOOSE),
    "lognormal-rate": lambda limits: _by_rate(limits.rate(15, 100), 0.5, LOOSE, sigma=_SIGMA),
    "lognormal-cap": lambda limits: _by_cap(limits.cap(), 0.5, LOOSE, sigma=_SIGMA),
    "short-rate": lambda limits: _by_rate(limits.rate(), _FAST_S, LOOSE, _SHORT_S),
    "short-cap": lambda limits: _by_cap(limits.cap(), _FAST_S, LOOSE, _SHORT_S),
    "change": _change,
    "shared-process": lambda limits: _shared(limits, "process"),
    "shared-machine": lambda limits: _shared(limits, "machine"),
}
NAMES: Final = tuple(_KINDS)


def scenario(name: str, seed: int, number: int) -> Scenario:
    """The scenario of a round; limits are drawn anew for each, and by the seed alone."""
    return _KINDS[name](_Limits(Random(f"{seed}/{number}/{name}")))  # noqa: S311 (no secret)
