"""Example studies outside the repository, for tests that can do without them."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

SHARED_DATA = Path(__file__).parents[2] / "../shared/data"

_missing = pytest.mark.skipif(
    not SHARED_DATA.is_dir(), reason=f"no example studies: {SHARED_DATA} is absent"
)


Test = TypeVar("Test", bound=Callable[..., None])


def shared_data(test: Test) -> Test:
    """Mark a test that reads ``../shared/data``; it is skipped where that folder is absent."""
    marked: Test = pytest.mark.shared_data(_missing(test))
    return marked
