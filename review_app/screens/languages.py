"""Choosing the languages one reads: by their own names, the browser's first. Knows names; matching is the scheduler's."""

import streamlit as st
from sqlmodel import select

from flagback.review_app import words
from flagback.review_app.installation import Installation
from flagback.review_app.screens import look
from flagback.review_app.words import tr
from flagback.storage import accounts
from flagback.storage.prompts import primary_language
from flagback.storage.records import Account, Prompt

#: Own names of languages by primary subtag (ISO 639, CLDR). Codes without a name here are offered as they are.
NAMES: dict[str, str] = {
    "am": "አማርኛ (Amharic)",
    "ar": "العربية (Arabic)",
    "bn": "বাংলা (Bengali)",
    "cs": "Čeština (Czech)",
    "da": "Dansk (Danish)",
    "de": "Deutsch (German)",
    "el": "Ελληνικά (Greek)",
    "en": "English",
    "es": "Español (Spanish)",
    "fa": "فارسی (Persian)",
    "fi": "Suomi (Finnish)",
    "fr": "Français (French)",
    "gu": "ગુજરાતી (Gujarati)",
    "ha": "Hausa",
    "he": "עברית (Hebrew)",
    "hi": "हिन्दी (Hindi)",
    "hu": "Magyar (Hungarian)",
    "id": "Bahasa Indonesia (Indonesian)",
    "ig": "Igbo",
    "it": "Italiano (Italian)",
    "ja": "日本語 (Japanese)",
    "ko": "한국어 (Korean)",
    "ku": "Kurdî (Kurdish)",
    "mr": "मराठी (Marathi)",
    "ms": "Bahasa Melayu (Malay)",
    "nl": "Nederlands (Dutch)",
    "nb": "Norsk bokmål (Norwegian)",
    "nn": "Norsk nynorsk (Norwegian)",
    "no": "Norsk (Norwegian)",
    "pa": "ਪੰਜਾਬੀ (Punjabi)",
    "pl": "Polski (Polish)",
    "pt": "Português (Portuguese)",
    "ro": "Română (Romanian)",
    "ru": "Русский (Russian)",
    "so": "Soomaali (Somali)",
    "sr": "Српски (Serbian)",
    "sv": "Svenska (Swedish)",
    "sw": "Kiswahili (Swahili)",
    "ta": "தமிழ் (Tamil)",
    "te": "తెలుగు (Telugu)",
    "th": "ไทย (Thai)",
    "tl": "Filipino",
    "tr": "Türkçe (Turkish)",
    "uk": "Українська (Ukrainian)",
    "ur": "اردو (Urdu)",
    "vi": "Tiếng Việt (Vietnamese)",
    "yo": "Yorùbá (Yoruba)",
    "zh": "中文 (Chinese)",
    "zu": "isiZulu (Zulu)",
}


def choose(installation: Installation, account: Account) -> list[str]:
    """A field for the languages one reads; one's own and those of the prompts stand first.

    Before the first answer the browser's is proposed.
    """
    with installation.store.reading() as session:
        used = {primary_language(lang) for lang in session.exec(select(Prompt.lang).distinct()).all()} - {"und"}
    used |= set(account.languages or [])
    offered = sorted(used) + sorted(set(NAMES) - used)
    proposed = account.languages
    if proposed is None:
        own = primary_language(st.context.locale or "")
        proposed = [own] if own in offered else []
    return st.multiselect(
        tr("Which languages do you read well?"),
        offered,
        default=[code for code in proposed if code in offered],
        format_func=name,
        key="languages",
        placeholder=tr("Choose one or more"),
        help=tr("You are handed answers in these languages only."),
        select_all=False,
    )


def choose_own(installation: Installation, account: Account) -> None:
    """A field for the language of pages and board; what is chosen holds at once."""
    chosen = st.selectbox(
        tr("Language of this site"),
        [None, *words.LANGUAGES],
        index=0 if account.language not in words.LANGUAGES else 1 + list(words.LANGUAGES).index(account.language),
        format_func=lambda code: tr("As in your browser") if code is None else words.LANGUAGES[code],
        key="language",
        help=tr("What you review stays in the languages it was written in."),
    )
    if chosen != account.language:
        with installation.store.writing() as session:
            accounts.set_language(session, account.id, chosen)
        st.rerun()
    if chosen is not None and chosen not in words.ON_PAGES:
        told = tr("The review board speaks it; other pages are in your browser’s language or English.")
        look.html(f'<div class="soft small">{told}</div>')


def name(code: str) -> str:
    """A language by its own name."""
    return NAMES.get(code, code)
