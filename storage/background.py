"""Background: questions people may answer about themselves, the answers under a pseudonym of their own, and consent to their use.

The account, the reviews and the background of one person stand under three names that only the key file's holder can tie
together; so every function here that ties them takes the key. When something was said is kept to the month: a moment could be
laid beside a sign-in or a consent. Knows no page; which groups are too small is `suppression`'s rule.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import delete
from sqlmodel import Session, col, select

from flagback.storage import consent
from flagback.storage.invisible import blank, pieces
from flagback.storage.prompts import unstorable
from flagback.storage.pseudonyms import pseudonym
from flagback.storage.records import Background, BackgroundForm, ConsentPurpose
from flagback.storage.store import one_at_a_time
from flagback.storage.suppression import k_anonymous

#: The answer that is offered with every question and counts as none.
NOT_SAID = "not_said"
LONGEST_OWN_WORDS = 200
MOST_QUESTIONS, MOST_OPTIONS = 20, 40


def _seen(text: str) -> str:
    if blank(text) or unstorable(text) or any(piece.sign for piece in pieces(text)):
        raise ValueError(f"{text!r} holds what nobody sees, or nothing else; expected visible words")
    return text


Words = Annotated[str, AfterValidator(_seen)]


class Option(BaseModel):
    """One answer that can be ticked."""

    model_config = ConfigDict(extra="forbid")

    code: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    words: Words = Field(max_length=120)


class Question(BaseModel):
    """One question; "Prefer not to say" is always offered beside its options."""

    model_config = ConfigDict(extra="forbid")

    code: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    question: Words = Field(max_length=200)
    options: list[Option] = Field(min_length=1, max_length=MOST_OPTIONS)
    #: More than one option may be ticked.
    several: bool = False
    #: A field for one's own words is offered.
    own_words: bool = True


def _options(**named: str) -> list[Option]:
    return [Option(code=code, words=words) for code, words in named.items()]


#: Asked until an administrator sets others. Region in place of nation, bands in place of ages: less to be known by.
DEFAULT_QUESTIONS: tuple[Question, ...] = (
    Question(code="gender", question="What is your gender?", options=_options(woman="Woman", man="Man", nonbinary="Non-binary")),
    Question(
        code="age",
        question="How old are you?",
        options=_options(age_18="18 to 29", age_30="30 to 44", age_45="45 to 59", age_60="60 or older"),
        own_words=False,
    ),
    Question(
        code="region",
        question="Where did you grow up?",
        options=_options(
            africa="Africa",
            east_asia="East or South-East Asia",
            south_asia="South or Central Asia",
            europe="Europe",
            latin_america="Latin America or the Caribbean",
            middle_east="Middle East or North Africa",
            north_america="North America",
            oceania="Oceania",
        ),
        several=True,
    ),
    Question(
        code="faith",
        question="Do you belong to a faith?",
        options=_options(
            buddhist="Buddhist",
            christian="Christian",
            hindu="Hindu",
            jewish="Jewish",
            muslim="Muslim",
            sikh="Sikh",
            none="No faith",
        ),
    ),
    Question(code="disability", question="Do you live with a disability?", options=_options(yes="Yes", no="No"), own_words=True),
    Question(
        code="minority",
        question="Do you belong to a minority where you live?",
        options=_options(yes="Yes", no="No"),
        own_words=True,
    ),
)


class BadForm(ValueError):
    """Questions that cannot be asked."""


class BadBackground(ValueError):
    """An answer that the form does not offer."""


class Answered(NamedTuple):
    """One person's answer to one question."""

    answers: list[str]
    own_words: str | None


def questions(session: Session) -> tuple[list[Question], int]:
    """What is asked now, and the number of the form; the default one is stored at its first use."""
    form = session.exec(select(BackgroundForm).order_by(col(BackgroundForm.id).desc()).limit(1)).first()
    if form is None:
        return list(DEFAULT_QUESTIONS), 0
    return [Question.model_validate(question) for question in form.questions], form.id


def set_questions(session: Session, wanted: Any, *, by: str, now: datetime) -> list[Question]:
    """Asks other questions from now on; answers to those no longer asked are kept and used no more. Raises BadForm."""
    if not isinstance(wanted, list) or len(wanted) > MOST_QUESTIONS:
        raise BadForm(f"Expected a list of at most {MOST_QUESTIONS} questions; see 'flagback background show' for the form.")
    checked = [_checked(number, question) for number, question in enumerate(wanted, start=1)]
    for codes, what in [([question.code for question in checked], "questions")] + [
        ([option.code for option in question.options], f"options of {question.code}") for question in checked
    ]:
        if len(set(codes)) != len(codes) or NOT_SAID in codes:
            raise BadForm(
                f"The codes of the {what} are {', '.join(codes)}; expected each once, and {NOT_SAID!r} not among them; see "
                "'flagback background show'."
            )
    session.add(BackgroundForm(questions=[question.model_dump() for question in checked], made_by=by, created_at=now))
    session.flush()
    return checked


def _checked(number: int, wanted: Any) -> Question:
    try:
        return Question.model_validate(wanted)
    except ValidationError as error:
        first = error.errors()[0]
        name = f"Question {number}" + (f" ({wanted['code']})" if isinstance(wanted, dict) and "code" in wanted else "")
        where = ", ".join([name, *([".".join(map(str, first["loc"]))] if first["loc"] else [])])
        raise BadForm(f"{where}: {first['msg']}; see 'flagback background show' for the form.") from error


