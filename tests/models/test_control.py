"""Limits that nobody told us, found in virtual time; the bounds are those the real provider is measured against."""

import math
import os
import random
import statistics

import pytest

from dep_mcp.models.control import FREE, START, Control
from tests.models.simulation import Outcome, Provider, Simulation

DRAWS = 40 if os.environ.get("DEP_MCP_SOAK") else 7
FASTEST = 1.10
SLOW = 1.25


def draws(name: str) -> list[random.Random]:
    return [random.Random(f"{name}/{number}") for number in range(DRAWS)]


def check(found: list[tuple[float, float]], *, most_time: float, most_waste: float) -> None:
    """The median keeps the bound; no draw is far from it."""
    times, wastes = zip(*found, strict=True)
    assert statistics.median(times) <= most_time, sorted(times)
    assert max(times) <= 1.15 * most_time, sorted(times)
    assert statistics.median(wastes) <= most_waste, sorted(wastes)


def wasted(outcome: Outcome, items: int, *, free: int = 0) -> float:
    """Refusals per hundred items beyond those that finding out may cost."""
    return 100 * max(0, outcome.refused - free) / items


def test_a_rate_is_found_and_kept() -> None:
    """Requests a second at 50 ms: at most a tenth over the ideal time, three in a hundred refused."""
    found = []
    for draw in draws("rate"):
        rate = draw.randint(15, 300)
        burst = draw.choice([5, 10, max(5, rate // 10), rate])
        items = 22 * rate
        outcome = Simulation(Provider(rate=rate, burst=burst), items, latency_s=0.05, seed=draw.randrange(99)).run()
        found.append((outcome.seconds / ((items - burst) / rate + 0.05), wasted(outcome, items)))
    check(found, most_time=FASTEST, most_waste=3)


def test_a_cap_is_found_and_kept() -> None:
    """Calls in flight at 50 ms: the same bounds."""
    found = []
    for draw in draws("cap"):
        cap = draw.randint(2, 80)
        items = int(22 * cap / 0.05)
        outcome = Simulation(Provider(cap=cap), items, latency_s=0.05, seed=draw.randrange(99)).run()
        found.append((outcome.seconds / (items * 0.05 / cap), wasted(outcome, items)))
    check(found, most_time=FASTEST, most_waste=3)


@pytest.mark.parametrize("kind", ["rate", "cap"])
def test_latencies_of_seconds_leave_little_to_learn_from(kind: str) -> None:
    """Few answers come in the time: a quarter over the ideal, and twenty refusals to find out."""
    found = []
    for draw in draws(f"slow {kind}"):
        latency_s, limit = draw.uniform(1, 3), draw.randint(8, 50)
        if kind == "rate":
            provider, items = Provider(rate=limit), 30 * limit
            ideal_s = (items - provider.burst) / limit + latency_s
        else:
            provider, items = Provider(cap=limit), int(30 * limit / latency_s)
            ideal_s = items * latency_s / limit
        outcome = Simulation(provider, items, latency_s=latency_s, seed=draw.randrange(99)).run()
        found.append((outcome.seconds / ideal_s, wasted(outcome, items, free=20)))
    check(found, most_time=SLOW, most_waste=3)


@pytest.mark.parametrize("kind", ["rate", "cap"])
def test_latencies_that_vary_are_no_limits(kind: str) -> None:
    """Lognormal ones, as those of language models."""
    found = []
    for draw in draws(f"lognormal {kind}"):
        limit, mean_s = draw.randint(10, 60), 0.3 * math.exp(0.5**2 / 2)
        provider = Provider(rate=limit, burst=10) if kind == "rate" else Provider(cap=limit)
        items = 25 * limit if kind == "rate" else int(25 * limit / mean_s)
        ideal_s = items / limit if kind == "rate" else items * mean_s / limit
        outcome = Simulation(provider, items, latency_s=0.3, sigma=0.5, seed=draw.randrange(99)).run()
        found.append((outcome.seconds / ideal_s, wasted(outcome, items, free=20)))
    check(found, most_time=SLOW, most_waste=3)


def test_a_rate_that_changes_is_followed() -> None:
    """Down to a third, then up to six times that."""
    found = []
    for draw in draws("change"):
        scale, each_s = draw.uniform(0.8, 1.5), draw.uniform(8, 12)
        first, second, third = (round(scale * rate) for rate in (100, 30, 200))
        changes: list[tuple[float, dict[str, float]]] = [(each_s, {"rate": second}), (2 * each_s, {"rate": third})]
        items = int((first + second + third) * each_s)
        provider = Provider(rate=first, burst=10, changes=changes)
        outcome = Simulation(provider, items, latency_s=0.05, seed=draw.randrange(99)).run()
        found.append((outcome.seconds / (3 * each_s), wasted(outcome, items)))
    check(found, most_time=SLOW, most_waste=4)


def test_an_endpoint_without_limits_gets_ever_more_calls() -> None:
    """Up to the number that is never exceeded: as fast as the provider allows."""
    outcome = Simulation(Provider(), 20_000, latency_s=0.2, most=300).run()
    assert outcome.refused == 0
    assert outcome.most == 300
    assert outcome.seconds < 1.2 * 20_000 * 0.2 / 300


def test_time_outs_halve_what_is_in_flight() -> None:
    """A local server that queues what it can't work on refuses nothing: it lets calls run out of time."""
    control = Control(512)
    tickets = [control.sent(0.0) for _ in range(START)]
    control.faulted(tickets[0], overloaded=True, now=120.0)
    assert control.size == (START - 1) // 2
    control.faulted(tickets[1], overloaded=True, now=120.1)
    assert control.size == (START - 1) // 2, "sent before the cut: it says nothing new"


def test_faults_of_the_provider_stop_growth_and_shrink_nothing() -> None:
    """A broken provider isn't a congested one."""
    control = Control(512)
    tickets = [control.sent(0.0) for _ in range(START)]
    for ticket in tickets:
        control.faulted(ticket, overloaded=False, now=0.1)
    assert (control.size, control.in_flight, control.refusals) == (START, 0, 0)


def test_the_window_opens_even_before_anything_was_answered() -> None:
    """At seconds of latency, ten calls would be a long time alone."""
    outcome = Simulation(Provider(), 40, latency_s=5).run()
    assert FREE <= outcome.most <= FREE + 1
    assert outcome.seconds < 12


def test_an_endpoint_that_refuses_whatever_comes_isnt_asked_ever_more_slowly() -> None:
    """A sixth of all calls refused, at any rate: slowing down doesn't help, so it is given up after a while."""

    class Moody(Provider):
        def accepts(self, now: float) -> bool:
            draws.append(now)
            if len(draws) % 6 == 0:
                return False
            return super().accepts(now)

    draws: list[float] = []
    outcome = Simulation(Moody(), 20_000, latency_s=0.05, most=100).run()
    assert outcome.seconds < 10 * 20_000 * 0.05 / 100
