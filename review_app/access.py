"""Who may go where: every page and every route with the roles it answers to. The one table; what is not in it does not exist.

`guard` applies it to each request and websocket, `app` builds the navigation from it, docs/access.md is written from it, and a test
walks the whole application against it.
"""

import re
from functools import cache
from typing import Literal, NamedTuple, get_args

from flagback.review_app import words
from flagback.storage.records import Role

ROLES: tuple[Role, ...] = get_args(Role)
#: Roles whose screen is the review board. The others judge figures, not answers.
REVIEWING_ROLES: frozenset[Role] = frozenset({"reviewer", "lead"})
#: Roles that see and steer the loop.
STEERING_ROLES: frozenset[Role] = frozenset({"maintainer", "administrator"})
#: Roles that answer for the panel: who pauses, sets aside and adjudicates.
LEADING_ROLES: frozenset[Role] = STEERING_ROLES | {"lead"}
#: Everyone who is signed in.
SIGNED_IN: frozenset[Role] = frozenset(ROLES)
ADMINISTRATORS: frozenset[Role] = frozenset({"administrator"})
#: Roles that see totals of the panel.
OVERSEEING_ROLES: frozenset[Role] = frozenset({"lead", "maintainer", "auditor", "administrator"})

#: Roles that read figures and the texts behind them.
EVIDENCE_ROLES: frozenset[Role] = STEERING_ROLES | {"auditor"}

Kind = Literal["page", "form", "api", "file", "socket"]
#: Longest body of a request, bytes; Streamlit's upload route has its own limit (server.maxUploadSize).
LONGEST_BODY = 512 * 1024
#: A thousand logged answers of eight thousand bytes.
LONGEST_OUTPUTS = 8 * 1024 * 1024


def role_name(role: str) -> str:
    """What a role is called in the language of who reads."""
    return words.stored("role", role)


def a_role(role: str) -> str:
    """ "a reviewer", "an auditor": one who has the role."""
    return words.stored("one with the role", f"an {role}" if role[0] == "a" else f"a {role}")


class Listed(NamedTuple):
    """One page of the application."""

    roles: frozenset[Role]
    #: Module with `show(installation, account)`, imported when the page is opened.
    module: str
    title: str
    #: The address, without the slash.
    url_path: str
    what: str
    #: Pages of one section share a line in the navigation, under the section's name; the first of them opens.
    section: str = ""

    @property
    def name(self) -> str:
        """The title in the language of who reads."""
        return words.stored("page", self.title)

    @property
    def section_name(self) -> str:
        """The section in the language of who reads."""
        return words.stored("page", self.section)


#: To add a page, write its module and a line here. "/" leads to a role's first line.
PAGES: tuple[Listed, ...] = (
    Listed(REVIEWING_ROLES, "flagback.review_app.screens.review", "Review", "review", "the review board"),
    Listed(STEERING_ROLES, "flagback.review_app.screens.loop", "The loop", "loop", "where the loop stands, and what to do next"),
    Listed(STEERING_ROLES, "flagback.review_app.screens.corrections", "Corrections", "corrections", "start and watch corrections"),
    Listed(STEERING_ROLES, "flagback.review_app.screens.versions", "Versions", "versions", "promote and roll back"),
    *(
        Listed(EVIDENCE_ROLES, f"flagback.review_app.screens.{module}", title, module, what, "Evidence")
        for module, title, what in (
            ("history", "History", "figures by version and by week"),
            ("figures", "One version", "what one version does, for whom"),
            ("compare", "Two versions", "two versions on the same prompts and tests"),
            ("groups", "Groups", "what each group was dealt, version by version"),
            ("agreement", "Agreement", "how far people agree, within and across groups of them"),
            ("patterns", "Patterns", "words that go with flags, whom the data speak of, the detector"),
        )
    ),
    *(
        Listed(roles, f"flagback.review_app.screens.{module}", title, module, what, "Panel")
        for roles, module, title, what in (
            (OVERSEEING_ROLES, "panel", "Panel", "who reviews, what waits for them and what they met: totals only"),
            (LEADING_ROLES, "contested", "Contested", "answers that people differ on, and what leads conclude"),
            (LEADING_ROLES, "reviewers", "Reviewers", "how reviewers work, by pseudonym; pause and leave out"),
        )
    ),
    Listed(
        LEADING_ROLES,
        "flagback.review_app.screens.care",
        "Care",
        "care",
        "what reviewers are told and spared, and texts taken away",
    ),
    *(
        Listed(LEADING_ROLES, f"flagback.review_app.screens.{module}", title, module, what, "Guidance")
        for module, title, what in (
            ("guidelines", "Guidelines", "what reviewers read, version by version"),
            ("practice", "Practice", "made-up answers before the first real one"),
            ("checks", "Checks", "answers asked a second time: how often, and which ones"),
        )
    ),
    Listed(STEERING_ROLES, "flagback.review_app.screens.data", "Data", "data", "import and export"),
    Listed(ADMINISTRATORS, "flagback.review_app.screens.people", "People", "people", "accounts, invitations, pools, hours"),
    Listed(
        SIGNED_IN,
        "flagback.review_app.screens.you",
        "You",
        "you",
        "one's own day, consent, languages, background and sign-ins",
        "You",
    ),
    Listed(
        REVIEWING_ROLES,
        "flagback.review_app.screens.mine",
        "Your answers",
        "mine",
        "one's own answers and what became of them",
        "You",
    ),
)