def answers_of(session: Session, key: bytes, account_id: int) -> dict[str, Answered]:
    """What a person has said, by question."""
    rows = session.exec(select(Background).where(Background.person == pseudonym(key, account_id, "background"))).all()
    return {row.question: Answered(row.answers, row.own_words) for row in rows}


def set_answers(session: Session, key: bytes, account_id: int, said: Mapping[str, Answered], *, now: datetime) -> None:
    """Stores answers in place of earlier ones; an empty one deletes. Raises BadBackground, and then stores nothing."""
    person = pseudonym(key, account_id, "background")
    one_at_a_time(session, f"background {person}")
    asked, form_id = questions(session)
    if form_id == 0:
        set_questions(session, [question.model_dump() for question in asked], by="default", now=now)
        form_id = questions(session)[1]
    known = {question.code: question for question in asked}
    for code, answer in said.items():
        _check(known, code, answer)
    month = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    session.connection().execute(
        delete(Background).where(col(Background.person) == person, col(Background.question).in_(list(said)))
    )
    for code, (ticked, written) in said.items():
        own_words = (written or "").strip()
        if ticked or own_words:
            session.add(
                Background(
                    person=person,
                    question=code,
                    answers=sorted(set(ticked)),
                    own_words=own_words or None,
                    form_id=form_id,
                    updated_at=month,
                )
            )
    session.flush()


def forget(session: Session, key: bytes, account_id: int) -> int:
    """Deletes all that a person said about their background; returns how many answers that were."""
    person = pseudonym(key, account_id, "background")
    gone = session.connection().execute(
        delete(Background).where(col(Background.person) == person).returning(col(Background.question))
    )
    return len(gone.all())


def consented(session: Session, key: bytes, purpose: ConsentPurpose) -> dict[str, dict[str, list[str]]]:
    """The answers of everyone who consented to a purpose: {review pseudonym: {question: option codes}}.

    "Prefer not to say" and own words are left out, and so is what the present form does not offer: answers to questions and options
    of earlier forms, several answers to what takes one now. A person who answered nothing has an empty entry.
    """
    asked = {question.code: question for question in questions(session)[0]}
    offered = {code: {option.code for option in question.options} for code, question in asked.items()}
    review_name = {
        pseudonym(key, account_id, "background"): pseudonym(key, account_id)
        for account_id in consent.accounts_with(session, purpose)
    }
    found: dict[str, dict[str, list[str]]] = {name: {} for name in review_name.values()}
    for row in session.exec(select(Background)).all():
        ticked = [code for code in row.answers if code in offered.get(row.question, ())]
        if row.person in review_name and ticked and (len(ticked) == 1 or asked[row.question].several):
            found[review_name[row.person]][row.question] = ticked
    return found


def groups_of(session: Session, key: bytes, account_id: int) -> list[str]:
    """The declared groups ("gender=woman") that seats may be kept for, of one person who consented to that; else none.

    By the same rules as `consented`. For the length of a claim only: written beside a review's pseudonym, it would tell everything.
    """
    if not consent.in_force(session, account_id)["assignment"]:
        return []
    asked = {question.code: question for question in questions(session)[0]}
    found: list[str] = []
    for code, answer in answers_of(session, key, account_id).items():
        offered = {option.code for option in asked[code].options} if code in asked else set()
        ticked = [option for option in answer.answers if option in offered]
        if len(ticked) == 1 or (ticked and asked[code].several):
            found += [f"{code}={option}" for option in ticked]
    return sorted(found)


def shareable(session: Session, key: bytes, reviewers: Collection[str]) -> dict[str, dict[str, str]]:
    """What may be given away about some reviewers: {review pseudonym: {question: answer}}, empty answers left out.

    Of those who consented to it, and among them only answers whose every combination at least five share.
    """
    codes = [question.code for question in questions(session)[0]]
    people = {name: said for name, said in consented(session, key, "export").items() if name in set(reviewers)}
    rows = {name: [joined(said[code]) if code in said else None for code in codes] for name, said in people.items()}
    return {
        name: shown
        for name, kept in k_anonymous(rows).items()
        if (shown := {code: answer for code, answer in zip(codes, kept, strict=True) if answer is not None})
    }


def _check(known: Mapping[str, Question], code: str, answer: Answered) -> None:
    question = known.get(code)
    if question is None:
        raise BadBackground(f"{code!r} is not asked; expected some of {', '.join(sorted(known))}. Reload the page.")
    offered = {option.code for option in question.options} | {NOT_SAID}
    if not set(answer.answers) <= offered:
        wrong = min(set(answer.answers) - offered)
        raise BadBackground(f"{wrong!r} is no answer to {question.question!r}; expected some of {', '.join(sorted(offered))}.")
    if len(set(answer.answers)) > 1 and (not question.several or NOT_SAID in answer.answers):
        raise BadBackground(f"{question.question!r} takes one answer; {len(answer.answers)} were given.")
    if answer.own_words:
        if not question.own_words:
            raise BadBackground(f"{question.question!r} takes no own words.")
        if len(answer.own_words) > LONGEST_OWN_WORDS or unstorable(answer.own_words):
            raise BadBackground(f"Own words are kept up to {LONGEST_OWN_WORDS} characters, without NUL and half characters.")


def joined(codes: Sequence[str]) -> str:
    """Several answers as one value: "africa+europe"."""
    return "+".join(sorted(codes))
