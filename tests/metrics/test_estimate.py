"""The mean with its uncertainty, against published values and against properties that any interval must have."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dep_mcp.metrics import estimate
from dep_mcp.protocol import Estimate

scores = st.lists(st.floats(0, 1), min_size=1, max_size=60)
verdicts = st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=300)


def of(right: int, n: int) -> Estimate:
    return estimate([1.0] * right + [0.0] * (n - right))


def width(found: Estimate) -> float:
    assert found.low is not None
    assert found.high is not None
    return found.high - found.low


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe (1998), Statistics in Medicine 17, table I, method 3
        (15, 148, 0.0624, 0.1605),  # the same
        (0, 20, 0.0000, 0.1611),  # the same
        (1, 29, 0.0061, 0.1718),  # the same
        (0, 10, 0.0000, 0.2775),  # by hand: z² / (n + z²), z = 1.959964
        (10, 10, 0.7225, 1.0000),  # its mirror image
        (5, 10, 0.2366, 0.7634),  # by hand: 1/2 ± z / (2 √(n + z²))
        (1, 1, 0.2065, 1.0000),  # by hand: 1 / (1 + z²)
    ],
)
def test_the_interval_of_right_and_wrong_is_wilsons(right: int, n: int, low: float, high: float) -> None:
    """Anybody can check it against the literature."""
    found = of(right, n)
    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)
    assert (found.value, found.n, found.method) == (right / n, n, "wilson")


def test_the_standard_error_is_that_of_the_sample_mean() -> None:
    """By hand: s² of (0, 1, 1, 0.5) is 0.6875 / 3, and the standard error √(s² / 4)."""
    found = estimate([0.0, 1.0, 1.0, 0.5])
    assert found.value == 0.625
    assert found.stderr == pytest.approx(math.sqrt(0.6875 / 3 / 4))


def test_one_item_has_no_standard_error() -> None:
    """It would be a division by zero, and 0 would be a lie."""
    found = estimate([0.3])
    assert found.stderr is None
    assert width(found) > 0.5


def test_nothing_scored_is_unscored_and_not_zero() -> None:
    """An evaluation whose every call failed has no score."""
    found = estimate([])
    assert (found.value, found.stderr, found.low, found.high, found.n) == (None, None, None, None, 0)


@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_items_that_always_end_alike_count_once_whatever_the_epochs(epochs: int) -> None:
    """Clustering: epochs of one item aren't independent, and ten items asked five times aren't fifty."""
    plain = of(5, 10)
    found = estimate([1.0] * 5 + [0.0] * 5, epochs=epochs)
    assert (found.low, found.high, found.stderr) == (plain.low, plain.high, plain.stderr)


def test_epochs_that_differ_within_items_narrow_the_interval_up_to_items_times_epochs() -> None:
    """Ten items right in half of their four epochs tell as much as forty, and never more."""
    values = [0.5] * 10
    assert width(estimate(values, epochs=4)) == pytest.approx(width(of(20, 40)))
    assert width(estimate(values, epochs=1)) == pytest.approx(width(of(5, 10)))


def test_between_the_ends_the_effective_size_is_korns_and_graubards() -> None:
    """By hand: p = 1/2, Σ(x-p)² = 10/16, so n = (1/4) · 100 / (10/16) = 40; the cap of 10 × 8 isn't reached."""
    values = [0.25] * 5 + [0.75] * 5
    assert width(estimate(values, epochs=8)) == pytest.approx(width(of(20, 40)))


@given(scores, st.integers(1, 20))
def test_the_interval_holds_the_mean_and_stays_within_zero_and_one(values: list[float], epochs: int) -> None:
    """For any scores, rounding included."""
    found = estimate(values, epochs=epochs)
    assert found.low is not None
    assert found.high is not None
    assert found.value is not None
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0
    assert found.n == len(values)


@pytest.mark.parametrize("n", range(1, 101))
def test_all_wrong_begins_at_zero_and_all_right_ends_at_one(n: int) -> None:
    """Exactly: a mean outside its own interval by a rounding would look like a bug, and be one."""
    assert of(0, n).low == 0.0
    assert of(n, n).high == 1.0


@given(verdicts)
def test_twice_the_items_narrow_the_interval(values: list[float]) -> None:
    """More of the same is better known."""
    assert width(estimate(values * 2)) < width(estimate(values))


@given(scores, st.integers(1, 19))
def test_epochs_never_widen_the_interval(values: list[float], epochs: int) -> None:
    """They can only add to what is known."""
    assert width(estimate(values, epochs=epochs + 1)) <= width(estimate(values, epochs=epochs)) + 1e-12


@given(verdicts)
def test_right_and_wrong_swapped_mirror_the_interval(values: list[float]) -> None:
    """Neither end is favoured."""
    found, mirrored = estimate(values), estimate([1 - value for value in values])
    assert mirrored.low == pytest.approx(1 - (found.high or 0), abs=1e-9)
    assert mirrored.high == pytest.approx(1 - (found.low or 0), abs=1e-9)


@given(scores, st.randoms(use_true_random=False))
def test_order_does_not_matter(values: list[float], random: object) -> None:
    """A replayed evaluation scores the same to the last digit, whatever the order of its answers."""
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert estimate(shuffled).value == estimate(values).value


@pytest.mark.parametrize("values", [[0.1] * 3, [1 / 3] * 7, [5e-324] * 2, [5e-324, 1.0], [1 - 2**-53] * 3])
def test_scores_at_the_limit_of_floats_are_estimated(values: list[float]) -> None:
    """Where squares vanish or the mean rounds to an end, no division by zero."""
    found = estimate(values, epochs=3)
    assert 0.0 <= (found.low or 0.0) <= (found.value or 0.0) <= (found.high or 0.0) <= 1.0
