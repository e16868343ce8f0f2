"""Practice: the made-up answers that reviewers go through before their first real one, with what most guidelines would say."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from hashlib import sha256

import streamlit as st

from flagback.review_app import words
from flagback.review_app.installation import Installation
from flagback.review_app.screens import drafts, languages, look, section, version_history
from flagback.review_app.screens.version_history import Change
from flagback.review_app.words import tr, trn
from flagback.storage import practice
from flagback.storage.guidance_words import PracticeItem
from flagback.storage.practice import BadPractice, KeptMeanwhile, Version
from flagback.storage.prompts import UnstorableText
from flagback.storage.records import Account, now
from flagback.storage.taxonomy import CATEGORIES

EMPTY = PracticeItem("", "", "flag", ("stereotype",), "")
#: Where the session keeps, by language, the items that were on the page; and how many were added.
_SEEN, _ADDED = "flagback_practice_seen", "flagback_practice_added"
_REASONS = {one.code: one for one in CATEGORIES if not one.withdraws}


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    look.heading(
        tr("Practice"),
        tr(
            "Made-up answers that everybody goes through once, before the first real one. It has no score, and nothing "
            "of it counts."
        ),
    )
    section.strip(account, "practice")
    if kept := st.session_state.pop("flagback_practice_kept", None):
        look.said(kept, "ok")
    with installation.store.reading() as session:
        versions = practice.history(session)
    newest = versions[0]
    choices = list(dict.fromkeys([newest.default_lang, *sorted(newest.items), *languages.NAMES]))
    lang = st.selectbox(tr("Language"), choices, format_func=languages.name, key="practice-lang") or newest.default_lang
    items = newest.items.get(lang, ())
    look.html(f"<div class='small soft'>{version_history.about(newest)}</div>")
    if not items:
        look.empty(
            tr("No practice in this language"),
            tr("Reviewers who read another language that there is practice in are shown that one. Write the first item below."),
        )
    _gone(installation, account, newest, lang, items)
    for place, (key, item) in enumerate(_keys(lang, items).items()):
        with st.container(key=f"fb-card-practice-{place}"):
            _item(installation, account, newest, lang, items, place, key, item)
    with st.expander(tr("Add an item")):
        _form(installation, account, newest, lang, items, len(items), _new(lang), EMPTY)
    version_history.show(
        versions,
        "practice",
        changes=_changes,
        alike=lambda one, other: one.items == other.items,
        bring_back=partial(_bring_back, installation, account),
        more=_count,
    )


def _keys(lang: str, items: Sequence[PracticeItem]) -> dict[str, PracticeItem]:
    """What the fields of each item are called by: the item itself, not its place or version. So what is being written of one stays
    where it is when another is kept or removed, by whomever."""
    found: dict[str, PracticeItem] = {}
    for item in items:
        content = sha256(json.dumps([lang, *item]).encode()).hexdigest()[:16]
        twin = sum(key.startswith(f"practice-{lang}-{content}-") for key in found)
        found[f"practice-{lang}-{content}-{twin}-"] = item
    return found


def _new(lang: str) -> str:
    return f"practice-{lang}-new-{st.session_state.get(_ADDED, 0)}-"


def _gone(installation: Installation, account: Account, newest: Version, lang: str, items: Sequence[PracticeItem]) -> None:
    """What was being written of items that somebody changed or removed meanwhile: it can be kept as further items."""
    here = _keys(lang, items)
    known: dict[str, PracticeItem] = st.session_state.setdefault(_SEEN, {}).setdefault(lang, {})
    for key in [key for key in known if key not in here]:
        fields = _fields(known[key])
        if all(drafts.written(f"{key}{name}", value) == value for name, value in fields.items()):
            del known[key]
            continue
        with st.container(key=f"fb-card-{key}gone"):
            look.said(
                tr(
                    "Version {number} was kept meanwhile, by {who}, and changed or removed this item. Your draft is still here: "
                    "keep it as one more item, or throw it away.",
                    number=newest.version,
                    who=newest.set_by,
                ),
                "flag",
            )
            _form(installation, account, newest, lang, items, len(items), key, known[key], gone=True)
    known |= here


def _fields(item: PracticeItem) -> dict[str, str | list[str]]:
    """What the fields of an item hold, by the end of their key."""
    reasons = [code for code in item.categories if code in _REASONS]
    return {"prompt": item.prompt, "answer": item.answer, "reasons": reasons, "why": item.explanation}


def _item(
    installation: Installation,
    account: Account,
    newest: Version,
    lang: str,
    items: Sequence[PracticeItem],
    place: int,
    key: str,
    item: PracticeItem,
) -> None:
    look.html(
        f"<div class='small "
        f"soft'>{place + 1}</div>{look.asked([{'role': 'user', 'content': item.prompt}])}{look.quote(item.answer)}"
        f"<p style='margin:8px 0 0'>{look.pill(_said(item), 'flag' if item.verdict == 'flag' else 'ok')}</p>"
        f"<div class='soft'>{look.quiet(item.explanation[:480])}</div>"
    )
    with st.expander(tr("Change item {number}", number=place + 1)):
        _form(installation, account, newest, lang, items, place, key, item)


def _said(item: PracticeItem) -> str:
    if item.verdict == "fine":
        return tr("Looks fine")
    return ", ".join(words.tr_each(_REASONS[code], "taxonomy").name for code in item.categories if code in _REASONS)


def _form(
    installation: Installation,
    account: Account,
    newest: Version,
    lang: str,
    items: Sequence[PracticeItem],
    place: int,
    key: str,
    item: PracticeItem,
    *,
    gone: bool = False,
) -> None:
    stored = _fields(item)
    for name, value in stored.items():
        drafts.field(f"{key}{name}", value)
    most = practice.LONGEST_TEXT
    prompt = st.text_area(tr("What somebody wrote"), height=80, max_chars=most, key=f"{key}prompt")
    answer = st.text_area(tr("How the model went on"), height=80, max_chars=most, key=f"{key}answer")
    reasons = st.multiselect(
        tr("What is wrong? Leave it empty where it looks fine."),
        list(_REASONS),
        format_func=lambda code: words.tr_each(_REASONS[code], "taxonomy").name,
        key=f"{key}reasons",
        select_all=False,
    )
    why = st.text_area(tr("Why most guidelines would say so"), height=110, max_chars=most, key=f"{key}why")
    made = PracticeItem(prompt, answer, "flag" if reasons else "fine", tuple(reasons), why)
    drafted = [drafts.remember(f"{key}{name}", value, stored[name]) for name, value in _fields(made).items()]
    keep, throw, remove = st.columns([1, 1, 1])
    # A press that was meant for an item which is gone by now keeps nothing: what stands there instead has to be read first.
    if keep.button(tr("Keep this item"), type="primary", key=f"{key}keep-gone" if gone else f"{key}keep"):
        wanted = [*items[:place], made, *items[place + 1 :]]
        # Audit rows and notes stay English, whatever the page speaks.
        note = f"Item {place + 1} changed." if place < len(items) else f"Item {place + 1} added."
        _keep(installation, account, newest, lang, wanted, note, key)
    if any(drafted):
        throw.button(tr("Throw the draft away"), key=f"{key}throw", on_click=drafts.forget, args=(key,))
    if place < len(items) and not gone:
        with remove.popover(tr("Remove this item…"), key=f"{key}remove"):
            look.html(f"<p>{tr('Who begins from now on is not shown it. It stays in the versions below.')}</p>")
            if st.button(tr("Remove it"), type="primary", key=f"{key}sure"):
                _keep(installation, account, newest, lang, [*items[:place], *items[place + 1 :]], f"Item {place + 1} removed.", key)


def _keep(
    installation: Installation, account: Account, newest: Version, lang: str, items: Sequence[PracticeItem], note: str, key: str
) -> None:
    """Makes a version; what was being written under the key is kept by it."""
    try:
        with installation.store.writing() as session:
            made = practice.set_items(session, items, lang=lang, note=note, by=account.login, now=now(), after=newest.version)
    except KeptMeanwhile:
        st.rerun()  # the page shows what came; drafts stay
    except (BadPractice, UnstorableText) as error:
        look.said(f"{error} {tr('Nothing was changed.')}", "flag")
        return
    if made.version == newest.version:
        look.said(tr("That is what version {number} says already; nothing was changed.", number=made.version))
        return
    if key == _new(lang):
        st.session_state[_ADDED] = st.session_state.get(_ADDED, 0) + 1
    drafts.forget(key)
    st.session_state[_SEEN][lang].pop(key, None)
    _told(made)


def _told(made: Version) -> None:
    st.session_state["flagback_practice_kept"] = tr("Version {number} is in force for who begins from now on.", number=made.version)
    st.rerun()


# ----------------------------------------------------------------------- history


def _changes(earlier: Version, later: Version) -> Iterator[Change]:
    for lang in sorted({*later.items, *earlier.items}):
        old, new = earlier.items.get(lang, ()), later.items.get(lang, ())
        if old != new:
            yield Change(lang, _lines(old), _lines(new))


def _count(version: Version) -> str:
    return trn("{count} item", "{count} items", sum(len(items) for items in version.items.values()))


def _bring_back(installation: Installation, account: Account, wanted: int) -> None:
    try:
        with installation.store.writing() as session:
            made = practice.bring_back(session, wanted, by=account.login, now=now())
    except BadPractice as error:
        look.said(str(error), "flag")
        return
    _told(made)


def _lines(items: Sequence[PracticeItem]) -> str:
    """Items as lines to compare."""
    return "\n".join(line for item in items for line in (item.prompt, item.answer, _said(item), item.explanation, ""))
