"""Any text that UTF-8 can encode."""

from hypothesis import strategies as st


def any_text(max_size: int | None = None) -> st.SearchStrategy[str]:
    """Draw from the characters of `st.text()`. That asks the codec for each one first, which takes seconds."""
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=max_size)
