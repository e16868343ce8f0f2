"""Finds a suite's data: a file or folder here, or a data set on the hub, which is fetched once.

Knows the hub's ways of refusing; knows nothing of what is in the files. No code of a data set is ever run: only the files that a
suite reads are fetched.
"""

import re
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

from flagback.model.directory import quiet

#: "organisation/name", with "@revision" and with ":path/in/it" where they are meant.
HUB_ID = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?(:(?P<file>[\w./-]+))?")


class NoSuchData(Exception):
    """The data are neither here nor on the hub."""


class UnclearData(Exception):
    """A data set on the hub has no file that the suite reads, or several."""


def located(
    data: str, patterns: Sequence[str], *, together: bool = False, cache: Path | None = None, endpoint: str | None = None
) -> Path:
    """The file or folder of `data`. Raises NoSuchData or UnclearData.

    Of a data set on the hub: the one file that is named or fits a pattern, or the folder that holds one of each pattern;
    `together`: the folder of all files that fit.
    """
    path = Path(data).expanduser()
    if path.exists():
        return path
    named = HUB_ID.fullmatch(data)
    if named is None:
        raise NoSuchData(f"{data} is neither a file or folder here nor a data set of the hub (organisation/name); check the path.")
    folder = _fetched(named["name"], named["revision"], [named["file"]] if named["file"] else patterns, cache, endpoint)
    if named["file"]:
        if not (folder / named["file"]).is_file():
            raise UnclearData(f"The data set {named['name']} has no file {named['file']}; check its list of files on the hub.")
        return folder / named["file"]
    found = sorted(file for file in folder.rglob("*") if file.is_file() and any(fnmatch(file.name, one) for one in patterns))
    if len(found) == 1:
        return found[0]
    folders = {file.parent for file in found}
    whole = len(patterns) > 1 and all(any(fnmatch(file.name, one) for file in found) for one in patterns)
    if len(folders) == 1 and (whole or together):
        return folders.pop()
    listed = ", ".join(file.relative_to(folder).as_posix() for file in found[:8]) or "none"
    raise UnclearData(
        f"Of the data set {named['name']} these files could be meant: {listed}; name one with --data {named['name']}:FILE "
        f"(expected {' and '.join(patterns)})."
    )


def _fetched(name: str, revision: str | None, patterns: Sequence[str], cache: Path | None, endpoint: str | None) -> Path:
    """The folder with the files of a data set that fit."""
    with quiet():
        try:
            return Path(
                snapshot_download(
                    name,
                    repo_type="dataset",
                    revision=revision,
                    cache_dir=cache,
                    allow_patterns=[*patterns, *(f"**/{pattern}" for pattern in patterns)],
                    endpoint=endpoint,
                )
            )
        except (RepositoryNotFoundError, HFValidationError) as error:
            raise NoSuchData(
                f"{name} is nothing here, and the hub knows no data set of that name (or hides it from you); check the spelling."
            ) from error
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            raise NoSuchData(
                f"{name} is nothing here, and the hub does not answer ({type(error).__name__}). On a machine with a connection run "
                f"'hf download --repo-type dataset {name} --local-dir FOLDER', bring the folder here, and name it with --data."
            ) from error
