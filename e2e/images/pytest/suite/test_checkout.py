"""Tests of a made-up shop that pass."""


def test_total_is_the_sum_of_the_prices() -> None:
    prices = [4, 8, 15]
    assert sum(prices) == 27
