"""People: accounts, links that let people in, pools, hours for payment, keys of programs. Administrators only; no answer, no
background here."""

from collections.abc import Callable

import streamlit as st
from sqlmodel import Session, col, select

from flagback.review_app.access import ROLES
from flagback.review_app.installation import Installation
from flagback.review_app.screens import look
from flagback.storage import accounts, audit, invitations, output_keys, work
from flagback.storage.records import Account, Invitation, Pool, PoolKind, Role, now

_NO_POOL = "no pool"
_WHO: dict[PoolKind, str] = {"named": "by name", "anonymous": "crowd platform"}


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    look.heading("People", "Who may sign in, and as what. Reviews stand under pseudonyms; nothing here tells whose they are.")
    invite, known, pools, hours, programs = st.tabs(["Invite", "Accounts", "Pools", "Hours", "Programs"])
    with invite:
        _invite(installation, account)
    with known:
        _accounts(installation, account)
    with pools:
        _pools(installation, account)
    with hours:
        _hours(installation)
    with programs:
        _programs(installation, account)


# --------------------------------------------------------------------- invitations


def _invite(installation: Installation, account: Account) -> None:
    with installation.store.reading() as session:
        named = session.exec(select(Pool).order_by(col(Pool.name))).all()
    with st.form("invite", border=False):
        role: Role = st.selectbox("As what?", ROLES, format_func=_role_words)
        pool = st.selectbox("Into which pool?", [_NO_POOL, *(pool.name for pool in named)])
        uses = st.number_input("For how many people?", 1, invitations.MOST_USES, 1, help="Only reviewers share a link.")
        if st.form_submit_button("Make the link", type="primary"):
            _make_link(installation, account, role, pool, int(uses))
    if link := st.session_state.pop("flagback_link", None):
        look.said("This link is shown once. Send it to the person; whoever has it can use it.", "ok")
        st.code(link, language=None, wrap_lines=True)
    st.subheader("Links that still work", anchor=False)
    with installation.store.reading() as session:
        open_links = _open_links(session)
    if not open_links:
        look.empty("No link is out", "Make one above; it works for seven days.")
    for found, pool_name in open_links:
        left, right = st.columns([4, 1], vertical_alignment="center")
        with left:
            where = f" into {pool_name}" if pool_name else ""
            what = {"join": f"{found.role}{where}", "reset": "new password", "first": "first administrator"}[found.purpose]
            look.html(
                f"<div>{look.quiet(what)}, {found.uses_left} left"
                f'<div class="small soft">made by {look.quiet(found.made_by)}, works until '
                f"{look.clock(found.expires_at)}</div></div>"
            )
        if right.button("Withdraw", key=f"withdraw-{found.id}"):
            with installation.store.writing() as session:
                invitations.withdraw(session, found.id, now=now())
                audit.record(session, actor=account.login, action="link withdrawn", details={"link": found.id}, now=now())
            st.rerun()


def _make_link(installation: Installation, account: Account, role: Role, pool: str, uses: int) -> None:
    try:
        with installation.store.writing() as session:
            into = None if pool == _NO_POOL else invitations.pool_named(session, pool)
            code = invitations.invite(session, role, by=account.login, now=now(), pool=into, uses=uses)
            audit.record(
                session,
                actor=account.login,
                action="invitation made",
                details={"role": role, "pool": into.name if into else None, "uses": uses},
                now=now(),
            )
    except invitations.BadInvitation as error:
        look.said(str(error), "flag")
        return
    st.session_state["flagback_link"] = f"{installation.settings.address}/join/{code}"


def _open_links(session: Session) -> list[tuple[Invitation, str | None]]:
    rows = session.exec(
        select(Invitation, Pool.name)
        .outerjoin(Pool, col(Pool.id) == Invitation.pool_id)
        .where(col(Invitation.ended_at).is_(None), Invitation.uses_left > 0, Invitation.expires_at > now())
        .order_by(col(Invitation.id).desc())
    ).all()
    return [(found, name) for found, name in rows]


# ------------------------------------------------------------------------ accounts


