"""Published tests of an installation's versions: takes data in, puts them to a version, says what changed between two.

Touches store and artifacts; what is asked and how it is scored is in `suites` and `examination`. Loading models is the caller's, so
that a page can compare two versions, whose answers are kept, without torch.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flagback.model.kept_scores import item_hash, writing_hash
from flagback.model.suites import OWN, SUITES, custom, harness
from flagback.model.suites.bold import Bold, with_flags
from flagback.model.suites.descriptors import Descriptors
from flagback.model.suites.harness import Results
from flagback.model.suites.report import compared, levels
from flagback.model.suites.suite import Form, Item, ScoringSuite, Suite, WritingSuite
from flagback.storage import runs, suites
from flagback.storage.artifacts import Artifacts, MissingArtifact
from flagback.storage.reading import BadImport
from flagback.storage.records import Evaluation, ModelVersion, SuiteData, SuiteRun, now
from flagback.storage.store import Store
from flagback.storage.suites import Answered, NewData

if TYPE_CHECKING:
    from flagback.model.shelf import Shelf

Clock = Callable[[], datetime]
#: Bootstrap draws of a comparison start from it, so that a page and a command show the same ends.
SEED = 0
#: What an evaluation says it does meanwhile.
STAGE = "published tests"


class UnknownSuite(Exception):
    """No suite has this name."""


class NotAsked(Exception):
    """A version was never put these data."""


def suite_of(name: str, columns: Mapping[str, str]) -> ScoringSuite | WritingSuite:
    """The suite of a name; a user's own pairs with their columns. Raises UnknownSuite."""
    if name == custom.NAME:
        return custom.Pairs(columns)
    if name == harness.NAME:
        raise UnknownSuite("lm-evaluation-harness asks its own questions: 'flagback evaluate VERSION --tasks TASK,TASK'.")
    if name in OWN:
        raise UnknownSuite(
            f"{name} takes no data: every evaluation measures it; 'flagback evaluate VERSION --suite {name}' shows it."
        )
    if name not in SUITES:
        raise UnknownSuite(
            f"No suite is called {name!r}; expected one of: {', '.join([*SUITES, custom.NAME])}. See 'flagback suites list'."
        )
    return SUITES[name]


def content_hash(suite: ScoringSuite | WritingSuite, items: Sequence[Item], form: Form) -> str:
    """sha256 over what is asked, whatever the order of the items."""
    if isinstance(suite, WritingSuite):
        asked = [writing_hash(suite.beginning(item), draws=suite.DRAWS, longest=suite.LONGEST, seed=suite.seed) for item in items]
    else:
        asked = [item_hash(suite.texts(item, form)) for item in items]
    return hashlib.sha256("".join(sorted(asked)).encode("ascii")).hexdigest()


def take_in(
    store: Store,
    artifacts: Artifacts,
    name: str,
    path: Path | None,
    *,
    location: str,
    columns: Mapping[str, str],
    by: str,
    clock: Clock = now,
) -> SuiteData:
    """Takes a test's data in: a copy of its files is kept, and every evaluation from now on puts it. Raises BadImport.

    `path` is None for a suite whose items are Flagback's own.
    """
    suite = suite_of(name, columns)
    items = _read(suite, path)
    artifact = None
    if path is not None:
        with tempfile.TemporaryDirectory() as folder:
            for file in [path] if path.is_file() else sorted(one for one in path.iterdir() if one.is_file()):
                shutil.copyfile(file, Path(folder) / file.name)
            artifact = artifacts.put(Path(folder))
    asked = content_hash(suite, items, next(iter(suite.METRICS)))
    if columns:  # other roles of the same columns are other groups and clusters
        asked = hashlib.sha256(f"{asked} {sorted(columns.items())}".encode()).hexdigest()
    with store.writing() as session:
        new = NewData(name, location, columns, artifact, asked, len(items))
        return suites.take_in(session, new, by=by, now=clock())


def _read(suite: ScoringSuite | WritingSuite, path: Path | None) -> list[Item]:
    if path is not None:
        return suite.read(path)
    if isinstance(suite, Descriptors):
        return suite.own()
    raise MissingArtifact(f"{suite.NAME} needs data. {suite.SOURCE}")


def keep_harness(
    store: Store, artifacts: Artifacts, version_id: int, found: Results, *, tasks: str, by: str, clock: Clock = now
) -> tuple[SuiteData, SuiteRun]:
    """Keeps what lm-evaluation-harness found of a version, question by question; the same questions are the same data."""
    with tempfile.TemporaryDirectory() as folder:
        harness.keep_items(found.items, Path(folder))
        artifact = artifacts.put(Path(folder))
    figures = levels(harness.suite_of(found.items), found.items, found.measures, "causal", seed=SEED)
    answered = [Answered(*one) for one in zip((item.key for item in found.items), found.measures, found.written, strict=True)]
    with store.writing() as session:
        new = NewData(harness.NAME, tasks, {}, artifact, found.content_hash, len(found.items))
        data = suites.take_in(session, new, by=by, now=clock())
        run = suites.keep(
            session,
            version_id=version_id,
            data_id=data.id,
            form="causal",
            figures=figures | {"tasks": found.tasks, "lm_eval": found.version},
            items=answered,
            now=clock(),
        )
        return data, run


def asked_of(suite: Suite, item: Item, form: Form) -> list[str]:
    """What an item asks, as texts for people."""
    if isinstance(suite, WritingSuite):
        return [suite.beginning(item)]
    if isinstance(suite, ScoringSuite):
        return [f"{text.context}{text.continuation}" for text in suite.texts(item, form)]
    return [str(item.facts["asked"])]