class Rule(NamedTuple):
    """One address, by method."""

    #: "GET", "POST", ...; "WS" for a websocket.
    methods: frozenset[str]
    #: "{name}" stands for one segment, "{name:path}" for the rest.
    path: str
    #: None: also who is not signed in.
    roles: frozenset[Role] | None
    kind: Kind
    what: str
    #: Opened by the key of a program and by nothing else: no session, of whatever role, counts here.
    by_key: bool = False
    #: Longest body, bytes.
    longest: int = LONGEST_BODY


def _rule(methods: str, path: str, roles: frozenset[Role] | None, kind: Kind, what: str) -> Rule:
    return Rule(frozenset(methods.split()), path, roles, kind, what)


def _by_key(methods: str, path: str, what: str, *, longest: int) -> Rule:
    """No role opens it, so that whoever overlooks `by_key` denies."""
    return Rule(frozenset(methods.split()), path, frozenset(), "api", what, by_key=True, longest=longest)


RULES: tuple[Rule, ...] = (
    _rule("GET HEAD", "/", SIGNED_IN, "page", "leads to one's first page"),
    *(_rule("GET HEAD", f"/{page.url_path}", page.roles, "page", page.what) for page in PAGES),
    _rule("GET HEAD POST", "/signin", None, "form", "sign in"),
    _rule("GET HEAD POST", "/signout", SIGNED_IN, "form", "sign out"),
    _rule("GET HEAD POST", "/join/{code}", None, "form", "use an invitation, reset or first administrator's link"),
    _rule("GET HEAD", "/signin/oidc", None, "form", "go to the single sign-on"),
    _rule("GET HEAD POST", "/signin/oidc/connect", None, "form", "connect the single sign-on with one's account"),
    _rule("GET HEAD", "/auth/login", None, "form", "Streamlit: on the way to the single sign-on; 404 where there is none"),
    _rule("GET HEAD", "/oauth2callback", None, "form", "Streamlit: back from the single sign-on; 404 where there is none"),
    _rule("GET HEAD", "/healthz", None, "file", "whether web and database answer"),
    _rule("GET HEAD", "/look/{name}", None, "file", "style, typefaces and logo of our own pages"),
    _rule(
        "GET HEAD",
        "/downloads/{ticket}",
        SIGNED_IN,
        "file",
        "an export, the table behind a picture or one's own data, by who had it prepared",
    ),
    _rule("GET HEAD", "/api/v1/openapi.json", SIGNED_IN, "api", "description of the review API"),
    _rule("GET HEAD", "/api/v1/session", SIGNED_IN, "api", "whether the browser is still signed in"),
    _by_key("POST", "/api/v1/outputs", "logged answers of a model in use, for review", longest=LONGEST_OUTPUTS),
    _rule("POST", "/api/v1/claim", REVIEWING_ROLES, "api", "items to review"),
    _rule("POST", "/api/v1/answers", REVIEWING_ROLES, "api", "store an answer"),
    _rule("POST", "/api/v1/release", REVIEWING_ROLES, "api", "give items back"),
    _rule("GET HEAD", "/api/v1/today", REVIEWING_ROLES, "api", "one's own count of the day"),
    _rule("GET HEAD", "/api/v1/recent", REVIEWING_ROLES, "api", "one's own last answers"),
    _rule("GET HEAD", "/api/v1/guidelines", REVIEWING_ROLES, "api", "the guidelines, in a language one reads"),
    _rule("GET HEAD POST", "/api/v1/practice", REVIEWING_ROLES, "api", "one's own way through the practice"),
    _rule("POST", "/api/v1/practice/begin", REVIEWING_ROLES, "api", "begin the practice again"),
    _rule("POST", "/api/v1/practice/leave", REVIEWING_ROLES, "api", "leave a repeated practice"),
    _rule("WS", "/_stcore/stream", SIGNED_IN, "socket", "Streamlit: runs the pages; each run looks at session and role again"),
    _rule("GET HEAD", "/_stcore/health", None, "file", "Streamlit: whether it runs"),
    _rule("GET HEAD", "/_stcore/host-config", SIGNED_IN, "file", "Streamlit: options of its front end"),
    _rule("PUT DELETE", "/_stcore/upload_file/{session}/{file}", STEERING_ROLES, "file", "Streamlit: a file for an import"),
    _rule("GET HEAD", "/_stcore/bidi-components/{rest:path}", SIGNED_IN, "file", "Streamlit: script and style of our components"),
    _rule("GET HEAD", "/media/{rest:path}", SIGNED_IN, "file", "Streamlit: the logo; no data is ever put there"),
    _rule("GET HEAD", "/static/{rest:path}", None, "file", "Streamlit: its front end"),
    _rule("GET HEAD", "/favicon.png", None, "file", "Streamlit: its icon"),
)

