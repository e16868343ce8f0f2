"""What somebody is writing on a page and has not kept: it outlives another language, another page and what others keep meanwhile.

Knows fields by their key, for one session; what is kept for good is elsewhere.
"""

from typing import TypeVar

import streamlit as st

_KEPT = "flagback_drafts"
_Value = TypeVar("_Value")


def field(key: str, stored: _Value) -> None:
    """Puts what was being written into a field that is about to be drawn, or what is stored. The field itself is given no value."""
    if key not in st.session_state:
        st.session_state[key] = st.session_state.get(_KEPT, {}).get(key, stored)


def remember(key: str, written: _Value, stored: _Value) -> bool:
    """Keeps what a field holds where it is not what is stored; returns whether it is not."""
    drafts = st.session_state.setdefault(_KEPT, {})
    if written == stored:
        drafts.pop(key, None)
    else:
        drafts[key] = written
    return written != stored


def written(key: str, stored: _Value) -> _Value:
    """What a field holds, drawn or not."""
    found: _Value = st.session_state.get(key, st.session_state.get(_KEPT, {}).get(key, stored))
    return found


def move(old: str, new: str) -> None:
    """What was being written in one field is being written in another from now on; before the other is drawn."""
    drafts = st.session_state.get(_KEPT, {})
    if old in drafts:
        drafts[new] = drafts.pop(old)
    st.session_state.pop(new, None)


def forget(beginning: str) -> None:
    """Throws away what was being written in fields whose keys begin so. Called before they are drawn, or for the last time."""
    drafts = st.session_state.get(_KEPT, {})
    for key in [key for key in drafts if key.startswith(beginning)]:
        del drafts[key]
    for key in [key for key in st.session_state if isinstance(key, str) and key.startswith(beginning)]:
        del st.session_state[key]
