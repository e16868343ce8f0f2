"""Choosing the languages one reads: by their own names, the browser's first. Knows names; matching is the scheduler's."""

import streamlit as st
from sqlmodel import select

from flagback.review_app.installation import Installation
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
        "Which languages do you read well?",
        offered,
        default=[code for code in proposed if code in offered],
        format_func=name,
        key="languages",
        placeholder="Choose one or more",
        help="You are handed answers in these languages only.",
    )


def name(code: str) -> str:
    """A language by its own name."""
    return NAMES.get(code, code)
