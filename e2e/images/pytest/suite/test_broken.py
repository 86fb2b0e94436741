"""A test that fails, so that a failure can be seen to be reported."""


def test_discount_is_ten_percent() -> None:
    price = 100
    discounted = price - 5
    assert discounted == 90, f"expected 90, got {discounted}"
