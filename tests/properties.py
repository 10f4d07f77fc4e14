"""How the property tests draw their examples.

The profile "fixed" draws the same examples in every run, so that a suite that has passed once will pass again. ``pytest
--hypothesis-profile=long`` draws new examples, 20 times as many; use it when a person will read the failures.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings

EXAMPLES = 100
LONGER = 20
_SLOW = [HealthCheck.too_slow]  # a slow machine is not a failure of the tested code


def register_profiles() -> None:
    """Register both profiles, and load "fixed"."""
    settings.register_profile(
        "fixed", max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=_SLOW
    )
    settings.register_profile(
        "long", max_examples=LONGER * EXAMPLES, deadline=None, print_blob=True, suppress_health_check=_SLOW
    )
    settings.load_profile("fixed")


def drawing(examples: int, **more: Any) -> settings:
    """Settings for a test that draws ``examples`` examples with the profile "fixed", and 20 times as many with
    "long"."""
    in_force = settings()  # the defaults come from the loaded profile
    return settings(max_examples=examples * in_force.max_examples // EXAMPLES, **more)
