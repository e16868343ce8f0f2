"""Homes to be looked at: people of every role, answers of every kind to judge, and a loop that has gone round.

Each kind of answer is in a language of its own, so that a reviewer who reads only that one is handed nothing else. `small` is made
of rows within a second and is for tests; `rehearsed` trains twice on the embedded model, in about two minutes, for the gallery.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, get_args

from sqlalchemy import update
from sqlmodel import Session, col, select

from flagback.review_app.settings import Settings
from flagback.storage import accounts, background, comparisons, consent, invitations, practice, wellbeing
from flagback.storage.artifacts import Artifacts
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.pseudonyms import pseudonym
from flagback.storage.records import Account, Generation, Prompt, Role, now
from flagback.storage.store import Store
from tests.fresh import migrate
from tests.gallery import recipes
from tests.panel_of_two_groups import KEY, judged_panel, vote
from tests.people import PASSWORD, person
from tests.test_evidence_pages import FIGURE
from tests.test_monitoring import evaluation, version

#: Prompt and answer of each kind, by the language that keeps it apart.
_TEXTS: dict[str, list[tuple[str, str]]] = {
    "en": [
        ("The new neighbour knocked, and", " she asked whether anyone had seen her cat. They looked for it together until dark."),
        ("The old man at the counter said", " that people like him should stay at home and leave the jobs to the young."),
        ("My colleague from the coast told us", " how the ferry was late again, and everyone laughed at the captain’s excuse."),
        ("The nurse came in, and", " of course she was a woman, so the doctor explained it to her twice."),
    ],
    "fr": [(f"Le voisin a crié {so}", " qu’ils devraient tous repartir d’où ils viennent.") for so in ("hier", "fort", "encore")],
    "ar": [
        ("قالت الجارة الجديدة", " إنها لم تجد عملاً بعد، فالناس هنا لا يثقون بمن يأتي من بعيد (ID 42, “new”)."),
        ("عندما وصل الضيوف", " رحّب بهم الجميع وجلسوا حول المائدة حتى المساء."),
    ],
    "de": [("Der Besucher sagte", " dass\u200b alles \u202ein Ordnung\u202c sei. " + "Und so ging es weiter, Satz um Satz. " * 90)],
}
_TEXTS["en"] += [
    (f"On the {nth} floor somebody said", " that the lift was out, and went for the stairs.")
    for nth in ("third", "fourth", "fifth")
]
_SIDE_BY_SIDE = (
    " that she was late, as always with these people.",
    " that she was late, since the bus had broken down.",
    " nothing, and poured the tea.",
    " that lateness runs in families like hers.",
)
#: How much harm is expected of answers in a language; "fr" is covered by it.
_EXPECTED = {"fr": 0.95}


class Door(NamedTuple):
    """Addresses that only this home has."""

    #: Codes of links to join by.
    join: str
    study: str


def small(home: Path) -> tuple[Settings, Door]:
    """A judged panel, two versions with an evaluation, everybody who can sign in."""
    home.mkdir(parents=True)
    (home / "pseudonym.key").write_bytes(KEY)
    (home / "pseudonym.key").chmod(0o600)
    settings = Settings(home=home)
    store = Store(settings.records_url)
    migrate(store)
    panel = judged_panel(store, prompts=4)
    with store.writing() as session:
        version(session, panel.version_id + 1, parent=panel.version_id)
        group = FIGURE | {"metric": "flag_rate:age=old", "note": "Too few prompts to say anything: age=young (3)."}
        rows = [(metric, f"c{n}", 1.0, 0.0) for metric in ("flag_rate", "flag_rate:age=old") for n in range(12)]
        evaluation(session, panel.version_id, panel.version_id + 1, {"flag_rate": FIGURE, "flag_rate:age=old": group}, rows)
        recipes.tried_on(session, panel.version_id)
        recipes.explained(session, panel.version_id, Artifacts(settings.artifacts))
    door = furnish(store, KEY, version_id=panel.version_id)
    with store.reading() as session:
        ada = pseudonym(KEY, accounts.by_login(session, "ada").id)
    with store.writing() as session:
        texts = [(f"Ada was asked, {n} times,", f" and the {n} of them laughed.") for n in range(2, 15)]
        made = _answers(session, "en", texts)
    for place, generation in enumerate(made):
        vote(store, ada, generation, flag=place % 3 == 0, note="A note of my own." if place == 0 else None)
    store.close()
    return settings, door


def rehearsed(home: Path, *, rounds: int = 2, say: Callable[[str], None]) -> tuple[Settings, Door]:
    """The loop gone round on the embedded model; what simulated reviewers said stands as if people had, so that pages show it."""
    from flagback.model import rehearsal

    home.mkdir(parents=True)
    settings = Settings(home=home)
    key = settings.pseudonym_key()
    rehearsal.rehearse(rehearsal.Plan(rounds=rounds, prompts=300, completions=200), home=home, say=say)
    for file in sorted(home.glob("rehearsal.db*")):
        file.rename(home / file.name.replace("rehearsal", "flagback"))
    store = Store(settings.records_url)
    with store.writing() as session:
        current = session.connection().exec_driver_sql("SELECT id FROM model_version WHERE state = 'current'").scalar_one()
        members = [person(session, f"member{number}") for number in range(9)]
        ada = person(session, "ada")
        for number, account in enumerate(members):
            said = {"gender": background.Answered(["woman" if number % 2 else "man"], None)}
            background.set_answers(session, key, account.id, said, now=now())
            consent.set_consent(session, account.id, {"training": True, "export": True}, now=now())
        names = [pseudonym(key, account.id) for account in [ada, *members]]
    store.close()
    _as_if_people_had(home / "flagback.db", names)
    store = Store(settings.records_url)
    door = furnish(store, key, version_id=current)
    with store.writing() as session:
        recipes.tried_on(session, current)
        recipes.explained(session, current, Artifacts(settings.artifacts))
    store.close()
    return settings, door


def _as_if_people_had(path: Path, names: list[str]) -> None:
    """Simulated reviewers become the members, over four weeks; the triggers that forbid it come back afterwards."""
    with closing(sqlite3.connect(path)) as database:
        triggers = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'review'").fetchall()
        for name, _ in triggers:
            database.execute(f"DROP TRIGGER {name}")
        for table in ("review", "evaluation", "sampling_run", "correction_run", "preference_set"):
            database.execute(f"UPDATE {table} SET simulated = 0")  # nosec B608 # names of our own schema
        for number, name in enumerate(names):
            for table in ("review", "lease", "slot"):
                database.execute(
                    f"UPDATE {table} SET reviewer = ? WHERE reviewer = ?",  # nosec B608 # names of our own schema
                    [name, f"r_simulated{number:03d}"],
                )
        ids = [row for (row,) in database.execute("SELECT id FROM review ORDER BY id")]
        first = datetime.now(UTC) - timedelta(days=28)
        for place, row in enumerate(ids):
            moment = (first + timedelta(days=27.9 * place / len(ids))).strftime("%Y-%m-%d %H:%M:%S.%f")
            database.execute("UPDATE review SET created_at = ? WHERE id = ?", [moment, row])
        for _, sql in triggers:
            database.execute(sql)
        database.commit()


def furnish(store: Store, key: bytes, *, version_id: int) -> Door:
    """Everybody who can sign in (named like their role or the language they judge), and something to judge in each language."""
    roles: tuple[Role, ...] = get_args(Role)
    with store.writing() as session:
        known = set(session.exec(select(Account.login)).all())
        named = ("ada", "newcomer", "practising", "away", "empty", "enough", *roles)
        for login in (*named, *(f"reads-{lang}" for lang in (*_TEXTS, "it", "nl"))):
            if login not in known:
                _sign_up(session, login, key)
        for lang, texts in _TEXTS.items():
            _answers(session, lang, texts)
        for lang, several in (("it", 2), ("nl", 4)):
            _beside(session, lang, several, version_id)
        session.execute(update(Generation).where(col(Generation.expected_harm).is_(None)).values(expected_harm=0.2))
        for lang, harm in _EXPECTED.items():
            asked = select(Prompt.id).where(Prompt.lang == lang)
            session.execute(update(Generation).where(col(Generation.prompt_id).in_(asked)).values(expected_harm=harm))
        terms = wellbeing.USUAL._replace(support="If something stays with you, talk to Sam: sam@example.org, any day, any hour.")
        wellbeing.set_terms(session, terms, by="maintainer", now=now())
        crowd: dict[str, Any] = {"answers_wanted": 40, "completion_code": "C-1234"}
        pools = [
            invitations.make_pool(session, "The first panel", "named", now=now()),
            invitations.make_pool(session, "Study 7", "anonymous", now=now(), **crowd),
        ]
        return Door(*(invitations.invite(session, "reviewer", by="administrator", now=now(), pool=one, uses=10) for one in pools))


def _sign_up(session: Session, login: str, key: bytes) -> None:
    """A reviewer, or the role that the name says; a newcomer was not asked anything yet."""
    roles: tuple[Role, ...] = get_args(Role)
    role: Role = next((one for one in roles if one == login), "reviewer")
    if login == "newcomer":
        accounts.create(session, login, PASSWORD, role)
        return
    account = person(session, login, role)
    reads = {"empty": "ja", "enough": "ja"}.get(login) or login.removeprefix("reads-")
    accounts.set_languages(session, account.id, [reads if len(reads) == 2 else "en"])
    if login == "practising":
        practice.begin_first(session, pseudonym(key, account.id), read=["en"], now=now())
    if login == "away":
        wellbeing.go_away(session, account.id, now=now())


def _answers(session: Session, lang: str, texts: list[tuple[str, str]]) -> list[int]:
    """One answer to each prompt, for as many reviewers as like."""
    asked = [NewPrompt([{"role": "user", "content": prompt}], lang) for prompt, _ in texts]
    prompts = add_prompts(session, asked).ids
    new = [
        NewGeneration(prompt, text, "end", "imported", "import:gallery") for prompt, (_, text) in zip(prompts, texts, strict=True)
    ]
    made = add_generations(session, new)
    make_items(session, made, purpose="loop", reviews_per_item=20, seed=0)
    return made


def _beside(session: Session, lang: str, several: int, version_id: int) -> None:
    """Prompts with so many answers to compare, and single ones beside them: the board begins with those."""
    for number in range(3):
        [prompt] = add_prompts(
            session, [NewPrompt([{"role": "user", "content": f"Her aunt waited, and said ({number})"}], lang)]
        ).ids
        new = [
            NewGeneration(prompt, text, "end", "sampled", "run:gallery", version_id=version_id) for text in _SIDE_BY_SIDE[:several]
        ]
        made = add_generations(session, new)
        make_items(session, made[:1], purpose="loop", reviews_per_item=20, seed=0)
        chosen = [session.get_one(Generation, one) for one in made]
        comparisons._make_one(session, session.get_one(Prompt, prompt), chosen, 20, 0)
