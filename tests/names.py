"""Names: generated names of lists, from their grammar and not from the code that checks it."""

import string

from hypothesis import strategies as st

NAME_LENGTH = 40
RESERVED_NAMES = ("interest", "organizers", "all", "added")
WORD = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=NAME_LENGTH)


@st.composite
def list_names(draw: st.DrawFn) -> str:
    """Small letters and digits in words between single hyphens, a letter first, 40 characters at most."""
    first = draw(st.sampled_from(string.ascii_lowercase)) + draw(st.one_of(st.just(""), WORD))
    name = "-".join([first, *draw(st.lists(WORD, max_size=20))])[:NAME_LENGTH].rstrip("-")
    return f"{name}9" if name in RESERVED_NAMES else name
