"""What a person may give for any option, made by hypothesis."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.integers() | st.text(max_size=3), st.integers(), max_size=2),
    st.sampled_from([print, len, object(), object, ValueError]),
)

# To make text hypothesis reads a table first, which takes its time on a busy machine.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
