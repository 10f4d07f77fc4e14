"""Contract tests of the venues; see README.md."""

import pytest

pytest.register_assert_rewrite("tests.venues.contract")  # a failure there shows what differs
