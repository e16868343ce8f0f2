"""Guidelines: what reviewers read before they judge, written here in versions that never change."""

from collections.abc import Iterator
from functools import partial

import streamlit as st

from flagback.review_app.installation import Installation
from flagback.review_app.screens import difference, drafts, languages, look, section, version_history
from flagback.review_app.screens.version_history import Change
from flagback.review_app.words import tr
from flagback.storage import guidelines
from flagback.storage.guidelines import BadGuideline, KeptMeanwhile, Version
from flagback.storage.prompts import UnstorableText
from flagback.storage.records import Account, now

#: Where the session keeps, by language, the version that what is being written began as.
_BEGUN = "flagback_guidelines_begun"


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    look.heading(
        tr("Guidelines"),
        tr("What reviewers read, one key away from every answer. Each answer keeps the version that its reviewer could read."),
    )
    section.strip(account, "guidelines")
    if kept := st.session_state.pop("flagback_guidelines_kept", None):
        look.said(kept, "ok")
    with installation.store.reading() as session:
        versions = guidelines.history(session)
    newest = versions[0]
    older = guidelines.behind(versions)
    if older:
        _warn(newest, older)
    choices = [newest.default_lang, *sorted(lang for lang in newest.texts if lang != newest.default_lang)]
    lang = st.segmented_control(tr("Language"), choices, default=choices[0], format_func=languages.name, key="guidelines-lang")
    lang = lang or choices[0]
    with st.container(key="fb-card-guidelines-text"):
        look.html(f"<div class='small soft'>{version_history.about(newest)}</div>")
        if lang in older:
            look.note(tr("These words were written for version {number}.", number=older[lang]))
        st.markdown(newest.texts[lang])
    _write(installation, account, versions, lang)
    version_history.show(
        versions, "guidelines", changes=_changes, alike=_alike, bring_back=partial(_bring_back, installation, account)
    )


def _warn(newest: Version, older: dict[str, int]) -> None:
    """Which languages have older words than the first one has."""
    first = languages.name(newest.default_lang)
    lines = [
        tr(
            "{language} still has the words of version {number}: {first} was changed since. Who reads {language} is shown those, "
            "and was told of no change.",
            language=languages.name(lang),
            number=number,
            first=first,
        )
        for lang, number in older.items()
    ]
    look.said("\n".join(lines), "flag")


# ----------------------------------------------------------------------- writing


def _write(installation: Installation, account: Account, versions: list[Version], lang: str) -> None:
    newest = versions[0]
    with st.expander(tr("Write a new version")):
        wanted = st.selectbox(
            tr("In which language?"),
            [lang, *(code for code in languages.NAMES if code != lang)],
            format_func=languages.name,
            key="guidelines-write-lang",
            help=tr("Reviewers are shown the language they read, and where there is none, the first one."),
        )
        chosen = wanted or lang
        begun = _begun(versions, chosen)
        if begun.version != newest.version:
            _meanwhile(begun, newest, chosen)
        key, before = _key(chosen, begun.version), begun.texts.get(chosen, "")
        drafts.field(f"{key}-text", before)
        text = st.text_area(
            tr("Text, in Markdown"),
            height=420,
            max_chars=guidelines.LONGEST_TEXT,
            key=f"{key}-text",
            help=tr("# headings, - lists, **bold**, *italic* and links. No HTML and no pictures."),
        )
        now_said = newest.texts.get(chosen, "")
        if drafts.remember(f"{key}-text", text, before) and text.strip() != now_said.strip():
            look.html(f"<div class='small soft'>{tr('What would change')}</div>{difference.html(now_said, text)}")
        drafts.field(f"{key}-note", "")
        note = st.text_input(
            tr("What changed, in one line"),
            max_chars=guidelines.LONGEST_NOTE,
            key=f"{key}-note",
            help=tr("Reviewers are told this line when the new version appears."),
        )
        drafts.remember(f"{key}-note", note, "")
        keep, throw = st.columns([1, 1])
        if keep.button(tr("Keep as version {number}", number=newest.version + 1), type="primary", key="guidelines-keep"):
            _keep(installation, account, begun, chosen, text, note)
        if text != before or note:
            throw.button(tr("Throw the draft away"), key="guidelines-throw", on_click=_throw, args=(chosen, begun.version))