def items_of(artifacts: Artifacts, data: SuiteData) -> tuple[Suite, list[Item]]:
    """The suite of taken-in data and its items, from the copy that was kept."""
    if data.suite != harness.NAME or data.artifact is None:
        return asked_items(artifacts, data)
    kept = harness.kept_items(artifacts.path(data.artifact) / harness.ITEMS)
    return harness.suite_of(kept), kept


def asked_items(artifacts: Artifacts, data: SuiteData) -> tuple[ScoringSuite | WritingSuite, list[Item]]:
    """The same, of data that we put to versions ourselves. Raises UnknownSuite."""
    suite = suite_of(data.suite, data.columns)
    if data.artifact is None:
        return suite, _read(suite, None)
    folder = artifacts.path(data.artifact)
    files = sorted(folder.iterdir())
    return suite, _read(suite, files[0] if len(files) == 1 else folder)


def put(
    store: Store,
    shelf: "Shelf",
    version: ModelVersion,
    data: SuiteData,
    *,
    clock: Clock = now,
    on_progress: Callable[[int, int], None] = lambda _done, _of: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> SuiteRun:
    """Puts data to a version and keeps its answers; those that are kept already are not asked again."""
    from flagback.model.examination import examined, version_subject

    with store.reading() as session:
        known = suites.run_of(session, version.id, data.id)
    if known is not None and "error" not in known.figures:
        return known
    suite, items = asked_items(shelf.artifacts, data)
    subject = version_subject(version, shelf)
    look = examined(
        suite=suite, subject=subject, items=items, keep_in=shelf.artifacts.root, on_progress=on_progress, should_stop=should_stop
    )
    measures = look.measures
    if isinstance(suite, Bold):
        from flagback.model.own_suites import flag_shares

        with store.reading() as session:
            measures = with_flags(items, measures, flag_shares(session, version.id))
    figures = levels(suite, items, measures, subject.form, seed=SEED)
    answered = [Answered(*one) for one in zip((item.key for item in items), measures, look.written, strict=True)]
    with store.writing() as session:
        return suites.keep(
            session, version_id=version.id, data_id=data.id, form=subject.form, figures=figures, items=answered, now=clock()
        )


def put_all(
    store: Store, shelf: "Shelf", evaluation_id: int, *, clock: Clock = now, should_stop: Callable[[], bool] | None = None
) -> None:
    """Puts all data in use to an evaluation's two versions and to the first base, and says what changed from each to the candidate.

    No gate reads it, so that data which a model cannot be put fail no evaluation: the reason is kept where the answers would be.
    """
    from flagback.model.cycle import cancelled

    stop = should_stop or cancelled(store, Evaluation, evaluation_id)
    with store.writing() as session:
        evaluation = session.get_one(Evaluation, evaluation_id)
        if evaluation.state in ("succeeded", "cancelled"):
            return
        runs.enter(evaluation, STAGE)
        session.add(evaluation)
        candidate = session.get_one(ModelVersion, evaluation.candidate_id)
        earlier = dict.fromkeys([candidate.first_base_id or evaluation.base_id, evaluation.base_id])
        versions = [*(session.get_one(ModelVersion, number) for number in earlier), candidate]
        listed = [data for data in suites.in_use(session) if data.suite in {*SUITES, custom.NAME}]
    for place, data in enumerate(listed):
        with store.writing() as session:
            evaluation = session.get_one(Evaluation, evaluation_id)
            evaluation.stage_done, evaluation.stage_total = place, len(listed)
            session.add(evaluation)
        try:
            for version in versions:
                put(store, shelf, version, data, clock=clock, should_stop=stop)
        except (ValueError, BadImport, MissingArtifact) as error:
            with store.writing() as session:
                for version in versions:
                    if suites.run_of(session, version.id, data.id) is None:
                        suites.keep(
                            session,
                            version_id=version.id,
                            data_id=data.id,
                            form="causal",
                            figures={"error": str(error)},
                            items=[],
                            now=clock(),
                        )
            continue
        for number in earlier:
            changes(store, shelf.artifacts, data, number, candidate.id)


def changes(store: Store, artifacts: Artifacts, data: SuiteData, base_id: int, candidate_id: int) -> list[dict[str, Any]]:
    """Figures of what changed from one version to another, paired by item; reckoned once and kept. Raises NotAsked."""
    with store.reading() as session:
        base, candidate = (suites.run_of(session, version, data.id) for version in (base_id, candidate_id))
        if base is None or candidate is None or "error" in base.figures or "error" in candidate.figures:
            absent = base_id if base is None or "error" in base.figures else candidate_id
            raise NotAsked(
                f"Version {absent} has no answers to {data.suite} (data {data.id}); get them with 'flagback evaluate {absent} "
                f"--suite {data.suite}'."
            )
        known = suites.comparison(session, base.id, candidate.id)
        if known is not None:
            return known
        answered = [suites.answers(session, run.id) for run in (base, candidate)]
    suite, items = items_of(artifacts, data)
    below, above = ([side[item.key].measures for item in items] for side in answered)
    form: Form = "masked" if base.form == "masked" else "causal"
    figures = [figure.to_dict() for figure in compared(suite, items, below, above, form, seed=SEED)]
    with store.writing() as session:
        suites.keep_comparison(session, base.id, candidate.id, figures)
    return figures
