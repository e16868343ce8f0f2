"""A small model learns what a larger one writes: exactly the named losses, the same bytes after a kill, through the same gate."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from sqlmodel import select

from flagback.model import checkpoint, cycle, distilling
from flagback.model.checkpoint import Loaded
from flagback.model.distillation import (
    Distilled,
    Share,
    Taught,
    distil,
    distribution_loss,
    sequence_loss,
    why_words_alone,
)
from flagback.model.divergence import kl_rows
from flagback.model.explaining import NotTrained, explained
from flagback.model.layout import padded_logits
from flagback.model.recipe import BadRecipe, NoPairs, Recipe, Stopped
from flagback.model.shelf import ChangedWeights, Shelf
from flagback.model.training import weights_fingerprint
from flagback.storage import runs, versions
from flagback.storage.artifacts import Artifacts
from flagback.storage.model_card import model_card, told_of
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.records import CorrectionRun, Evaluation, ModelVersion, RunMetric, now
from flagback.storage.store import Store
from tests.foreign_models import make
from tests.tiny_model import random_lines

#: PEFT 0.21 asks transformers 5.23 by an old name when it loads an adapter.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
RECIPE = Recipe(
    steps=6, pairs_per_step=4, replay_per_step=2, learning_rate=1e-2, checkpoint_every=2, rank=4, alpha=8.0, max_grad_norm=5.0
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Models:
    """A small student, a larger teacher that reads the same tokens, and one that reads others."""

    def __init__(self, folder: Path) -> None:
        self.places = {
            "student": str(make(folder / "student", "qwen2")),
            "teacher": str(make(folder / "teacher", "qwen2", seed=5, hidden_size=48, num_hidden_layers=3)),
            "stranger": str(make(folder / "stranger", "llama", seed=6)),
        }

    def loaded(self, name: str) -> Loaded:
        return checkpoint.load(self.places[name])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("models"))


def rows(count: int = 9) -> list[Taught]:
    """Answers of differing length, as if a teacher had written them."""
    draw = Random(3)

    def ids(shortest: int, longest: int) -> tuple[int, ...]:
        return tuple(draw.randrange(3, 200) for _ in range(draw.randint(shortest, longest)))

    prompts = [ids(2, 6) for _ in range(count)]
    return [Taught(f"{number}", prompt, ids(1, 8), prompt) for number, prompt in enumerate(prompts)]


def learnt(models: Models, folder: Path, *, share: Share = Share(), recipe: Recipe = RECIPE, **more: Any) -> Distilled:  # noqa: B008
    return distil(
        models.loaded("student"),
        models.loaded("teacher"),
        more.pop("taught", rows()),
        share=share,
        replay=random_lines(4),
        recipe=recipe,
        seed=3,
        folder=folder,
        **more,
    )


# ------------------------------------------------------------------- the losses


def test_the_sequence_loss_is_that_of_transformers_own_labels(models: Models) -> None:
    model = models.loaded("student").model.requires_grad_(False)
    row = rows()[0]
    ids = torch.tensor([[*row.prompt_ids, *row.answer_ids]])
    labels = ids.clone()
    labels[:, : len(row.prompt_ids)] = -100
    mine = sequence_loss(
        padded_logits(model, [(row.prompt_ids, row.answer_ids)]).logits, torch.tensor(row.answer_ids), len(row.answer_ids)
    )
    assert float(mine) == pytest.approx(float(model(input_ids=ids, labels=labels).loss), abs=1e-5)


def test_the_distribution_loss_is_that_of_trls_gkd_at_beta_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    from trl.experimental.gkd import GKDTrainer

    generator = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(1, 7, 13, generator=generator) * 3 for _ in range(2))
    theirs = GKDTrainer.generalized_jsd_loss(student, teacher, beta=0.0, reduction="sum")
    assert float(distribution_loss(student[0], teacher[0], 7)) == pytest.approx(float(theirs) / 7, rel=1e-5)
    gates = float(kl_rows(teacher[0], student[0]).sum())
    assert float(distribution_loss(student[0], teacher[0], 1)) == pytest.approx(gates, rel=1e-5)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.integers(1, 4))
def test_a_student_that_is_the_teacher_has_nothing_to_learn(seed: int, padding: int) -> None:
    teacher = torch.randn(5, 11, generator=torch.Generator().manual_seed(seed))
    student = torch.cat([teacher, torch.randn(5, padding)], 1).requires_grad_()  # rows of padding are no tokens
    found = distribution_loss(student, teacher, 5)
    assert float(found.detach()) == pytest.approx(0.0, abs=1e-6)
    found.backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert float(student.grad.abs().max()) < 1e-6


# ------------------------------------------------------------------ the training


def test_the_student_comes_to_write_as_the_teacher_does_and_stays_itself(models: Models, tmp_path: Path) -> None:
    student, teacher = models.loaded("student"), models.loaded("teacher")
    before = weights_fingerprint(student.model)
    recipe = replace(RECIPE, steps=30, pairs_per_step=9, replay_weight=0.0)
    # These rows are no samples of the teacher's, so that its words and its distributions would pull apart: one at a time.
    words = distil(student, teacher, rows(), share=Share(1.0, 0.0), recipe=recipe, seed=3, folder=tmp_path / "words")
    made = distil(student, teacher, rows(), share=Share(0.0, 1.0), recipe=recipe, seed=3, folder=tmp_path / "run")
    assert weights_fingerprint(student.model) == before
    assert not hasattr(student.model, "peft_config")
    assert words.figures[-1]["sequence_loss"] < words.figures[0]["sequence_loss"] * 0.8
    assert made.figures[-1]["distribution_loss"] < made.figures[0]["distribution_loss"] * 0.8
    taught = PeftModel.from_pretrained(models.loaded("student").model, made.adapter).eval()
    asked = [(row.prompt_ids, row.answer_ids) for row in rows()]
    with torch.no_grad():
        wanted = padded_logits(teacher.model, asked).logits
        apart = [float(kl_rows(wanted, padded_logits(model, asked).logits).mean()) for model in (student.model, taught)]
    assert apart[1] < apart[0] * 0.8


def test_the_first_steps_figures_are_those_of_both_models_as_they_are(models: Models, tmp_path: Path) -> None:
    made = learnt(models, tmp_path / "run", recipe=replace(RECIPE, steps=1, pairs_per_step=9), share=Share(0.5, 2.0))
    asked = [(row.prompt_ids, row.answer_ids) for row in rows()]
    with torch.no_grad():
        mine, theirs = (padded_logits(models.loaded(name).model, asked).logits for name in ("student", "teacher"))
    found = made.figures[0]
    assert found["distribution_loss"] == pytest.approx(float(kl_rows(theirs, mine).mean()), rel=1e-4)
    targets = torch.tensor([token for row in rows() for token in row.answer_ids])
    assert found["sequence_loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(mine, targets)), rel=1e-4)
    whole = 0.5 * found["sequence_loss"] + 2.0 * found["distribution_loss"] + RECIPE.replay_weight * found["replay_loss"]
    assert found["loss"] == pytest.approx(whole, rel=1e-6)


def test_words_alone_need_no_distribution_of_the_teacher(models: Models, tmp_path: Path) -> None:
    blind = [row._replace(teacher_prompt_ids=()) for row in rows()]
    made = learnt(models, tmp_path / "run", share=Share(1.0, 0.0), taught=blind, recipe=replace(RECIPE, steps=2))
    assert [row["distribution_loss"] for row in made.figures] == [0.0, 0.0]


@pytest.mark.parametrize("after", [0, 1, 2, 3, 5])
def test_a_stopped_or_killed_distillation_goes_on_to_the_same_bytes(models: Models, tmp_path: Path, after: int) -> None:
    straight = learnt(models, tmp_path / "straight")
    seen: list[float] = []
    with pytest.raises(Stopped):
        learnt(models, tmp_path / "run", on_step=lambda row: seen.append(row["step"]), should_stop=lambda: len(seen) >= after)

    def killed(_: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learnt(models, tmp_path / "run", on_step=killed)
    again = learnt(models, tmp_path / "run", taught=rows()[::-1])
    assert again.environment["weights_sha256"] == straight.environment["weights_sha256"]
    assert again.figures == straight.figures


def test_the_schedule_is_that_of_a_correction(models: Models, tmp_path: Path) -> None:
    from transformers import get_scheduler

    for schedule, named in (("linear", "linear"), ("cosine", "cosine"), ("constant", "constant_with_warmup")):
        recipe = replace(RECIPE, schedule=schedule, warmup=2, steps=5, pairs_per_step=1, replay_weight=0.0)  # type: ignore[arg-type]
        weight = torch.nn.Parameter(torch.zeros(1))
        optimiser = torch.optim.AdamW([weight], lr=recipe.learning_rate)
        expected = []
        scheduler = get_scheduler(named, optimiser, num_warmup_steps=2, num_training_steps=5)
        for _ in range(5):
            expected.append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            scheduler.step()
        made = learnt(models, tmp_path / schedule, recipe=recipe, share=Share(1.0, 0.0))
        assert [row["learning_rate"] for row in made.figures] == pytest.approx(expected)


@pytest.mark.parametrize("more", [{"processes": 2}, {"precision": "bfloat16"}])
def test_who_asks_for_what_a_distillation_does_not_do_is_told(models: Models, tmp_path: Path, more: dict[str, Any]) -> None:
    (name,) = more
    with pytest.raises(BadRecipe, match=f"{name} is {more[name]!r}; a distillation needs"):
        learnt(models, tmp_path, recipe=replace(RECIPE, **more), share=Share(1.0, 0.0))


def test_answers_that_cannot_be_learnt_are_refused_together(models: Models, tmp_path: Path) -> None:
    with pytest.raises(NoPairs, match=r"The teacher wrote 1 answers and none can be learnt from"):
        learnt(models, tmp_path / "run", taught=[Taught("a", (3,), (), (3,))])


# -------------------------------------------------------------------- the store


class Home:
    """An installation whose line is the student's."""

    def __init__(self, store: Store, folder: Path, models: Models) -> None:
        self.store, self.folder, self.models = store, folder, models
        self.shelf = Shelf(Artifacts(folder / "artifacts"))
        cycle.add_model(store, models.places["student"], by="test")
        said = ["The nurse said that", "Yesterday the old man", "In the evening they", "The engineer told us", "My neighbour is"]
        prompts = [NewPrompt([{"role": "user", "content": f"{text} {n}"}], "en") for text in said for n in range(4)]
        with store.writing() as session:
            add_prompts(session, prompts)

    def asked(self, teacher: str, **more: Any) -> CorrectionRun:
        told = distilling.teacher_of(self.models.places[teacher], answers=2, prompts=6, max_tokens=8, share=Share())
        with self.store.writing() as session:
            return runs.request_distillation(session, by="lena", now=now(), teacher=told, recipe=vars(RECIPE) | more, seed=4)

    def done(self, run: CorrectionRun) -> CorrectionRun:
        cycle.train(self.store, self.shelf, run.id, work=self.folder / "work")
        cycle.register(self.store, self.shelf, run.id)
        cycle.finish(self.store, run.id, by="worker")
        with self.store.reading() as session:
            return session.get_one(CorrectionRun, run.id)


