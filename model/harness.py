"""lm-evaluation-harness through its own command line: hands it a version as a plain folder, bounded in time, without a shell.

Knows processes and folders; what the harness writes is read by `suites.harness`. The harness is no dependency: it is a program of
its own, best in an environment of its own.
"""

import os
import shlex
import shutil
import signal
import subprocess  # nosec B404 # a command that the person at the command line gave
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from flagback.model.checkpoint import Loaded
from flagback.model.directory import quiet
from flagback.model.suites.harness import Results, read_results

#: {model}, {tasks} and {output} are filled in, in each argument.
COMMAND = "lm_eval --model hf --model_args pretrained={model} --tasks {tasks} --output_path {output} --log_samples --device cpu"
#: Seconds.
TIME_LIMIT = 3600
#: Lines of what a failed command said that are shown.
LAST_LINES = 20


class BadCommand(ValueError):
    """A command that cannot be started as it is written."""


class NoCommand(Exception):
    """The command's program is not there."""


class HarnessFailed(Exception):
    """The command ended with an error, or did not end in time."""


def words_of(command: str, *, model: Path, tasks: str, output: Path) -> list[str]:
    """The command's words with what is filled in. A value is part of one word, whatever stands in it. Raises BadCommand."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise BadCommand(f"--harness {command!r} cannot be taken apart ({error}); expected a program and its arguments.") from error
    absent = [place for place in ("{model}", "{output}") if place not in command]
    if not words or absent:
        raise BadCommand(f"--harness {command!r} has no {' and no '.join(absent) or 'program'}; expected such as {COMMAND!r}.")
    filled = {"{model}": str(model), "{tasks}": tasks, "{output}": str(output)}
    for place, value in filled.items():
        words = [word.replace(place, value) for word in words]
    return words


def run(
    loaded: Loaded, tasks: str, *, command: str = COMMAND, time_limit: float = TIME_LIMIT, environment: Mapping[str, str]
) -> Results:
    """Writes the model down in a temporary folder of its owner's alone, runs the command on it, and reads what it wrote.

    Nothing stays. Raises BadCommand, NoCommand, HarnessFailed, NoResults or BadImport.
    """
    with tempfile.TemporaryDirectory(prefix="flagback-harness-") as name:
        folder = Path(name)
        model, output = folder / "model", folder / "output"
        words = words_of(command, model=model, tasks=tasks, output=output)
        program = shutil.which(words[0], path=environment.get("PATH"))
        if program is None:
            raise NoCommand(
                f"There is no program {words[0]!r} on the PATH. lm-evaluation-harness goes into an environment of its own: "
                "python3 -m venv DIR && DIR/bin/pip install 'lm_eval[hf]==0.4.13'; then name it: "
                f"--harness 'DIR/bin/{COMMAND}'."
            )
        with quiet():
            loaded.model.save_pretrained(model)
            loaded.tokenizer.save_pretrained(model)
        output.mkdir()
        _run([program, *words[1:]], folder / "said", time_limit, environment)
        return read_results(output)


def _run(words: Sequence[str], said: Path, time_limit: float, environment: Mapping[str, str]) -> None:
    """Runs the words in a process group of their own, which ends with the call, whatever it started."""
    with said.open("wb") as file:
        process = subprocess.Popen(  # nosec B603 # words without a shell
            list(words), stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=dict(environment), start_new_session=True
        )
        try:
            code = process.wait(timeout=time_limit)
        except subprocess.TimeoutExpired:
            raise HarnessFailed(
                f"{words[0]} did not end within {time_limit:g} s and was stopped; give it fewer tasks, --limit N in --harness, or "
                f"a longer --time-limit. It said last:\n{_last(said)}"
            ) from None
        finally:
            _end(process)
    if code:
        raise HarnessFailed(f"{words[0]} ended with {code}. It said last:\n{_last(said)}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends what is left of the group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        process.wait()


def _last(said: Path) -> str:
    """The last lines of what was said; of a progress bar, which writes over itself, what it said last."""
    lines = [line.rsplit("\r", 1)[-1] for line in said.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return "\n".join(lines[-LAST_LINES:]) or "(nothing)"
