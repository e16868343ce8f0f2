"""One person's data, written into a folder for that person: a README, tables for people and the same as JSON for programs.

Holds what stands under any of the person's names here, and nothing of anybody else. The names themselves (pseudonyms) are left out:
whoever held the file could find its owner in data sets that were given away. So are reasons that others wrote.
"""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from flagback.review_app import answer_words
from flagback.review_app.installation import Installation
from flagback.review_app.words import tr
from flagback.storage import accounts, background, fates, own_answers, practice, wellbeing
from flagback.storage.fates import Fate
from flagback.storage.own_answers import Own
from flagback.storage.pseudonyms import pseudonym
from flagback.storage.records import Account, AuditEntry, Consent, Identity, Lease, SetAside, now
from flagback.storage.reviews import JUDGEMENT
from flagback.storage.writers import harmless, iso

#: Columns of answers.csv.
_COLUMNS = (
    "number",
    "judged_at",
    "question",
    "text",
    "decision",
    "what_is_wrong",
    "who_is_harmed",
    "how_bad",
    "sure",
    "skipped_because",
    "your_wording",
    "your_note",
    "what_became_of_it",
)


def write(installation: Installation, account: Account, folder: Path) -> None:
    """Writes README.txt, answers.csv, hours.csv and my-data.json."""
    key = installation.pseudonym_key
    reviewer = installation.reviewer(account)
    with installation.store.reading() as session:
        answers = own_answers.everything(session, reviewer)
        told = fates.of_flags(session, [own.review for own in answers if own.review.verdict == "flag"])
        weeks = own_answers.weeks(session, pseudonym(key, account.id, "work"))
        held: dict[str, Any] = {
            "written_at": iso(now()),
            **_account(session, account, key),
            "hours": [one._asdict() for one in weeks],
            "answers": [_answer(number, own, told.get(own.review.id)) for number, own in enumerate(answers, 1)],
            "practice": [_round(one) for one in practice.rounds(session, reviewer)],
            **_handed_out(session, reviewer),
        }
    (folder / "README.txt").write_text(_readme(account), encoding="utf-8")
    (folder / "my-data.json").write_text(json.dumps(held, ensure_ascii=False, indent=1, default=iso) + "\n", encoding="utf-8")
    _table(folder / "answers.csv", _COLUMNS, [_row(number, own, told.get(own.review.id)) for number, own in enumerate(answers, 1)])
    _table(
        folder / "hours.csv", ("week", "answers", "minutes"), [(one.week, one.answers, round(one.seconds / 60, 1)) for one in weeks]
    )


def _readme(account: Account) -> str:
    """What is in the files, in the language of who asked for them."""
    paragraphs = [
        tr("Your data in Flagback"),
        tr(
            "Written on {day} for the account “{login}” and nobody else. It holds what is kept here under any of your names, and "
            "nothing of other people.",
            day=answer_words.day(now()),
            login=account.login,
        ),
        tr(
            "answers.csv: what you judged, one answer a row, oldest first. Any spreadsheet opens it; a cell that a spreadsheet "
            "might run begins with an apostrophe."
        ),
        tr("hours.csv: your time and answers by week, as they are counted for payment."),
        tr(
            "my-data.json: all of that exactly as it is kept, and besides: your account, what you agreed to and when, your "
            "languages, topics you decline, your background, where you are signed in, every answer that was handed to you and what "
            "came of it, what you said in the practice, and what the log of acts says of you."
        ),
        tr("What is not in it, and why:"),
        tr(
            "- The pseudonyms that your answers, your background and your hours stand under. Whoever held this file could find you "
            "in data sets that were given away."
        ),
        tr("- What others said of the same texts, and reasons that others wrote about you. Ask those who run this installation."),
        tr("- Your password: only a hash of it is kept, from which it cannot be read."),
        tr("- Texts that were taken away from everybody: “[withdrawn]” stands in their place."),
        tr("- What is only in your browser: answers that were not sent yet, drafts and your keys."),
        tr("The texts were written by a language model. Some are upsetting, and nothing is covered here."),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _account(session: Session, account: Account, key: bytes) -> dict[str, Any]:
    """What stands beside the account, and the background under its own name."""
    consents = session.exec(select(Consent).where(Consent.account_id == account.id).order_by(col(Consent.id))).all()
    identities = session.exec(select(Identity).where(Identity.account_id == account.id)).all()
    log = session.exec(select(AuditEntry).where(AuditEntry.actor == account.login).order_by(col(AuditEntry.id))).all()
    return {
        "account": account.model_dump(include={"login", "role", "demo", "disabled", "languages", "created_at"}),
        "away_since": wellbeing.away_since(session, account.id),
        "consents": [row.model_dump(include={"purpose", "given", "text_version", "created_at"}) for row in consents],
        "declined_topics": sorted(wellbeing.declined(session, account.id)),
        "background": {code: said._asdict() for code, said in background.answers_of(session, key, account.id).items()},
        "single_sign_on": [row.model_dump(include={"issuer", "subject", "created_at", "last_seen_at"}) for row in identities],
        "signed_in": [
            row.model_dump(include={"browser", "created_at", "seen_at", "expires_at", "opened_by"})
            for row in accounts.live_sessions(session, account.id, now=now())
        ],
        "log": [row.model_dump(include={"action", "created_at"}) for row in log],
    }


def _handed_out(session: Session, reviewer: str) -> dict[str, Any]:
    leases = session.exec(select(Lease).where(Lease.reviewer == reviewer).order_by(col(Lease.claimed_at))).all()
    aside = session.exec(select(SetAside).where(SetAside.reviewer == reviewer).order_by(col(SetAside.id))).all()
    return {
        "handed_out": [row.model_dump(include={"claimed_at", "expires_at", "outcome"}) for row in leases],
        "set_aside": [row.model_dump(include={"kind", "created_at", "ended_at"}) for row in aside],
    }


def _round(one: practice.Round) -> dict[str, Any]:
    """A round of practice, with what was shown and what was said of it."""
    said = [
        {"prompt": item.prompt, "answer": item.answer, **row.model_dump(include={"verdict", "categories", "created_at"})}
        for item, row in one.said
    ]
    return {**one.row.model_dump(include={"version", "lang", "begun_at", "ended_at", "finished"}), "said": said}


def _answer(number: int, own: Own, fate: Fate | None) -> dict[str, Any]:
    more = {"taxonomy_version", "guideline_version", "seconds_open", "late", "created_at"}
    said = own.review.model_dump(include={*JUDGEMENT, *more})
    became = None if fate is None else {"state": fate.state, "words": answer_words.in_full(fate), "version": fate.version}
    return {
        "number": number,
        "messages": own.prompt.messages,
        "lang": own.prompt.lang,
        "texts": [text.text for text in own.texts],
        **said,
        "what_became_of_it": became,
    }


def _row(number: int, own: Own, fate: Fate | None) -> tuple[Any, ...]:
    review = own.review
    return (
        number,
        iso(review.created_at),
        own.prompt.messages[-1]["content"],
        "\n\n".join(text.text for text in own.texts),
        answer_words.verdict(review),
        "; ".join(answer_words.categories(review)),
        "; ".join(answer_words.targets(review)),
        answer_words.severity(review),
        tr("sure") if review.sure else tr("Unsure"),
        answer_words.skip_reason(review),
        review.rewrite or "",
        review.note or "",
        "" if fate is None else answer_words.in_full(fate),
    )


def _table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """UTF-8 with the mark that spreadsheets know it by."""
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        out = csv.writer(file)
        out.writerow(columns)
        out.writerows([harmless(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
