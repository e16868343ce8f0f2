"""What of a page is still English for somebody who reads it in another language: texts against the catalogue.

Knows the catalogue and a browser's page; knows nothing of what stands on which page.
"""

import re
from collections.abc import Iterable

from babel.messages.catalog import Message
from playwright.sync_api import Page

from flagback.review_app import catalogue

#: Every text that a page shows, says or hints at, shadow roots included; what is in a language of its own is marked by its class.
_TEXTS = """() => {
  const found = new Set();
  const theirs = ".output, .prompt, .fb-quote, .fb-asked, .guidelines, noscript, script, style, code";
  const walk = (root) => {
    for (const one of root.querySelectorAll("*")) {
      if (one.shadowRoot) walk(one.shadowRoot);
      if (one.closest(theirs)) continue;
      for (const name of ["aria-label", "title", "placeholder", "data-main", "data-name"])
        if (one.getAttribute(name)) found.add(one.getAttribute(name));
      for (const part of one.childNodes) if (part.nodeType === Node.TEXT_NODE && part.data.trim()) found.add(part.data.trim());
    }
  };
  walk(document);
  return [...found];
}"""
#: Sentences longer than this are looked for inside of longer texts too.
SENTENCE = 24


def texts_of(page: Page) -> list[str]:
    """Every text of a page."""
    found: list[str] = page.evaluate(_TEXTS)
    return found


def english_in(texts: Iterable[str], code: str) -> list[str]:
    """The texts that are English although the catalogue of the language has other words for them."""
    forms = [re.compile(_pattern(words), re.DOTALL) for words in _translated(code)]
    long = [words for words in _translated(code) if len(words) > SENTENCE and "{" not in words]
    own = {" ".join(words.split()) for one in _entries(code) for words in _texts(one.string)}
    left = []
    for text in (" ".join(text.split()) for text in texts):
        if text not in own and (any(form.fullmatch(text) for form in forms) or any(words in text for words in long)):
            left.append(text)
    return left


def _entries(code: str) -> list[Message]:
    return [one for one in catalogue.read(catalogue.file_of(code), code) if one.id]


def _translated(code: str) -> list[str]:
    """English words for which there are others; what is hardly more than names to be filled in says nothing."""
    words = {
        words
        for one in _entries(code)
        if any(_texts(one.string)) and not set(_texts(one.id)) & set(_texts(one.string))
        for words in _texts(one.id)
    }
    return sorted(one for one in words if len(re.sub(r"\{\w+\}|\W", "", one)) > 2)


def _texts(words: str | tuple[str, ...] | list[str] | None) -> list[str]:
    return [words] if isinstance(words, str) else list(words or ())


def _pattern(words: str) -> str:
    return "".join(
        r".+?" if place % 2 else re.escape(one) for place, one in enumerate(re.split(r"\{(\w+)\}", " ".join(words.split())))
    )
