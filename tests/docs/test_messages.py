"""Messages that pages quote are messages of the code, so that what a user reads can be found."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
# Words in backticks with a space between two of them, unless they are a command, an option or code.
_SPAN = re.compile(r"`([^`\n]+)`")
_WORDS = re.compile(r"[\w;,'()-] [a-z]")
_NO_MESSAGE = re.compile(r"^(?:geminifusion |--|\w+\()|\*")


def quotes_of(page):
    text = re.sub(r"^```.*?^```$", "", (DOCS / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [span for span in _SPAN.findall(text) if _WORDS.search(span) and not _NO_MESSAGE.search(span)]


@pytest.mark.parametrize(
    ("page", "at_least"),
    [("troubleshooting.md", 40), ("depth-and-units.md", 8)],
)
def test_every_quoted_message_is_in_the_code(message_texts, page, at_least):
    quotes = quotes_of(page)
    assert len(quotes) >= at_least
    texts = [text for _, text in message_texts]
    assert [quote for quote in quotes if not any(quote in text for text in texts)] == []
