"""Base and candidate side by side: the comparisons that need their log-probabilities, on records that somebody else fetched.

Knows models, tokenizers and records; knows nothing of the store. What is reckoned from the scores stands in evaluation.py.
"""

from collections.abc import Callable, Sequence

from flagback.model import dialogue, groups
from flagback.model import evaluation as measuring
from flagback.model.checkpoint import Loaded
from flagback.model.cycle import Cancelled
from flagback.model.divergence import divergences
from flagback.model.evaluation import Row
from flagback.model.figures import Measured
from flagback.model.layout import sequence_logps
from flagback.model.lesson import answer_ids
from flagback.model.progress import Doing, Progress
from flagback.storage import preferences
from flagback.storage.records import Generation, Prompt, ReferenceText

#: Answers whose probability is looked at under swapped groups, and swaps of each on one axis.
CASES, SWAPS = 240, 3
#: Tokens scored at a time in a reference text, where the model's context allows.
WINDOW = 512
#: The set of held-out answers about groups that people found fine, which every installation has once it has enough of them.
UNFLAGGED = "unflagged"


class Answered:
    """One held-out prompt with both versions' generations, draw by draw."""

    def __init__(self, prompt: Prompt, base: Sequence[Generation], candidate: Sequence[Generation]) -> None:
        self.prompt, self.base, self.candidate = prompt, by_draw(base), by_draw(candidate)
        #: Whether the k-th answers of both are known to be written with the same noise.
        self.paired = all(one.count == 1 or one.draws is not None for one in (*base, *candidate))


def by_draw(generations: Sequence[Generation]) -> list[Generation]:
    """A generation as often as it was drawn, in the order of draws; those whose further draws were not kept follow their first."""
    return [
        one for _, _, one in sorted((draw, one.id, one) for one in generations for draw in (one.draws or [one.draw] * one.count))
    ]


