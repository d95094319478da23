"""How sure the bench is of its figures."""

from __future__ import annotations

from random import Random
from statistics import mean, median, stdev

from scenarios.bench.figures import Figure, error_of_median, steady


def test_error_of_a_median_is_how_much_medians_stray() -> None:
    """Of 2,000 times 20 measurements: what is said of each, and how far their medians are apart."""
    dice = Random(1)
    samples = [[dice.gauss(0.95, 0.03) for _ in range(20)] for _ in range(2000)]
    said = mean(error_of_median(sample) for sample in samples)
    assert abs(said / stdev(median(sample) for sample in samples) - 1) < 0.1


def test_stray_measurement_does_not_move_it() -> None:
    """A machine may be busy for a moment."""
    values = [0.94, 0.95, 0.96, 0.97, 0.98, 0.99, 1.0]
    assert error_of_median([0.01, *values[1:]]) == error_of_median(values)


def test_too_few_values_say_nothing_of_it() -> None:
    """Three have no quartiles to speak of."""
    assert error_of_median([1, 2, 3]) == 0


def test_figure_that_was_measured_against_an_unsteady_baseline_is_not_reached() -> None:
    """However good it looks."""
    assert steady([31_000, 29_500, 30_200]) and not steady([31_000, 550, 30_200])
    assert Figure("speed", 0.96, "", bar=0.95).reached
    assert not Figure("speed", 0.96, "", bar=0.95, valid=False).reached
    assert not Figure("speed", 0.94, "", bar=0.95).reached
    assert Figure("time", 0.94, "", bar=0.95, smaller_is_better=True).reached
