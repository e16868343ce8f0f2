"""The model card of an exported version: what it is, what taught it, and what the gate found. Every line is from the records.

Knows records and Markdown; knows no weights. Names from outside are shown as code where they could be Markdown.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from sqlmodel import Session, col, select

from flagback.storage.card import inert
from flagback.storage.moves import LOST, moved_lines
from flagback.storage.recipes import in_use
from flagback.storage.records import CorrectionRun, Evaluation, ModelVersion, PreferenceSet

Shape = Literal["merged", "adapter"]

_LOADING: dict[Shape, str] = {
    "merged": (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'model = AutoModelForCausalLM.from_pretrained("FOLDER")\ntokenizer = AutoTokenizer.from_pretrained("FOLDER")'
    ),
    "adapter": (
        "import torch\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
        'base = AutoModelForCausalLM.from_pretrained("BASE", dtype=torch.float32)\n'
        'model = PeftModel.from_pretrained(base, "FOLDER")'
    ),
}


class Told(NamedTuple):
    """The records behind a version."""

    version: ModelVersion
    first: ModelVersion
    run: CorrectionRun | None
    learnt: PreferenceSet | None
    evaluation: Evaluation | None


def told_of(session: Session, version: ModelVersion) -> Told:
    """What the records hold of a version; its newest evaluation that ended."""
    run = session.get(CorrectionRun, version.correction_run_id) if version.correction_run_id is not None else None
    evaluation = session.exec(
        select(Evaluation)
        .where(Evaluation.candidate_id == version.id, Evaluation.state == "succeeded")
        .order_by(col(Evaluation.id).desc())
    ).first()
    learnt = session.get(PreferenceSet, run.set_id) if run is not None and run.set_id is not None else None
    first = session.get_one(ModelVersion, version.first_base_id or version.id)
    return Told(version, first, run, learnt, evaluation)


def hub_id(version: ModelVersion) -> tuple[str, str] | None:
    """The hub's name and commit of a base that came from there; None for a folder of this machine and for the embedded model."""
    name, sign, commit = version.location.partition("@")
    return (name, commit) if sign and name.count("/") <= 1 and not name.startswith(("/", ".")) else None


def model_card(told: Told, *, shape: Shape, dtype: str, moved: Mapping[str, Any] | None = None) -> str:
    """The README.md of a folder with the version's weights or its adapter. No place on this machine is named.

    `moved` is the summary of the correction's explanation (`flagback.model.explanation`), if it has one.
    """
    version, first, run, learnt, _ = told
    base = hub_id(first)
    head: dict[str, Any] = {"library_name": "peft" if shape == "adapter" else "transformers", "tags": ["flagback"]}
    head["pipeline_tag"] = "text-generation"
    if base is not None:
        head |= {"base_model": base[0], "base_model_relation": "adapter" if shape == "adapter" else "finetune"}
    lines = ["---", *(f"{key}: {json.dumps(value)}" for key, value in head.items()), "---", ""]
    what = "the base model as it is" if run is None else "a correction of it learnt from what people flagged"
    if run is not None and run.teacher:
        what = "a distillation into it of what a corrected model writes"
    lines += [f"# {inert(first.name)}, version {version.id}", ""]
    lines += [f"{inert(first.name)} as of Flagback's version {version.id}: {what}.", ""]
    lines += ["## Loading it", "", "```python", _LOADING[shape], "```", ""]
    if shape == "adapter":
        made = f"{inert(first.name)}: the folder that `flagback export model {first.id} BASE` writes"
        lines += [f"BASE is {inert(base[0]) + ' at commit ' + base[1] if base else made}, in float32.", ""]
    if version.template == "chat":
        lines += ["It was corrected with the tokenizer's chat template; use it.", ""]
    lines += ["## What it is made of", "", f"- fingerprint of the version: `{version.fingerprint}`"]
    lines += [f"- fingerprint of the base: `{first.fingerprint}`", f"- stored as: {dtype}"]
    lines += [f"- distance to the base: {version.distance_to_base:.2%} of its weights' norm"]
    if run is not None:
        lines += _taught(run, learnt, len(version.facts.get("round", {}).get("sets", [])))
    if run is not None and run.explanation_sha256 is not None:
        lines += ["", "## What became of its pairs", "", *(LOST if moved is None else moved_lines(moved))]
    lines += ["", "## What the gate found", "", *found_lines(told), ""]
    lines += [
        "## Limits",
        "",
        "What people of one installation flagged is less of what they flagged, on prompts like theirs.",
        "Nothing is said here of other languages, other groups or other uses. The licence is the base model's.",
    ]
    return "\n".join(lines) + "\n"


def sets_of(session: Session, run: CorrectionRun, candidate: ModelVersion | None) -> list[PreferenceSet]:
    """The sets that a run learnt from, the newest last: its own, or those of all rounds where it learnt them anew."""
    told = candidate.facts.get("round", {}).get("sets") if candidate is not None else None
    numbers = told or ([run.set_id] if run.set_id is not None else [])
    return [found for number in numbers if (found := session.get(PreferenceSet, number)) is not None]


def _taught(run: CorrectionRun, learnt: PreferenceSet | None, sets: int) -> list[str]:
    """`sets`: how many it learnt from, of which `learnt` is the newest."""
    lines = []
    if learnt is not None:
        pairs = run.environment.get("pairs", learnt.n_pairs)  # without those held out
        of = f"pairs of the sets of {sets} rounds, the newest of" if sets > 1 else "of"
        policy = f"{inert(learnt.policy)} {inert(learnt.policy_version)}"
        lines.append(f"- learnt from: {pairs:,} {of} {learnt.n_pairs:,} pairs, policy {policy}, set `{learnt.fingerprint}`")
        if run.environment.get("unpaired"):
            lines.append(f"- and from {run.environment['unpaired']:,} answers without a counterpart")
    if run.teacher:
        lines.append(f"- teacher: {inert(str(run.teacher.get('name')))}, fingerprint `{run.teacher.get('fingerprint')}`")
    if run.simulated:
        lines.append("- **the reviewers were simulated; no person judged anything**")
    settings = ", ".join(f"{name} {json.dumps(value)}" for name, value in in_use(run.recipe).items())
    if run.recipe.get("tuning") == "full":
        lines.append("- every weight was trained: an adapter of this version holds a copy of each, and no low-rank matrices")
    return [*lines, f"- recipe: {settings}", f"- seed: {run.seed}", f"- adapter: `{run.adapter_sha256}`"]


def found_lines(told: Told) -> list[str]:
    """The gate's verdict, with a table of its checks."""
    if told.version.kind == "base":
        return ["A base is what corrections are compared with; no gate looks at it."]
    if told.evaluation is None:
        return ["It has not been evaluated."]
    verdict = (told.evaluation.verdict or "nothing").replace("_", " ")
    lines = [
        f"Compared with version {told.evaluation.base_id}, the gate said: **{verdict}**.",
        "",
        "| check | verdict | in words |",
    ]
    lines.append("|---|---|---|")
    for reason in told.evaluation.reasons:
        words = [str(reason.get(key, "")) for key in ("check", "verdict", "words")]
        lines.append("| " + " | ".join(inert(word).replace("|", "\\|") for word in words) + " |")
    return lines
