"""Claims about the command line: quick to answer, one message for an error, JSON where it reports, nothing half-stored."""

import json
import os
import re
import subprocess
import sys
from functools import partial
from inspect import signature
from pathlib import Path
from typing import get_args

import pytest
from sqlmodel import col, select

from flagback.model.recipe import Recipe
from flagback.review_app import jobs, reference
from flagback.review_app.commands import correct, files, people
from flagback.review_app.settings import Settings
from flagback.storage import accounts, records
from flagback.storage.store import Store
from tests.command_line import Run, Said, run_command

ROOT = Path(__file__).parent.parent


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder that does not exist yet."""
    return tmp_path / "home"


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in the home."""
    return partial(run_command, capsys, home)


@pytest.fixture
def store(run: Run, home: Path) -> Store:
    """The records of a migrated home, with one model version."""
    assert run("migrate").code == 0
    opened = Store(Settings(home=home).records_url)
    with opened.writing() as session:
        session.add(
            records.ModelVersion(kind="base", state="current", name="none", location="none", template="plain", fingerprint="0")
        )
    return opened


def prompts_file(folder: Path, lines: int = 30) -> Path:
    """A small prompt file."""
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"The neighbour number {n} said", "lang": "en"}) + "\n" for n in range(lines)))
    return path


# ------------------------------------------------------------------- in general


def test_help_answers_at_once_and_imports_nothing_slow() -> None:
    code = (
        "import sys\nfrom flagback.review_app import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass\n"
        "slow = {'torch', 'streamlit', 'sqlmodel', 'pydantic', 'dbos', 'pandas', 'rich'}\n"
        "print(sorted(slow & set(sys.modules)), file=sys.stderr)"
    )
    before = os.times()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "Usage: flagback" in done.stdout
    assert done.stderr.strip() == "[]"
    used = os.times()
    seconds = used.children_user + used.children_system - before.children_user - before.children_system
    assert seconds < 1.0, f"{seconds:.2f} s of processor time"


def test_the_reference_is_what_the_commands_say_of_themselves() -> None:
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == reference.reference(), "run 'make docs'"


def test_the_page_of_suites_is_what_the_suites_say_of_themselves() -> None:
    assert (ROOT / "docs" / "suites.md").read_text(encoding="utf-8") == reference.suites(), "run 'make docs'"


def test_every_command_of_the_loop_is_there() -> None:
    page = reference.reference()
    for words in (
        "demo",
        "serve",
        "worker",
        "migrate",
        "account create",
        "account disconnect",
        "account list",
        "account passwd",
        "account disconnect",
        "model add",
        "embedded build",
        "sample",
        "correct",
        "evaluate",
        "promote",
        "rollback",
        "import prompts",
        "import preferences",
        "import texts",
        "export reviews",
        "export pairs",
        "rehearse",
        "prompts",
        "reviews",
        "runs",
        "versions",
        "suites",
    ):
        assert f"# flagback {words}\n" in page


def test_words_written_out_for_speed_are_those_of_the_records() -> None:
    assert get_args(people.Role) == get_args(records.Role)
    assert get_args(files.TextPurpose) == get_args(records.TextPurpose)


def test_the_defaults_that_help_names_are_those_of_the_recipe() -> None:
    options = signature(correct.correct, eval_str=True).parameters
    for name in ("steps", "learning_rate", "beta", "rank", "replay_weight", "loss", "label_noise", "anchor_weight"):
        option = options[name].annotation.__metadata__[0]
        assert option.show_default == str(getattr(Recipe(), name)), name


def test_an_error_of_ours_is_one_message_with_the_next_step(run: Run) -> None:
    said = run("versions")
    assert said == Said(1, "", said.err)
    assert "flagback migrate" in said.err
    assert "Traceback" not in said.err