def _accounts(installation: Installation, account: Account) -> None:
    with installation.store.reading() as session:
        known = session.exec(select(Account).order_by(col(Account.login))).all()
        pools = dict(session.exec(select(Pool.id, Pool.name)).all())
    look.table(
        ["name", "role", "pool", "", "since"],
        [
            [
                look.quiet(each.login),
                each.role,
                look.quiet(pools.get(each.pool_id or 0, "")),
                _marks(each),
                look.day(each.created_at),
            ]
            for each in known
        ],
    )
    logins = [each.login for each in known]
    chosen = st.selectbox("Change which account?", logins, index=None, placeholder="Choose an account")
    found = next((each for each in known if each.login == chosen), None)
    if found is not None:
        with st.container(key="fb-card-account"):
            _change(installation, account, found)


def _marks(account: Account) -> str:
    marks = [look.pill("demo")] if account.demo else []
    marks += [look.pill("shut out", "flag")] if account.disabled else []
    marks += [look.pill("no password")] if account.password_hash is None else []
    return " ".join(marks)


def _change(installation: Installation, by: Account, found: Account) -> None:
    """What can be done with one account; each says what it does, and the one that shuts out asks again."""
    role: Role = st.selectbox("Role", ROLES, index=ROLES.index(found.role), key=f"role-{found.id}", format_func=_role_words)
    if role != found.role and st.button(f"Give the role {role}", type="primary", key=f"set-role-{found.id}"):
        _do(installation, lambda session: accounts.set_role(session, found.login, role, now=now(), by=by.login))
    first, second, third = st.columns(3)
    if first.button(
        "Link for a new password", key=f"reset-{found.id}", help="Works once, for a day; the present password stays until then."
    ):
        _reset_link(installation, by, found)
    if second.button("Sign out everywhere", key=f"out-{found.id}"):
        with installation.store.writing() as session:
            ended = accounts.end_sessions(session, found.id, now=now())
            audit.record(session, actor=by.login, action="signed out everywhere", details={"login": found.login}, now=now())
        look.said(f"{ended} sign-in{'s' * (ended != 1)} ended.", "ok")
    if found.disabled:
        if third.button("Let in again", key=f"in-{found.id}"):
            _do(installation, lambda session: accounts.set_disabled(session, found.login, disabled=False, now=now(), by=by.login))
        return
    sure = third.checkbox("I am sure", key=f"sure-{found.id}", help="Needed to shut someone out.")
    if third.button("Shut out", key=f"shut-{found.id}", disabled=not sure, help="Ends every sign-in; what was answered stays."):
        _do(installation, lambda session: accounts.set_disabled(session, found.login, disabled=True, now=now(), by=by.login))


def _reset_link(installation: Installation, by: Account, found: Account) -> None:
    try:
        with installation.store.writing() as session:
            code = invitations.reset(session, accounts.by_login(session, found.login), by=by.login, now=now())
            audit.record(session, actor=by.login, action="reset link made", details={"login": found.login}, now=now())
    except invitations.BadInvitation as error:
        look.said(str(error), "flag")
        return
    look.said("This link is shown once.", "ok")
    st.code(f"{installation.settings.address}/join/{code}", language=None, wrap_lines=True)


def _do(installation: Installation, act: Callable[[Session], object]) -> None:
    try:
        with installation.store.writing() as session:
            act(session)
    except (accounts.LastAdministrator, accounts.RoleFromGroups) as error:
        look.said(str(error), "flag")
        return
    st.rerun()


def _role_words(role: str) -> str:
    return {
        "reviewer": "reviewer: judges answers",
        "lead": "lead: judges answers, sees totals of the panel",
        "maintainer": "maintainer: steers the loop",
        "auditor": "auditor: looks at comparisons and totals, changes nothing",
        "administrator": "administrator: all that a maintainer may, and manages people",
    }[role]


# --------------------------------------------------------------------------- pools


