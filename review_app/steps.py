"""The steps of each kind of work, in order: which function of flagback.model does what.

Every step may be repeated; it finds what it did before. Knows neither DBOS nor signals. Imports torch when the first step runs,
so that whoever only lists the steps need not wait for it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from flagback.review_app.jobs import Kind
from flagback.review_app.settings import Settings
from flagback.storage.store import Store

if TYPE_CHECKING:
    from flagback.model.shelf import Shelf

#: A name for the ledger, and what is done with the request's row id.
Step = tuple[str, Callable[[int], object]]


def steps_of(settings: Settings, store: Store) -> Mapping[Kind, Sequence[Step]]:
    """The steps for one installation. Models are loaded at the first need and kept between jobs."""
    kept: list[Shelf] = []

    def shelf() -> "Shelf":
        if not kept:
            import_torch(settings.threads)
            from flagback.model.shelf import Shelf
            from flagback.storage.artifacts import Artifacts

            kept.append(Shelf(Artifacts(settings.artifacts), threads=settings.threads))
        return kept[0]

    def sample(row_id: int) -> object:
        from flagback.model import cycle

        return cycle.sample(store, shelf(), row_id)

    def order(row_id: int) -> object:
        from flagback.model import detecting
        from flagback.storage.artifacts import Artifacts
        from flagback.storage.records import SamplingRun

        with store.reading() as session:
            if session.get_one(SamplingRun, row_id).simulated:
                return None
        return detecting.renew(store, Artifacts(settings.artifacts), by="worker")

    def distils(row_id: int) -> bool:
        """Whether a correction learns from a teacher: it then has no pairs to freeze or to explain."""
        from flagback.storage.records import CorrectionRun

        with store.reading() as session:
            return bool(session.get_one(CorrectionRun, row_id).teacher)

    def freeze(row_id: int) -> object:
        from flagback.model import cycle
        from flagback.storage.artifacts import Artifacts

        if distils(row_id):
            return None
        return cycle.freeze(store, row_id, key=settings.pseudonym_key(), artifacts=Artifacts(settings.artifacts))

    def train(row_id: int) -> object:
        from flagback.model import cycle

        return cycle.train(store, shelf(), row_id, work=settings.home / "work")

    def register(row_id: int) -> object:
        from flagback.model import cycle

        return cycle.register(store, shelf(), row_id)

    def explain(row_id: int) -> object:
        from flagback.model import explaining

        if distils(row_id):
            return None
        return explaining.explain(store, shelf(), row_id)

    def finish(row_id: int) -> object:
        from flagback.model import cycle

        return cycle.finish(store, row_id, by="worker")

    def blind_samples(row_id: int) -> object:
        from flagback.model import evaluating

        return evaluating.blind_samples(store, shelf(), row_id)

    def published_tests(row_id: int) -> None:
        from flagback.model import suite_runs

        suite_runs.put_all(store, shelf(), row_id)

    def evaluate(row_id: int) -> object:
        from flagback.model import evaluating

        return evaluating.evaluate(store, shelf(), row_id)

    return {
        "sampling": [("sample", sample), ("order", order)],
        "correction": [("freeze", freeze), ("train", train), ("register", register), ("explain", explain), ("finish", finish)],
        "evaluation": [("blind_samples", blind_samples), ("published_tests", published_tests), ("evaluate", evaluate)],
    }


def import_torch(threads: int = 0) -> None:
    """Has the slow imports done; `threads` 0 leaves torch's own choice."""
    import torch

    import flagback.model.cycle  # noqa: F401

    if threads:
        torch.set_num_threads(threads)
