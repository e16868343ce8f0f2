"""Claims about the file of one's own data: all that is kept under one's names, readable, and nothing of anybody else."""

import csv
import json
from datetime import timedelta
from pathlib import Path

from flagback.review_app import own_data
from flagback.review_app.installation import Installation, open_installation
from flagback.review_app.settings import Settings
from flagback.storage import accounts, background, consent, practice, set_aside, wellbeing, work
from flagback.storage.background import Answered
from flagback.storage.generations import NewGeneration, add_generations
from flagback.storage.items import make_items
from flagback.storage.prompts import NewPrompt, add_prompts
from flagback.storage.pseudonyms import pseudonym
from flagback.storage.records import now
from flagback.storage.store import Store
from tests.fresh import migrate
from tests.panel_of_two_groups import vote
from tests.people import person


def test_one_file_holds_everything_of_one_person_and_nothing_of_another(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    migrate(Store(settings.records_url))
    here = open_installation(settings)
    with here.store.writing() as session:
        ada, bob = person(session, "ada"), person(session, "bob")
        accounts.open_session(session, ada.id, now=now(), for_=timedelta(hours=1))
        background.set_answers(session, here.pseudonym_key, ada.id, {"gender": Answered(["woman"], None)}, now=now())
        background.set_answers(session, here.pseudonym_key, bob.id, {"gender": Answered(["man"], None)}, now=now())
        consent.set_consent(session, ada.id, {"training": True}, now=now())
        wellbeing.decline(session, ada.id, ["target:age"], now=now())
        work.add(session, pseudonym(here.pseudonym_key, ada.id, "work"), seconds=90.0, now=now())
        prompts = add_prompts(session, [NewPrompt([{"role": "user", "content": "Ada asked"}], "en")]).ids
        [made] = add_generations(session, [NewGeneration(prompts[0], "=1+1 was late.", "end", "imported", "import:x")])
        make_items(session, [made], purpose="loop", reviews_per_item=3, seed=0)
        way = practice.begin(session, here.reviewer(ada), read=["en"], now=now())
        assert way is not None
        own, moment = here.reviewer(ada), now()
        practice.say(session, own, round_id=way.round_id, position=0, verdict="flag", categories=["refusal"], now=moment)
        theirs = practice.begin(session, here.reviewer(bob), read=["es"], now=now())
        assert theirs is not None
    vote(here.store, here.reviewer(ada), made, flag=True, note="my own note", rewrite="=1+1 was early.")
    vote(here.store, here.reviewer(bob), made, flag=True, note="a secret of bob")
    with here.store.writing() as session:
        set_aside.add(session, "pause", reviewer=here.reviewer(ada), reason="a reason of lea", by="lea", now=now())
    folder = tmp_path / "out"
    folder.mkdir()
    own_data.write(here, ada, folder)

    assert {path.name for path in folder.iterdir()} == {"README.txt", "answers.csv", "hours.csv", "my-data.json"}
    kept = json.loads((folder / "my-data.json").read_text(encoding="utf-8"))
    [answer] = kept["answers"]
    assert (answer["verdict"], answer["note"], answer["rewrite"]) == ("flag", "my own note", "=1+1 was early.")
    assert (answer["texts"], answer["messages"][0]["content"]) == (["=1+1 was late."], "Ada asked")
    assert answer["what_became_of_it"]["state"] == "moved_on"
    assert kept["background"]["gender"]["answers"] == ["woman"]
    assert kept["declined_topics"] == ["target:age"]
    assert {row["purpose"] for row in kept["consents"]} == {"review", "training"}
    assert (kept["hours"][0]["answers"], kept["hours"][0]["seconds"]) == (1, 90.0)
    assert [row["kind"] for row in kept["set_aside"]] == ["pause"]
    [round_] = kept["practice"]
    assert (round_["lang"], round_["finished"], len(round_["said"])) == ("en", False, 1)
    assert (round_["said"][0]["answer"], round_["said"][0]["categories"]) == (way.items[0].answer, ["refusal"])
    assert len(kept["signed_in"]) == len(kept["handed_out"]) == 1
    with (folder / "answers.csv").open(encoding="utf-8-sig", newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["decision"], row["what_is_wrong"], row["text"]) == ("Flagged", "Stereotype", "'=1+1 was late.")
    everything = "".join(path.read_text(encoding="utf-8") for path in folder.iterdir())
    for foreign in ("secret of bob", "bob", "reason of lea", 'lea"', *_names(here, ada.id), *_names(here, bob.id)):
        assert foreign not in everything, foreign
    assert ada.password_hash is not None
    assert ada.password_hash not in everything
    here.store.close()


def _names(here: Installation, account_id: int) -> list[str]:
    """The pseudonyms of a person."""
    key = here.pseudonym_key
    return [pseudonym(key, account_id), *(pseudonym(key, account_id, kind) for kind in ("background", "work", "browser"))]