def test_an_unexpected_error_is_kept_under_a_number(run: Run, home: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("nobody thought of this")

    store.close()
    monkeypatch.setattr("flagback.review_app.home.open_records", broken)
    said = run("versions")
    assert said.code == 1
    number = said.err.split("error ")[1].split()[0]
    kept = (home / "logs" / "errors.log").read_text()
    assert f"error {number}," in kept
    assert "Traceback" in kept
    assert "Traceback" not in said.err
    with pytest.raises(KeyError, match="nobody thought"):
        run("--debug", "versions")


@pytest.mark.parametrize(
    "words", [["sample", "--k", "0"], ["nonsense"], ["promote", "one"], ["account", "create", "a", "--role", "king"]]
)
def test_a_wrong_call_is_told_apart_from_an_error(run: Run, words: list[str]) -> None:
    said = run(*words)
    assert said.code == 2
    assert "Usage:" in said.err


def test_a_setting_that_cannot_be_used_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAGBACK_PORT", "http")
    said = run("versions")
    assert said.code == 1
    assert "port is 'http'" in said.err
    assert "FLAGBACK_PORT" in said.err


# -------------------------------------------------------------- home and accounts


def test_migrate_makes_the_records_and_says_so_again(run: Run, home: Path) -> None:
    first = run("migrate", "--json").json
    assert first["before"] is None
    assert run("migrate", "--json").json == {"records": first["records"], "before": first["after"], "after": first["after"]}
    assert [path.name for path in home.iterdir()] == ["flagback.db"]


def test_stepping_back_asks_first(run: Run, store: Store) -> None:
    store.close()
    assert run("migrate", "--to", "base", stdin="n\n").code == 1
    assert run("versions").code == 0
    assert run("migrate", "--to", "base", "--yes").code == 0
    assert "flagback migrate" in run("versions").err


def test_a_home_of_a_newer_flagback_is_left_alone(run: Run, store: Store) -> None:
    with store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    store.close()
    for words in (["migrate"], ["versions"], ["serve"], ["worker"], ["demo"]):
        said = run(*words)
        assert said.code == 1, words
        assert "9999" in said.err
        assert "newer" in said.err


def test_a_home_that_cannot_be_made_is_named(run: Run, home: Path) -> None:
    home.write_text("a file where the folder should be")
    said = run("migrate")
    assert said.code == 1
    assert str(home) in said.err


def test_accounts_are_made_listed_changed_and_shut(run: Run, store: Store) -> None:
    assert run("account", "create", "Ada", "--role", "maintainer", "--password-stdin", stdin="first password\n").code == 0
    taken = run("account", "create", "ada", "--password-stdin", stdin="other password\n")
    assert (taken.code, "taken" in taken.err) == (1, True)
    [row] = run("account", "list", "--json").json
    assert (row["login"], row["role"], row["state"]) == ("ada", "maintainer", "active")
    assert run("account", "passwd", "ada", "--password-stdin", stdin="second password\n").code == 0
    with store.reading() as session:
        assert accounts.verify(session, "ada", "first password") is None
        assert accounts.verify(session, "ada", "second password") is not None
    assert run("account", "disable", "ada").code == 0
    assert run("account", "list", "--json").json[0]["state"] == "disabled"
    assert run("account", "enable", "ada").code == 0
    unknown = run("account", "passwd", "eve", "--password-stdin", stdin="some password\n")
    assert "no account 'eve'" in unknown.err


def test_a_short_password_and_a_missing_terminal_are_refused(run: Run, store: Store) -> None:
    assert "expected 8" in run("account", "create", "ada", "--password-stdin", stdin="short\n").err
    assert "--password-stdin" in run("account", "create", "ada").err
    with store.reading() as session:
        assert session.exec(select(records.Account)).all() == []


# ----------------------------------------------------------------------- the loop


def test_prompts_come_in_are_listed_and_asked_for(run: Run, store: Store, tmp_path: Path) -> None:
    run("account", "create", "ada", "--role", "maintainer", "--password-stdin", stdin="correct horse\n")
    report = run("import", "prompts", str(prompts_file(tmp_path)), "--source", "made up", "--as", "ada", "--json").json
    assert (report["rows"], report["added"], report["duplicates"]) == (30, 30, 0)
    listed = run("prompts", "--limit", "5", "--json").json
    assert listed["total"] == 30
    assert len(listed["prompts"]) == 5
    assert listed["prompts"][0]["tags"]["source"] == "made up"
    asked = run("sample", "--prompts", "10", "--k", "2", "--seed", "7", "--no-wait", "--as", "ada", "--json").json
    assert asked["run"] == "sampling-1"
    with store.reading() as session:
        row = session.get_one(records.SamplingRun, 1)
    assert (row.state, row.asked_by, len(row.prompt_ids), row.decoding["k"], row.decoding["seed"]) == ("waiting", "ada", 10, 2, 7)
    assert [row["run"] for row in run("runs", "--json").json["runs"]] == ["sampling-1"]


def test_a_broken_line_is_named_and_nothing_of_its_file_is_kept(run: Run, store: Store, tmp_path: Path) -> None:
    path = prompts_file(tmp_path, 2000)
    lines = path.read_text().splitlines(keepends=True)
    lines[1206] = '{"prompt": \n'
    path.write_text("".join(lines))
    said = run("import", "prompts", str(path))
    assert said.code == 1
    assert "line 1207" in said.err
    with store.reading() as session:
        assert session.exec(select(records.Prompt)).all() == []


LOG = [{"prompt": f"Asked {n}", "answer": f"Said {n}", "user_id": "u"} for n in range(5)]
LOG.append({"prompt": "Mail?", "answer": "a@b.example"})
AGREED = "Users agreed that answers are read by reviewers."


@pytest.mark.usefixtures("store")
def test_logged_answers_are_looked_at_taken_in_listed_and_taken_back(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in LOG), encoding="utf-8")
    words = ["import", "outputs", str(path), "--name", "november", "--consent", AGREED, "--review", "2"]
    looked = run(*words, "--check")
    assert looked.code == 0, looked.err
    assert "5 added to november, 0 were there already, 1 refused; 2 drawn" in looked.out
    assert "Refused: 1, it holds something like an e-mail address." in looked.out
    assert "a@b.example" not in looked.out
    assert "Not taken in: the columns user_id." in looked.out
    assert "nothing was stored" in looked.out
    assert run("outputs", "list", "--json").json == []
    report = run(*words, "--json").json
    assert (report["added"], report["drawn"], report["checked_only"]) == (5, 2, False)
    assert run(*words, "--json").json["duplicates"] == 5
    kept = run(*words[:3], "--name", "other", "--consent", AGREED, "--keep-contacts", "--reviews-per-item", "1", "--json").json
    assert (kept["added"], kept["drawn"]) == (6, 0)
    found = {row["batch"]: row for row in run("outputs", "list", "--json").json}
    assert (found["november"]["answers"], found["november"]["drawn"], found["november"]["waiting"]) == (5, 2, 6)
    assert found["november"]["consent"] == AGREED
    assert "november" in run("outputs", "list").out
    refused = run("outputs", "withdraw-batch", "november", stdin="n\n")
    assert (refused.code, run("outputs", "list", "--json").json[1]["waiting"]) == (1, 6)
    assert run("outputs", "withdraw-batch", "november", stdin="y\n").code == 0
    assert run("outputs", "list", "--json").json[1]["waiting"] == 0
    assert "Refused" not in refused.out


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--name", "november"], 2, "--consent"),
        (["--consent", AGREED], 2, "--name"),
        (["--name", "november", "--consent", "ok"], 1, "Nothing was stored; declare it"),
        (["--name", "a b", "--consent", AGREED], 1, "Nothing was stored; choose another name"),
        (["--name", "november", "--consent", AGREED, "--review", "-1"], 2, "--review"),
    ],
    ids=str,
)
def test_logged_answers_need_a_name_and_words_of_consent(
    run: Run, store: Store, tmp_path: Path, more: list[str], code: int, said: str
) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps(LOG[0]), encoding="utf-8")
    refused = run("import", "outputs", str(path), *more)
    assert (refused.code, said in refused.err) == (code, True), refused.err
    with store.reading() as session:
        assert session.exec(select(records.Prompt)).all() == []