_SEGMENT = re.compile(r"\{(\w+)(:path)?\}")


@cache
def _pattern(path: str) -> re.Pattern[str]:
    pieces = _SEGMENT.split(path)
    text = re.escape(pieces[0])
    for place in range(1, len(pieces), 3):
        text += (".+" if pieces[place + 1] else "[^/]+") + re.escape(pieces[place + 2])
    return re.compile(text)


def rules_for(path: str) -> list[Rule]:
    """The rules of an address, whatever the method; empty where there is none."""
    return [rule for rule in RULES if _pattern(rule.path).fullmatch(path)]


def rule_for(method: str, path: str) -> Rule | None:
    """The rule of a request, None where there is none: such a request is answered with 404 or 405."""
    return next((rule for rule in rules_for(path) if method in rule.methods), None)


def table() -> str:
    """docs/access.md."""
    head = ["address", "method", "not signed in", *ROLES, "by key", "what it is"]
    lines = [
        "# Who may go where",
        "",
        "Written from `flagback.review_app.access` by `make docs`; a test compares it with what the running application does.",
        "What is not listed does not exist: it is answered with 404, whoever asks. Pages and forms lead who is not signed in to",
        "the sign-in page; everything else answers 401 without a session and 403 for another role. Every request looks at the",
        "session's row anew. What is opened by key is opened by a program's key alone ('flagback outputs key create'), never by a",
        "session, and a key opens nothing else.",
        "",
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
    ]
    for rule in RULES:
        methods = ", ".join(method for method in ("GET", "POST", "PUT", "DELETE", "WS") if method in rule.methods)
        allowed = ["yes" if rule.roles is None else ""]
        allowed += ["yes" if rule.roles is None or role in rule.roles else "" for role in ROLES]
        allowed += ["yes" if rule.by_key else ""]
        lines.append(f"| `{rule.path}` | {methods} | {' | '.join(allowed)} | {rule.what} |")
    return "\n".join(lines) + "\n"
