"""Settings and strategies for property-based tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# The examples are the same in every run, and few, so that all of these tests together take seconds.
few_examples = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def damaged(whole: bytes) -> st.SearchStrategy[bytes]:
    """Return a strategy for copies of a file that are truncated and have up to four bytes changed."""
    places = st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=4)
    lengths = st.one_of(st.just(len(whole)), st.integers(0, len(whole)))
    return st.builds(_damage, st.just(whole), places, lengths)


def _damage(whole: bytes, places: list[tuple[int, int]], length: int) -> bytes:
    content = bytearray(whole)
    for place, value in places:
        content[place] = value
    return bytes(content[:length])