class BothModels:
    """Both models, and the comparisons that need their log-probabilities."""

    def __init__(
        self, base: Loaded, candidate: Loaded, seed: int, *, on_progress: Progress, should_stop: Callable[[], bool]
    ) -> None:
        self.base, self.candidate, self.seed = base, candidate, seed
        self.on_progress, self.should_stop = on_progress, should_stop

    def _both(self, doing: Doing, rows: Sequence[Row]) -> tuple[list[float], list[float]]:
        if self.should_stop():
            raise Cancelled("The evaluation was stopped.")

        def scores(side: Loaded, turn: int) -> list[float]:
            def scored(done: int, total: int) -> None:
                self.on_progress(doing, turn * total + done, 2 * total)

            found: list[float] = sequence_logps(side.model, rows, on_scored=scored, should_stop=self.should_stop).tolist()
            return found

        return scores(self.base, 0), scores(self.candidate, 1)

    def _fits(self, *rows: Row) -> bool:
        return self.base.context is None or all(len(before) + len(scored) <= self.base.context for before, scored in rows)

    def pairs(self, held_out: Sequence[preferences.PairRow]) -> list[Measured]:
        """Held-out pairs; those longer than the context are left out."""
        pairs = [
            measuring.PairToScore(
                key=row.row_hash,
                cluster=row.split_key,
                prompt_ids=dialogue.prompt_ids(self.base.tokenizer, row.messages, self.base.template),
                chosen_ids=answer_ids(row.chosen_ids, row.chosen_text, self.base),
                rejected_ids=answer_ids(row.rejected_ids, row.rejected_text, self.base),
                texts={"prompt": row.messages[-1]["content"], "chosen": row.chosen_text, "rejected": row.rejected_text},
            )
            for row in held_out
        ]
        pairs = [pair for pair in pairs if self._fits((pair.prompt_ids, pair.chosen_ids), (pair.prompt_ids, pair.rejected_ids))]
        if not pairs:
            return []
        return measuring.compare_pairs(pairs, *self._both("measure pairs", measuring.pair_rows(pairs)), seed=self.seed)

    def cases(self, sampled: Sequence[Answered], axes: Sequence[groups.Axis]) -> list[Measured]:
        """What the base wrote about a group on held-out prompts, and the same about others."""
        cases: list[measuring.Case] = []
        for answered in sampled:
            for generation in {one.text_hash: one for one in answered.base}.values():
                cases += self._cases_of(answered.prompt, generation, axes)
            if len(cases) >= CASES:
                break
        if not cases:
            return []
        return measuring.compare_cases(cases, *self._both("measure swaps", measuring.case_rows(cases)), seed=self.seed)

    def _cases_of(self, prompt: Prompt, generation: Generation, axes: Sequence[groups.Axis]) -> list[measuring.Case]:
        by_axis: dict[str, list[groups.Variant]] = {}
        for variant in groups.variants(prompt.messages, generation.text, lang=prompt.lang, extra=axes, limit=SWAPS):
            by_axis.setdefault(variant.axis, []).append(variant)
        made = []
        for axis, variants in by_axis.items():
            original = self._row(prompt.messages, generation.text)
            swapped = [self._row(variant.messages, variant.answer) for variant in variants]
            if self._fits(original, *swapped):
                made.append(
                    measuring.Case(
                        key=generation.text_hash + prompt.content_hash[:16],
                        axis=axis,
                        cluster=prompt.split_key,
                        original=original,
                        swapped=swapped,
                        texts={
                            "prompt": prompt.messages[-1]["content"],
                            "answer": generation.text,
                            "swapped": [variant.answer for variant in variants],
                        },
                    )
                )
        return made

    def _row(self, messages: Sequence[dict[str, str]], answer: str) -> Row:
        return (
            dialogue.prompt_ids(self.base.tokenizer, list(messages), self.base.template),
            dialogue.answer_ids(self.base.tokenizer, answer, self.base.template),
        )

    def texts(self, texts: Sequence[ReferenceText], unflagged: Sequence[tuple[Prompt, Generation]]) -> list[Measured]:
        """Perplexity of each named set, and how far the candidate has moved from its base on it; on whole texts in windows.

        `unflagged`: answers that people found fine, scored after their prompts as the set UNFLAGGED, unless a set has that name.
        """
        tokenizer = self.base.tokenizer
        begin = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
        listed = [
            measuring.TextToScore(
                text.name,
                text.text_hash,
                text.text_hash,
                [*begin, *dialogue.answer_ids(tokenizer, text.text, "plain")[:-1]],
                text.text,
            )
            for text in texts
        ]
        if UNFLAGGED not in {text.name for text in texts}:
            answers = [self._answer(prompt, generation) for prompt, generation in unflagged]
            listed += [one for one in answers if one.before]
        window = min(WINDOW, (self.base.context or WINDOW + 1) - 1)
        listed = [text for text in listed if text.scored and self._fits(*measuring.text_rows([text], max_tokens=window))]
        if not listed:
            return []
        rows = measuring.text_rows(listed, max_tokens=window)
        self.on_progress("measure texts", 0, 2 * len(rows))
        moved = divergences(self.base.model, self.candidate.model, rows, should_stop=self.should_stop)
        return [
            *measuring.compare_texts(listed, *self._both("measure texts", rows), max_tokens=window, seed=self.seed),
            *measuring.compare_divergence(listed, moved, max_tokens=window, seed=self.seed),
        ]

    def _answer(self, prompt: Prompt, generation: Generation) -> measuring.TextToScore:
        before = dialogue.prompt_ids(self.base.tokenizer, prompt.messages, self.base.template)
        return measuring.TextToScore(
            UNFLAGGED,
            generation.text_hash + prompt.content_hash[:16],
            prompt.split_key,
            [*before, *answer_ids(generation.token_ids, generation.text, self.base)],
            generation.text,
            len(before),
        )