def _pools(installation: Installation, account: Account) -> None:
    with installation.store.reading() as session:
        found = session.exec(select(Pool).order_by(col(Pool.name))).all()
    if found:
        rows = [
            [look.quiet(pool.name), _WHO[pool.kind], f"{pool.answers_wanted:,}" if pool.answers_wanted else "no end"]
            for pool in found
        ]
        look.table(["pool", "who", "answers each"], rows)
    else:
        look.empty("No pool yet", "A pool keeps together who came by one link: a team, a community, a crowd platform's study.")
    with st.form("pool", border=False):
        st.subheader("A new pool", anchor=False)
        name = st.text_input("Name", max_chars=invitations.LONGEST_NAME)
        kinds: list[PoolKind] = ["named", "anonymous"]
        kind = st.radio(
            "Who comes?",
            kinds,
            format_func={"named": "People who choose a name and a password", "anonymous": "People sent by a crowd platform"}.get,
        )
        wanted = st.number_input("Answers each (crowd platform only)", 1, 100_000, 40)
        code = st.text_input("Completion code (crowd platform only)", max_chars=100, help="Shown to each after so many answers.")
        if not st.form_submit_button("Make the pool", type="primary"):
            return
    try:
        with installation.store.writing() as session:
            crowd = kind == "anonymous"
            invitations.make_pool(
                session,
                name,
                kind,
                answers_wanted=int(wanted) if crowd else None,
                completion_code=(code.strip() or None) if crowd else None,
                now=now(),
            )
            audit.record(session, actor=account.login, action="pool made", details={"name": name.strip(), "kind": kind}, now=now())
    except (invitations.BadInvitation, invitations.PoolExists) as error:
        look.said(str(error), "flag")
        return
    st.rerun()


# --------------------------------------------------------------------------- hours


def _hours(installation: Installation) -> None:
    with installation.store.reading() as session:
        sheet = work.sheet(session, installation.pseudonym_key)
    if not sheet:
        look.empty("Nothing to pay yet", "Time and answers appear here once people review, a week at a time.")
        return
    look.html(
        '<div class="soft">Rounded up to ten answers and five minutes, so that nobody\'s answers can be found by their '
        "number.</div>"
    )
    newest = sorted(sorted(sheet), key=lambda row: row.week, reverse=True)
    rows = [[look.quiet(row.login), row.week, f"{row.answers:,}", f"{row.minutes / 60:.2f}"] for row in newest]
    look.table(["name", "week", "answers", "hours"], rows, numeric=(2, 3))


# ------------------------------------------------------------------------ programs


def _programs(installation: Installation, account: Account) -> None:
    """Keys with which programs send logged answers: made, shown once, withdrawn after a second word."""
    look.html(
        '<div class="soft">A key lets a program send logged answers of a model in use, and do nothing else. '
        "What came stands on the page Data.</div>"
    )
    with st.form("key", border=False):
        name = st.text_input("Which program?", max_chars=64, placeholder="chat-production")
        if st.form_submit_button("Make a key", type="primary"):
            try:
                with installation.store.writing() as session:
                    made = output_keys.make(session, name.strip(), by=account.login, now=now())
                st.session_state["flagback_key"] = made
            except (output_keys.BadKeyName, output_keys.KeyExists) as error:
                look.said(str(error), "flag")
    if key := st.session_state.pop("flagback_key", None):
        address = f"{installation.settings.address}/api/v1/outputs"
        look.said(f"This key is shown once. The program sends it to {address} as Authorization: Bearer KEY.", "ok")
        st.code(key, language=None, wrap_lines=True)
    with installation.store.reading() as session:
        found = output_keys.known(session)
    if not found:
        look.empty("No program has a key", "Make one above for each program that sends answers.")
    for each in found:
        left, right = st.columns([4, 1], vertical_alignment="center")
        state = look.pill("withdrawn", "flag") if each.ended_at else ""
        last = "never used" if each.seen_at is None else f"last used {look.clock(each.seen_at)}"
        with left:
            look.html(
                f"<div>{look.quiet(each.name)} {state}"
                f'<div class="small soft">made by {look.quiet(each.made_by)} on {look.day(each.created_at)}, {last}</div></div>'
            )
        if each.ended_at is None:
            with right.popover("Withdraw", width="stretch"):
                look.html(f"The program {look.quiet(each.name)} can send nothing more. What it sent stays.")
                if st.button("Withdraw the key", type="primary", key=f"end-key-{each.id}"):
                    with installation.store.writing() as session:
                        output_keys.withdraw(session, each.name, by=account.login, now=now())
                    st.rerun()
