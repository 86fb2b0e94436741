"""Every run of these tests is the same run: Hypothesis takes its examples from the test itself.

To explore at random instead, with more examples: ``pytest --hypothesis-profile=explore``.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "reproducible",
    derandomize=True,
    deadline=None,
    max_examples=100,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("explore", deadline=None, max_examples=2000, stateful_step_count=80)
settings.load_profile("reproducible")
