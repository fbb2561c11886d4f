"""Example studies outside the repository, for tests that can do without them."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).parents[2] / "../shared/data"

_missing = pytest.mark.skipif(
    not SHARED_DATA.is_dir(), reason=f"no example studies: {SHARED_DATA} is absent"
)


def shared_data(test: object) -> object:
    """Mark a test that reads ``../shared/data``; it is skipped where that folder is absent."""
    return pytest.mark.shared_data(_missing(test))  # type: ignore[type-var]