def _key(lang: str, number: int) -> str:
    """How the fields are called in which a text is written that began as a version's."""
    return f"guidelines-draft-{lang}-{number}"


def _begun(versions: list[Version], lang: str) -> Version:
    """The version that the text being written in a language began as. It stays until the text is kept or thrown away, whatever
    others keep meanwhile; where nothing was written yet it is the newest one."""
    begun = st.session_state.setdefault(_BEGUN, {})
    found = next((one for one in versions if one.version == begun.get(lang)), versions[0])
    key = _key(lang, found.version)
    text = found.texts.get(lang, "")
    if drafts.written(f"{key}-text", text) == text and not drafts.written(f"{key}-note", ""):
        found = versions[0]
    begun[lang] = found.version
    return found


def _meanwhile(begun: Version, newest: Version, lang: str) -> None:
    """What somebody else kept while this was being written."""
    look.said(
        tr(
            "Version {number} was kept meanwhile, by {who}: {note} Your draft is still here. Write into it what they changed, then "
            "go on from their version.",
            number=newest.version,
            who=newest.set_by,
            note=newest.note,
        ),
        "flag",
    )
    title = tr("What changed since version {number}", number=begun.version)
    theirs = difference.html(begun.texts.get(lang, ""), newest.texts.get(lang, ""))
    if begun.texts.get(lang) == newest.texts.get(lang):
        theirs = f"<div>{tr('Nothing in this language.')}</div>"
    look.html(f"<div class='small soft'>{title}</div>{theirs}")
    words = tr("Go on from version {number} with my draft", number=newest.version)
    st.button(words, key="guidelines-go-on", on_click=_go_on, args=(lang, begun.version, newest.version))


def _go_on(lang: str, old: int, new: int) -> None:
    for field in ("text", "note"):
        drafts.move(f"{_key(lang, old)}-{field}", f"{_key(lang, new)}-{field}")
    st.session_state[_BEGUN][lang] = new


def _throw(lang: str, number: int) -> None:
    drafts.forget(f"{_key(lang, number)}-")
    st.session_state[_BEGUN].pop(lang, None)


def _keep(installation: Installation, account: Account, begun: Version, lang: str, text: str, note: str) -> None:
    try:
        with installation.store.writing() as session:
            made = guidelines.set_text(session, text, lang=lang, note=note, by=account.login, now=now(), after=begun.version)
    except KeptMeanwhile:
        st.rerun()  # the page says who, and what they wrote; the draft stays
    except (BadGuideline, UnstorableText) as error:
        look.said(f"{error} {tr('Nothing was changed.')}", "flag")
        return
    if made.version == begun.version:
        look.said(tr("That is what version {number} says already; nothing was changed.", number=made.version))
        return
    _throw(lang, begun.version)
    st.session_state["flagback_guidelines_kept"] = tr(
        "Version {number} is in force. Who is reviewing is told within a few answers, in one line.", number=made.version
    )
    st.rerun()


# ----------------------------------------------------------------------- history


def _changes(earlier: Version, later: Version) -> Iterator[Change]:
    for lang in sorted({*later.texts, *earlier.texts}):
        if later.texts.get(lang) != earlier.texts.get(lang):
            yield Change(lang, earlier.texts.get(lang, ""), later.texts.get(lang, ""))


def _alike(one: Version, other: Version) -> bool:
    return (one.texts, one.default_lang) == (other.texts, other.default_lang)


def _bring_back(installation: Installation, account: Account, wanted: int) -> None:
    try:
        with installation.store.writing() as session:
            made = guidelines.bring_back(session, wanted, by=account.login, now=now())
    except BadGuideline as error:
        look.said(str(error), "flag")
        return
    st.session_state["flagback_guidelines_kept"] = tr(
        "Version {number} is in force, and says what version {old} said.", number=made.version, old=wanted
    )
    st.rerun()
