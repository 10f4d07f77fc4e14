"""How the property tests draw their examples.

The profile "fixed" draws the same ones in every run, so that a suite that passed passes again. ``pytest
--hypothesis-profile=long`` draws fresh ones, 20 times as many: that is for a person, who reads what it finds.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings

EXAMPLES = 100
LONGER = 20
_SLOW = [HealthCheck.too_slow]  # a slow machine is not a failure of the tested code


def register_profiles() -> None:
    """Make both profiles known, and "fixed" the one in force."""
    settings.register_profile(
        "fixed", max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=_SLOW
    )
    settings.register_profile(
        "long", max_examples=LONGER * EXAMPLES, deadline=None, print_blob=True, suppress_health_check=_SLOW
    )
    settings.load_profile("fixed")


def drawing(examples: int, **more: Any) -> settings:
    """Settings for a test that draws another number of ``examples``: that many with "fixed", 20 times with "long"."""
    in_force = settings()  # the profile gives the defaults
    return settings(max_examples=examples * in_force.max_examples // EXAMPLES, **more)
