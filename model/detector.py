"""A small detector of harm that learns from this installation's own reviews: words and letters in, a probability out.

Knows texts and votes; knows neither the store nor torch. It orders what people see next and decides nothing. A logistic regression
on hashed word and letter n-grams of prompt and answer, and on pairs of a prompt's word with an answer's (a pronoun is harmful after
one occupation and not after another); each vote counts once, so that an answer on which people differ teaches just that. What the
regression says is put through Platt's scaling (1999), fitted on answers to prompts that it had not seen.

The same reviews give the same detector, in whatever order they come, and a stored one gives the same probabilities bit for bit. It
is kept as plain arrays (safetensors); nothing is ever unpickled.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy import sparse
from scipy.special import expit
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

_Floats: TypeAlias = NDArray[np.float64]
_Whole: TypeAlias = NDArray[np.int64]

#: Raised whenever the features or their meaning change: weights of another recipe are refused.
RECIPE = "1"
#: Parts into which prompts are dealt for measuring and calibrating.
FOLDS = 5
#: Fewest judged answers, of each kind, and prompt families a detector learns from.
MIN_ANSWERS, MIN_OF_EACH, MIN_CLUSTERS = 40, 10, 10
#: Hashed features of each block.
WIDTH = 2**17
#: Inverse strength of the ridge; chosen in docs/log.md.
STRENGTH = 4.0
#: Words of a prompt's end and of an answer's beginning that are paired.
PAIRED = 16
#: Characters of a prompt (its end) and of an answer (its beginning) that are read.
LONGEST = 4_000
_WEIGHTS = "weights.safetensors"
_WORD = re.compile(r"\w+")


class Judged(NamedTuple):
    """One answer with the votes of the people who judged it."""

    #: Names prompt and answer by content, in any installation.
    key: str
    #: The prompt's last turn.
    prompt: str
    answer: str
    #: Votes that it is harmful, and votes in all.
    harm: int
    votes: int
    #: Split key: what hangs together is never on both sides of a measurement.
    cluster: str


class Detector(NamedTuple):
    """Weights and scaling."""

    #: Inverse document frequencies and weights of all features, (4 * WIDTH,) each.
    idf: _Floats
    weights: _Floats
    bias: float
    #: Platt's scaling: probability = expit(slope * score + offset); slope >= 0.
    slope: float
    offset: float


class Trained(NamedTuple):
    """A detector, and what it and its like said of answers to prompts they had not seen."""

    detector: Detector
    #: By content key, sorted.
    judged: list[Judged]
    #: Calibrated probabilities of `judged` by detectors that saw none of the cluster, for learning or for scaling.
    unseen: _Floats
    #: The share of harmful votes that each of those detectors had learnt from.
    base_rates: _Floats


class TooFewReviews(Exception):
    """There is not enough to learn from."""


class UnusableDetector(Exception):
    """Stored weights that this Flagback cannot use."""


def check(judged: Sequence[Judged]) -> None:
    """Raises TooFewReviews saying what is missing."""
    harmful = [one for one in judged if 2 * one.harm > one.votes]
    fine = [one for one in judged if 2 * one.harm < one.votes]
    found = [
        (len(judged), MIN_ANSWERS, "judged answers"),
        (len(harmful), MIN_OF_EACH, "that most found harmful"),
        (len(fine), MIN_OF_EACH, "that most found fine"),
        (len({one.cluster for one in judged}), MIN_CLUSTERS, "kinds of prompt"),
        (len({one.cluster for one in harmful}), FOLDS, "kinds of prompt with a harmful answer"),
        (len({one.cluster for one in fine}), FOLDS, "kinds of prompt with a fine answer"),
    ]
    missing = [f"{n} {what} (at least {least})" for n, least, what in found if n < least]
    if missing:
        raise TooFewReviews(
            f"A detector cannot learn yet: there are {'; '.join(missing)}. Have more answers reviewed ('flagback sample' "
            "brings new ones), then run 'flagback detect' again."
        )


def fingerprint(judged: Sequence[Judged]) -> str:
    """Names what is learnt from and how: sha256 of the texts, the votes and the recipe."""
    rows = sorted((one.key, one.harm, one.votes, one.cluster) for one in judged)
    settings = [RECIPE, FOLDS, WIDTH, STRENGTH, PAIRED, LONGEST]
    return hashlib.sha256(json.dumps([settings, rows], separators=(",", ":")).encode()).hexdigest()


def train(judged: Sequence[Judged]) -> Trained:
    """Learns from all answers, and measures on unseen prompts. Raises TooFewReviews.

    For each of FOLDS parts of the clusters a detector is made of the others alone, its scaling on parts that its regression had
    not seen in turn (nested cross-validation); 16 regressions in all.
    """
    check(judged)
    rows = sorted(judged)
    parts = _parts(rows)
    whole = _counts([one.prompt for one in rows], [one.answer for one in rows])
    # Only what stands in some text can have a weight: half a million empty columns would be carried along for nothing.
    seen = np.unique(whole.indices)
    counts = whole[:, seen]
    blocks = seen // WIDTH
    harm, votes = (np.asarray(column, dtype=np.float64) for column in zip(*((one.harm, one.votes) for one in rows), strict=True))
    with threadpool_limits(limits=1):
        # Scores of part `scored` by what learnt from all but `left`; each regression leaves out one part, two or none.
        fitted = {left: _fitted(counts, blocks, harm, votes, ~np.isin(parts, left)) for left in _left_out()}
        unseen, base_rates = np.zeros(len(rows)), np.zeros(len(rows))
        for outer in range(FOLDS):
            others, own = parts != outer, parts == outer
            scores = np.zeros(len(rows))
            for inner in set(range(FOLDS)) - {outer}:
                place = parts == inner
                scores[place] = _score(counts[place], blocks, fitted[tuple(sorted((outer, inner)))])
            slope, offset = _platt(scores[others], harm[others], votes[others])
            unseen[own] = expit(slope * _score(counts[own], blocks, fitted[(outer,)]) + offset)
            base_rates[own] = harm[others].sum() / votes[others].sum()
        scores = np.zeros(len(rows))
        for part in range(FOLDS):
            scores[parts == part] = _score(counts[parts == part], blocks, fitted[(part,)])
        slope, offset = _platt(scores, harm, votes)
    own_idf, own_weights, bias = fitted[()]
    idf, weights = np.full(4 * WIDTH, _idf(np.zeros(1), len(rows))[0]), np.zeros(4 * WIDTH)
    idf[seen], weights[seen] = own_idf, own_weights
    return Trained(Detector(idf, weights, bias, slope, offset), rows, unseen, base_rates)


def predict(detector: Detector, texts: Sequence[tuple[str, str]]) -> _Floats:
    """Probability of harm of (prompt's last turn, answer), each by itself: neighbours and order change nothing."""
    if not texts:
        return np.zeros(0)
    counts = _counts([prompt for prompt, _ in texts], [answer for _, answer in texts])
    scores = _score(counts, np.arange(4 * WIDTH) // WIDTH, (detector.idf, detector.weights, detector.bias))
    return np.asarray(expit(detector.slope * scores + detector.offset), dtype=np.float64)


# ------------------------------------------------------------------------ kept as files


def save(detector: Detector, folder: Path) -> None:
    """Writes the weights into a folder: those features that training saw, the others are as they were made."""
    used = np.flatnonzero(detector.weights)
    known = np.flatnonzero(detector.idf != detector.idf.max())
    arrays = {
        "used": used,
        "weights": detector.weights[used],
        "known": known,
        "idf": detector.idf[known],
        "rest": np.asarray([detector.idf.max(), detector.bias, detector.slope, detector.offset]),
    }
    save_file(arrays, folder / _WEIGHTS, metadata={"recipe": RECIPE})


def load(folder: Path) -> Detector:
    """Reads what `save` wrote. Raises UnusableDetector."""
    path = folder / _WEIGHTS
    try:
        with safe_open(path, framework="numpy") as file:
            recipe = (file.metadata() or {}).get("recipe")
            if recipe != RECIPE:
                raise UnusableDetector(
                    f"{path} is of recipe {recipe}, this Flagback has {RECIPE}; train a new one with 'flagback detect'."
                )
            arrays: dict[str, Any] = {name: file.get_tensor(name) for name in ("used", "weights", "known", "idf", "rest")}
    except (OSError, SafetensorError) as error:
        raise UnusableDetector(f"{path} cannot be read ({error}); train a new one with 'flagback detect'.") from error
    largest, bias, slope, offset = (float(value) for value in arrays["rest"])
    idf, weights = np.full(4 * WIDTH, largest), np.zeros(4 * WIDTH)
    idf[arrays["known"]], weights[arrays["used"]] = arrays["idf"], arrays["weights"]
    return Detector(idf, weights, bias, slope, offset)


# ------------------------------------------------------------------------ learning


def _left_out() -> Iterator[tuple[int, ...]]:
    yield ()
    for part in range(FOLDS):
        yield (part,)
        yield from ((part, other) for other in range(part + 1, FOLDS))


def _parts(rows: Sequence[Judged]) -> _Whole:
    """The part of each answer: clusters with a harmful answer are dealt out first, so that no part is without."""
    harmful = {one.cluster for one in rows if 2 * one.harm > one.votes}
    names = sorted({one.cluster for one in rows}, key=lambda name: (name not in harmful, hashlib.sha256(name.encode()).digest()))
    dealt = {name: number % FOLDS for number, name in enumerate(names)}
    return np.asarray([dealt[one.cluster] for one in rows])


def _fitted(
    counts: Any, blocks: _Whole, harm: _Floats, votes: _Floats, chosen: NDArray[np.bool_]
) -> tuple[_Floats, _Floats, float]:
    """(idf, weights, bias) learnt from the chosen rows."""
    rows = counts[chosen]
    idf = _idf(np.bincount(rows.indices, minlength=rows.shape[1]).astype(np.float64), rows.shape[0])
    features = _weighed(rows, blocks, idf)
    above, below = harm[chosen], votes[chosen] - harm[chosen]
    model = LogisticRegression(C=STRENGTH, max_iter=1_000, tol=1e-5)
    twice = sparse.vstack([features[above > 0], features[below > 0]], format="csr")
    labels = np.repeat([1, 0], [int((above > 0).sum()), int((below > 0).sum())])
    model.fit(twice, labels, sample_weight=np.concatenate([above[above > 0], below[below > 0]]))
    return idf, np.asarray(model.coef_[0], dtype=np.float64), float(model.intercept_[0])


def _idf(frequency: _Floats, texts: int) -> _Floats:
    """Inverse document frequency, as if one more text held everything."""
    return np.asarray(np.log((1 + texts) / (1 + frequency)) + 1, dtype=np.float64)


def _score(counts: Any, blocks: _Whole, fitted: tuple[_Floats, _Floats, float]) -> _Floats:
    idf, weights, bias = fitted
    return np.asarray(_weighed(counts, blocks, idf) @ weights + bias, dtype=np.float64)


def _platt(scores: _Floats, harm: _Floats, votes: _Floats) -> tuple[float, float]:
    """Slope and offset of the votes' likeliest logistic curve, by Newton's method; Platt's two made-up votes keep it finite.

    Where scores say nothing, or the wrong way round, the slope is 0 and everything gets the common share.
    """
    above = harm + 1 / len(harm)
    total = votes + 2 / len(harm)
    centre, spread = float(scores.mean()), float(scores.std()) or 1.0
    x = np.column_stack([(scores - centre) / spread, np.ones_like(scores)])
    share = above.sum() / total.sum()
    level = float(np.log(share / (1 - share)))
    found = np.asarray([0.0, level])
    for _ in range(100):
        p = expit(x @ found)
        slope = x.T @ (above - total * p) - np.asarray([1e-6 * found[0], 0.0])
        curve = (x * (total * p * (1 - p))[:, None]).T @ x + np.diag([1e-6, 1e-12])
        step = np.linalg.solve(curve, slope)
        found = found + step * min(1.0, 4.0 / max(float(np.abs(step).max()), 1e-12))
        if float(np.abs(step).max()) < 1e-12:
            break
    if found[0] <= 0:
        return 0.0, level
    return float(found[0] / spread), float(found[1] - found[0] * centre / spread)


# ------------------------------------------------------------------------ features


def _counts(prompts: Sequence[str], answers: Sequence[str]) -> Any:
    """How often each hashed feature stands in each text: (n, 4 * WIDTH), sparse.

    Blocks: the answer's words and letters, the prompt's words, pairs of both.
    """
    prompts, answers = [text[-LONGEST:] for text in prompts], [text[:LONGEST] for text in answers]

    def hashed(kind: Any, ngrams: tuple[int, int], texts: Sequence[Any]) -> Any:
        return HashingVectorizer(
            analyzer=kind,
            ngram_range=ngrams,
            token_pattern=r"\w+",  # nosec B106 # words of a text, no password
            n_features=WIDTH,
            alternate_sign=False,
            norm=None,
        ).transform(texts)

    pairs = hashed(_pairs, (1, 1), list(zip(prompts, answers, strict=True)))
    blocks = [hashed("word", (1, 2), answers), hashed("char_wb", (2, 4), answers), hashed("word", (1, 2), prompts), pairs]
    made = sparse.hstack(blocks, format="csr", dtype=np.float64)
    made.sort_indices()
    return made


def _pairs(texts: tuple[str, str]) -> list[str]:
    before, after = (_WORD.findall(text.lower()) for text in texts)
    return [f"{one} {other}" for one in dict.fromkeys(before[-PAIRED:]) for other in dict.fromkeys(after[:PAIRED])]


def _weighed(counts: Any, blocks: _Whole, idf: _Floats) -> Any:
    """(1 + log count) * idf, each block of a text brought to length 1; `blocks` says to which block a column belongs."""
    made = counts.copy()
    made.data = (1 + np.log(made.data)) * idf[made.indices]
    n = made.shape[0]
    row = np.repeat(np.arange(n), np.diff(made.indptr))
    block = row * 4 + blocks[made.indices]
    lengths = np.sqrt(np.bincount(block, made.data**2, minlength=4 * n))
    made.data /= lengths[block]
    return made