@pytest.mark.usefixtures("store")
def test_a_key_is_printed_once_and_listed_without_its_secret(run: Run) -> None:
    made = run("outputs", "key", "create", "chat", "--json").json
    assert made["key"].startswith("fbk_")
    assert made["address"].endswith("/api/v1/outputs")
    assert made["key"] not in run("outputs", "key", "list").out + run("outputs", "key", "list", "--json").out
    assert run("outputs", "key", "withdraw", "chat", stdin="n\n").code == 1
    assert run("outputs", "key", "list", "--json").json[0]["ended_at"] is None
    assert run("outputs", "key", "withdraw", "chat", stdin="y\n").code == 0
    assert run("outputs", "key", "list", "--json").json[0]["ended_at"] is not None


def test_a_run_is_stopped_by_its_name_or_its_number(run: Run, store: Store, tmp_path: Path) -> None:
    run("import", "prompts", str(prompts_file(tmp_path)))
    for _ in range(2):
        assert run("sample", "--no-wait").code == 0
    assert run("runs", "--cancel", "sampling-1").code == 0
    assert run("runs", "--cancel", "2", "--json").json == {"cancelled": "sampling-2"}
    unknown = run("runs", "--cancel", "3")
    assert (unknown.code, "'3' names no run" in unknown.err) == (1, True)
    with store.reading() as session:
        assert jobs.open_requests(session) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sample"], "flagback import prompts"),
        (["correct"], "no pair"),
        (["correct", "--set", "4"], "no preference set 4"),
        (["correct", "--learning-rate", "-1"], "learning_rate"),
        (["evaluate"], "flagback correct"),
        (["evaluate", "1"], "is a base"),
        (["promote", "9", "--as", "max"], "no version 9"),
        (["promote", "9", "--as", "ada"], "ada is reviewer"),
        (["promote", "9", "--as", "eve"], "no account 'eve'"),
        (["promote", "1", "--override", "because"], "--as ACCOUNT"),
        (["rollback", "--reason", "regret", "--as", "max"], "first of its line"),
        (["rollback", "--reason", "regret"], "--as ACCOUNT (max)"),
        (["export", "pairs", "out"], "set"),
        (["export", "reviews", "out"], "review"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words_and_nothing_is_stored(
    run: Run, store: Store, words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for login, role in (("max", "maintainer"), ("ada", "reviewer")):
        run("account", "create", login, "--role", role, "--password-stdin", stdin="correct horse\n")
    said = run(*words)
    assert said.code == 1
    assert message in said.err
    assert "Traceback" not in said.err
    with store.reading() as session:
        assert jobs.open_requests(session) == []
    assert not (tmp_path / "out").exists()


def test_empty_lists_say_what_comes_first(run: Run) -> None:
    run("migrate")
    for noun, onward in (
        ("prompts", "import prompts"),
        ("reviews", "flagback serve"),
        ("runs", "flagback sample"),
        ("versions", "model add"),
    ):
        assert onward in run(noun).out
        assert run(noun, "--json").json == {noun: [], "total": 0}


# ------------------------------------------------------------- whose act it is, and the log of it


def people_of(store: Store) -> None:
    """One administrator, one maintainer, one administrator who was shut out."""
    roles: list[tuple[str, records.Role]] = [("root", "administrator"), ("max", "maintainer"), ("gone", "administrator")]
    with store.writing() as session:
        for login, role in roles:
            accounts.create(session, login, "correct horse", role)
        accounts.set_disabled(session, "gone", disabled=True, now=records.now(), by="test")


#: Every command that changes who may do what, with what it leaves in the log; {home} is a folder with form.json.
ADMINISTRATIVE: list[tuple[list[str], str]] = [
    (["account", "create", "new", "--password-stdin"], "account made"),
    (["account", "passwd", "max", "--password-stdin"], "password set"),
    (["account", "role", "max", "auditor"], "role changed"),
    (["account", "disable", "max"], "account shut out"),
    (["account", "enable", "max"], "account let in again"),
    (["account", "sign-out", "max"], "signed out everywhere"),
    (["account", "link", "max"], "reset link made"),
    (["invite"], "invitation made"),
    (["pool", "create", "team"], "pool made"),
    (["background", "set", "{home}/form.json"], "background questions set"),
    (["outputs", "key", "create", "chat"], "output key made"),
    (["outputs", "key", "withdraw", "chat", "--yes"], "output key withdrawn"),
]


def test_every_administrative_act_is_in_the_log_under_a_name_and_holds_no_secret(run: Run, store: Store, home: Path) -> None:
    people_of(store)
    (home / "form.json").write_text('[{"code": "q", "question": "Which?", "options": [{"code": "a", "words": "A"}]}]')
    printed = ""
    for words, action in ADMINISTRATIVE:
        done = run(*(word.format(home=home) for word in words), "--as", "Root", stdin="a new password\n")
        assert done.code == 0, done.err
        printed += done.out
        with store.reading() as session:
            last = session.exec(select(records.AuditEntry).order_by(col(records.AuditEntry.id).desc())).first()
        assert last is not None
        assert (last.actor, last.action) == ("root", action)
    codes = re.findall(r"/join/(\S+)", printed) + re.findall(r"^fbk_\S+", printed, re.MULTILINE)
    assert len(codes) == 3
    with store.reading() as session:
        log = " ".join(str(entry.model_dump()) for entry in session.exec(select(records.AuditEntry)).all())
    for secret in (*codes, "a new password"):
        assert secret not in log


@pytest.mark.parametrize(
    "words", [words for words, _ in ADMINISTRATIVE] + [["account", "disconnect", "max"], ["hours"]], ids=" ".join
)
def test_nobody_administers_under_a_name_that_may_not(run: Run, store: Store, home: Path, words: list[str]) -> None:
    people_of(store)
    (home / "form.json").write_text("[]")
    before = counted(store)
    for name, said in (("nobody", "no account 'nobody'"), ("max", "max is maintainer"), ("gone", "gone is shut out")):
        refused = run(*(word.format(home=home) for word in words), "--as", name, stdin="a new password\n")
        assert refused.code == 1
        assert said in refused.err
        assert "flagback account" in refused.err, "the next command"
    assert counted(store) == before


def counted(store: Store) -> list[int]:
    """Rows of what administrators change."""
    with store.reading() as session:
        tables = (records.Account, records.Invitation, records.Pool, records.AuditEntry, records.BackgroundForm, records.OutputKey)
        return [len(session.exec(select(table)).all()) for table in tables]


def test_without_a_name_it_is_this_machines_user_and_in_a_demo_never_the_demos_maintainer(run: Run, store: Store) -> None:
    with store.writing() as session:
        accounts.create(session, "maintainer", "correct horse", "maintainer", demo=True)
    assert run("invite").code == 0
    with store.reading() as session:
        assert session.exec(select(records.AuditEntry.actor)).one().endswith("(command line)")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["invite", "--role", "lead", "--uses", "2"], "only reviewers share a link"),
        (["invite", "--pool", "nope"], "flagback pool list"),
        (["invite", "--pool", "bad\udcff"], "flagback pool list"),
        (["pool", "create", "study", "--anonymous"], "needs --answers and --completion-code"),
        (["pool", "create", "study", "--anonymous", "--answers", "3", "--completion-code", ""], "completion code ''"),
        (["account", "link", "gone"], "flagback account enable gone"),
        (["account", "disable", "root"], "make another one first"),
        (["hours", "--since", "last week"], "flagback hours --since 2026-W47"),
        (["outputs", "key", "create", "a b"], "expected 1 to 64 letters"),
        (["outputs", "key", "withdraw", "nope", "--yes"], "flagback outputs key list"),
        (["outputs", "withdraw-batch", "nope", "--yes"], "flagback outputs list"),
    ],
    ids=lambda given: " ".join(given).encode("ascii", "replace").decode() if isinstance(given, list) else "",
)
def test_what_cannot_be_administered_is_refused_in_words(run: Run, store: Store, words: list[str], said: str) -> None:
    people_of(store)
    refused = run(*words)
    assert refused.code == 1
    assert said in refused.err
    assert "Traceback" not in refused.err