@pytest.fixture
def home(sqlite_store: Store, tmp_path: Path, models: Models) -> Home:
    return Home(sqlite_store, tmp_path, models)


def test_a_distillation_is_a_version_of_the_small_base_that_names_its_teacher_and_goes_to_the_gate(home: Home) -> None:
    run = home.done(home.asked("teacher"))
    told = run.environment["distillation"]
    assert (told["way"], told["why_words_alone"], told["prompts"]) == ("sequences and distributions", None, 6)
    with home.store.reading() as session:
        made = session.get_one(ModelVersion, run.candidate_id)
        asked = session.exec(select(Evaluation)).one()
        steps = session.exec(select(RunMetric).where(RunMetric.run_id == run.id)).all()
        card = model_card(told_of(session, made), shape="merged", dtype="float32")
    assert (made.name, made.parent_id, made.state, made.kind) == (f"distillation {run.id}", 1, "candidate", "correction")
    assert run.teacher["fingerprint"] == checkpoint.inspect(home.models.places["teacher"]).fingerprint
    assert (asked.candidate_id, asked.base_id) == (made.id, 1)
    assert len(steps) == RECIPE.steps
    assert "teacher: teacher" in card
    assert run.teacher["fingerprint"] in card
    kept = (home.shelf.artifacts.path(told["taught_sha256"]) / distilling.FILE).read_text().splitlines()
    assert len(kept) == 12
    with pytest.raises(versions.GateNotPassed):
        versions.promote(home.store, made.id, by="lena", now=now())
    with pytest.raises(NotTrained, match="is a distillation"):
        explained(home.store, home.shelf, run.id)


