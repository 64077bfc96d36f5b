"""Names that staff may give, drawn from their grammar and not from the code that checks it."""

import string

from hypothesis import strategies as st

LONGEST_NAME = 40
TAKEN = ("interest", "organizers", "all", "added")
WORD = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=LONGEST_NAME)


@st.composite
def list_names(draw: st.DrawFn) -> str:
    """Small letters and digits in words between single hyphens, a letter first, 40 signs at most."""
    first = draw(st.sampled_from(string.ascii_lowercase)) + draw(st.one_of(st.just(""), WORD))
    name = "-".join([first, *draw(st.lists(WORD, max_size=20))])[:LONGEST_NAME].rstrip("-")
    return f"{name}9" if name in TAKEN else name
