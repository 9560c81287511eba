"""A client that can only append gets every word once, however the final spells those before."""

from livecaption.captions.appended import appended
from tests.support.cases import for_each


@for_each(
    ("sent", "text", "rest"),
    [
        ("", "One two.", "One two."),
        ("One", "One two.", " two."),
        ("One two.", "One two.", ""),
        ("so we will go now", "So, we will go now, please.", " please."),
        ("so we will go now", "So, we will go now.", ""),
        ("two words", "Two", ""),
        ("東京", "東京。タワー", "。タワー"),
        ("tokyo 東", "Tokyo 東京", "京"),
        ("東京タ", "東京、タワー", "ワー"),
        ("東京、タ", "東京タワー", "ワー"),
        ("東京 so", "東京, So, so.", " so."),
    ],
)
def test_only_the_words_behind_those_that_were_sent_are_appended(sent: str, text: str, rest: str) -> None:
    assert appended(sent, text) == rest