def test_a_teacher_of_other_tokens_teaches_its_words_alone_and_the_run_says_so(home: Home) -> None:
    assert why_words_alone(home.models.loaded("teacher"), home.models.loaded("student")) is None
    run = home.done(home.asked("stranger"))
    told = run.environment["distillation"]
    assert told["way"] == "sequences"
    assert "tokenizers differ" in told["why_words_alone"]
    with home.store.reading() as session:
        steps = session.exec(select(RunMetric).where(RunMetric.run_id == run.id)).all()
    assert {row.metrics["distribution_loss"] for row in steps} == {0.0}


def test_a_second_distillation_stands_on_the_first_whatever_the_recipe_says_of_rounds(home: Home) -> None:
    first = home.done(home.asked("teacher"))
    versions.promote(home.store, first.candidate_id or 0, by="lena", now=now(), override_reason="a test")
    second = home.done(home.asked("teacher", rounds="rebase"))
    with home.store.reading() as session:
        made = session.get_one(ModelVersion, second.candidate_id)
    assert made.adapters == [first.adapter_sha256, second.adapter_sha256]
    assert (made.parent_id, made.facts["round"]["number"], made.facts["round"]["trained_on"]) == (
        first.candidate_id,
        2,
        made.parent_id,
    )


def test_a_teacher_whose_files_changed_is_refused(home: Home) -> None:
    run = home.asked("teacher")
    place = Path(home.models.places["teacher"]) / "generation_config.json"
    before = place.read_bytes()
    place.write_bytes(before + b"\n")
    try:
        with pytest.raises(ChangedWeights, match=f"the teacher of correction {run.id}"):
            cycle.train(home.store, home.shelf, run.id, work=home.folder / "work")
    finally:
        place.write_bytes(before)


def test_one_correction_at_a_time_holds_for_a_distillation_too(home: Home) -> None:
    home.asked("teacher")
    with pytest.raises(runs.RunUnderWay):
        home.asked("teacher")
