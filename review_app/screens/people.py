"""People: accounts, links that let people in, pools, hours for payment, keys of programs. Administrators only; no answer, no
background here."""

from collections.abc import Callable

import streamlit as st
from sqlmodel import Session, col, select

from flagback.review_app.access import ROLES, role_name
from flagback.review_app.installation import Installation
from flagback.review_app.retold import retold
from flagback.review_app.screens import look
from flagback.review_app.words import number, stored, tr, trn, written
from flagback.storage import accounts, audit, invitations, output_keys, work
from flagback.storage.records import Account, Invitation, Pool, PoolKind, Role, now

_WHO: dict[PoolKind, str] = {"named": "by name", "anonymous": "crowd platform"}
_COMES: dict[PoolKind, str] = {
    "named": "People who choose a name and a password",
    "anonymous": "People sent by a crowd platform",
}


def show(installation: Installation, account: Account) -> None:
    """Draws the page."""
    look.heading(
        tr("People"), tr("Who may sign in, and as what. Reviews stand under pseudonyms; nothing here tells whose they are.")
    )
    invite, known, pools, hours, programs = st.tabs([tr("Invite"), tr("Accounts"), tr("Pools"), tr("Hours"), tr("Programs")])
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
        role: Role = st.selectbox(tr("As what?"), ROLES, format_func=_role_words)
        pool = st.selectbox(
            tr("Into which pool?"),
            [None, *(pool.name for pool in named)],
            format_func=lambda name: tr("no pool") if name is None else name,
        )
        uses = st.number_input(tr("For how many people?"), 1, invitations.MOST_USES, 1, help=tr("Only reviewers share a link."))
        if st.form_submit_button(tr("Make the link"), type="primary"):
            _make_link(installation, account, role, pool, int(uses))
    if link := st.session_state.pop("flagback_link", None):
        look.said(tr("This link is shown once. Send it to the person; whoever has it can use it."), "ok")
        st.code(link, language=None, wrap_lines=True)
    st.subheader(tr("Links that still work"), anchor=False)
    with installation.store.reading() as session:
        open_links = _open_links(session)
    if not open_links:
        look.empty(tr("No link is out"), tr("Make one above; it works for seven days."))
    for found, pool_name in open_links:
        left, right = st.columns([4, 1], vertical_alignment="center")
        with left:
            left_over = trn(
                "{what}, {count} left", "{what}, {count} left", found.uses_left, what=look.quiet(_link_words(found, pool_name))
            )
            made = tr("made by {name}, works until {when}", name=look.quiet(found.made_by), when=look.clock(found.expires_at))
            look.html(f'<div>{left_over}<div class="small soft">{made}</div></div>')
        if right.button(tr("Withdraw"), key=f"withdraw-{found.id}"):
            with installation.store.writing() as session:
                invitations.withdraw(session, found.id, now=now())
                audit.record(session, actor=account.login, action="link withdrawn", details={"link": found.id}, now=now())
            st.rerun()


def _link_words(found: Invitation, pool: str | None) -> str:
    """What a link is for."""
    if found.purpose == "reset":
        return tr("new password")
    if found.purpose == "first":
        return tr("first administrator")
    role = role_name(found.role)
    return tr("{role} into {pool}", role=role, pool=pool) if pool else role


def _make_link(installation: Installation, account: Account, role: Role, pool: str | None, uses: int) -> None:
    try:
        with installation.store.writing() as session:
            into = None if pool is None else invitations.pool_named(session, pool)
            code = invitations.invite(session, role, by=account.login, now=now(), pool=into, uses=uses)
            audit.record(
                session,
                actor=account.login,
                action="invitation made",
                details={"role": role, "pool": into.name if into else None, "uses": uses},
                now=now(),
            )
    except invitations.BadInvitation as error:
        look.said(retold(str(error)), "flag")
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
        [tr("name"), tr("role"), tr("pool"), "", tr("since")],
        [
            [
                look.quiet(each.login),
                role_name(each.role),
                look.quiet(pools.get(each.pool_id or 0, "")),
                _marks(each),
                look.day(each.created_at),
            ]
            for each in known
        ],
    )
    logins = [each.login for each in known]
    chosen = st.selectbox(tr("Change which account?"), logins, index=None, placeholder=tr("Choose an account"))
    found = next((each for each in known if each.login == chosen), None)
    if found is not None:
        with st.container(key="fb-card-account"):
            _change(installation, account, found)


def _marks(account: Account) -> str:
    marks = [look.pill(tr("demo"))] if account.demo else []
    marks += [look.pill(tr("shut out"), "flag")] if account.disabled else []
    marks += [look.pill(tr("no password"))] if account.password_hash is None else []
    return " ".join(marks)


def _change(installation: Installation, by: Account, found: Account) -> None:
    """What can be done with one account; each says what it does, and the one that shuts out asks again."""
    role: Role = st.selectbox(tr("Role"), ROLES, index=ROLES.index(found.role), key=f"role-{found.id}", format_func=_role_words)
    if role != found.role and st.button(
        tr("Give the role {role}", role=role_name(role)), type="primary", key=f"set-role-{found.id}"
    ):
        _do(installation, lambda session: accounts.set_role(session, found.login, role, now=now(), by=by.login))
    first, second, third = st.columns(3)
    if first.button(
        tr("Link for a new password"),
        key=f"reset-{found.id}",
        help=tr("Works once, for a day; the present password stays until then."),
    ):
        _reset_link(installation, by, found)
    if second.button(tr("Sign out everywhere"), key=f"out-{found.id}"):
        with installation.store.writing() as session:
            ended = accounts.end_sessions(session, found.id, now=now())
            audit.record(session, actor=by.login, action="signed out everywhere", details={"login": found.login}, now=now())
        look.said(trn("{count} sign-in ended.", "{count} sign-ins ended.", ended), "ok")
    if found.disabled:
        if third.button(tr("Let in again"), key=f"in-{found.id}"):
            _do(installation, lambda session: accounts.set_disabled(session, found.login, disabled=False, now=now(), by=by.login))
        return
    sure = third.checkbox(tr("I am sure"), key=f"sure-{found.id}", help=tr("Needed to shut someone out."))
    if third.button(
        tr("Shut out"), key=f"shut-{found.id}", disabled=not sure, help=tr("Ends every sign-in; what was answered stays.")
    ):
        _do(installation, lambda session: accounts.set_disabled(session, found.login, disabled=True, now=now(), by=by.login))


def _reset_link(installation: Installation, by: Account, found: Account) -> None:
    try:
        with installation.store.writing() as session:
            code = invitations.reset(session, accounts.by_login(session, found.login), by=by.login, now=now())
            audit.record(session, actor=by.login, action="reset link made", details={"login": found.login}, now=now())
    except invitations.BadInvitation as error:
        look.said(retold(str(error)), "flag")
        return
    look.said(tr("This link is shown once."), "ok")
    st.code(f"{installation.settings.address}/join/{code}", language=None, wrap_lines=True)


def _do(installation: Installation, act: Callable[[Session], object]) -> None:
    try:
        with installation.store.writing() as session:
            act(session)
    except (accounts.LastAdministrator, accounts.RoleFromGroups) as error:
        look.said(retold(str(error)), "flag")
        return
    st.rerun()


def _role_words(role: str) -> str:
    return {
        "reviewer": tr("reviewer: judges answers"),
        "lead": tr("lead: judges answers, sees totals of the panel"),
        "maintainer": tr("maintainer: steers the loop"),
        "auditor": tr("auditor: looks at comparisons and totals, changes nothing"),
        "administrator": tr("administrator: all that a maintainer may, and manages people"),
    }[role]


# --------------------------------------------------------------------------- pools


def _pools(installation: Installation, account: Account) -> None:
    with installation.store.reading() as session:
        found = session.exec(select(Pool).order_by(col(Pool.name))).all()
    if found:
        rows = [
            [
                look.quiet(pool.name),
                stored("pool", _WHO[pool.kind]),
                number(pool.answers_wanted) if pool.answers_wanted else tr("no end"),
            ]
            for pool in found
        ]
        look.table([tr("pool"), tr("who"), tr("answers each")], rows)
    else:
        look.empty(
            tr("No pool yet"), tr("A pool keeps together who came by one link: a team, a community, a crowd platform's study.")
        )
    with st.form("pool", border=False):
        st.subheader(tr("A new pool"), anchor=False)
        name = st.text_input(tr("Name"), max_chars=invitations.LONGEST_NAME)
        kinds: list[PoolKind] = ["named", "anonymous"]
        kind = st.radio(
            tr("Who comes?"),
            kinds,
            format_func=lambda kind: stored("pool", _COMES[kind]),
        )
        wanted = st.number_input(tr("Answers each (crowd platform only)"), 1, 100_000, 40)
        code = st.text_input(
            tr("Completion code (crowd platform only)"), max_chars=100, help=tr("Shown to each after so many answers.")
        )
        if not st.form_submit_button(tr("Make the pool"), type="primary"):
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
        look.said(retold(str(error)), "flag")
        return
    st.rerun()


# --------------------------------------------------------------------------- hours


def _hours(installation: Installation) -> None:
    with installation.store.reading() as session:
        sheet = work.sheet(session, installation.pseudonym_key)
    if not sheet:
        look.empty(tr("Nothing to pay yet"), tr("Time and answers appear here once people review, a week at a time."))
        return
    look.aside(tr("Rounded up to ten answers and five minutes, so that nobody's answers can be found by their number."))
    newest = sorted(sorted(sheet), key=lambda row: row.week, reverse=True)
    rows = [[look.quiet(row.login), row.week, number(row.answers), written(row.minutes / 60, ".2f")] for row in newest]
    look.table([tr("name"), tr("week"), tr("answers"), tr("hours")], rows, numeric=(2, 3))


# ------------------------------------------------------------------------ programs


def _programs(installation: Installation, account: Account) -> None:
    """Keys with which programs send logged answers: made, shown once, withdrawn after a second word."""
    look.aside(
        tr("A key lets a program send logged answers of a model in use, and do nothing else. What came stands on the page Data.")
    )
    with st.form("key", border=False):
        name = st.text_input(tr("Which program?"), max_chars=64, placeholder=tr("chat-production"))
        if st.form_submit_button(tr("Make a key"), type="primary"):
            try:
                with installation.store.writing() as session:
                    made = output_keys.make(session, name.strip(), by=account.login, now=now())
                st.session_state["flagback_key"] = made
            except (output_keys.BadKeyName, output_keys.KeyExists) as error:
                look.said(retold(str(error)), "flag")
    if key := st.session_state.pop("flagback_key", None):
        address = f"{installation.settings.address}/api/v1/outputs"
        look.said(
            tr("This key is shown once. The program sends it to {address} as Authorization: Bearer KEY.", address=address), "ok"
        )
        st.code(key, language=None, wrap_lines=True)
    with installation.store.reading() as session:
        found = output_keys.known(session)
    if not found:
        look.empty(tr("No program has a key"), tr("Make one above for each program that sends answers."))
    for each in found:
        left, right = st.columns([4, 1], vertical_alignment="center")
        state = look.pill(tr("withdrawn"), "flag") if each.ended_at else ""
        by, day = look.quiet(each.made_by), look.day(each.created_at)
        with left:
            said = (
                tr("made by {name} on {day}, never used", name=by, day=day)
                if each.seen_at is None
                else tr("made by {name} on {day}, last used {when}", name=by, day=day, when=look.clock(each.seen_at))
            )
            look.html(f'<div>{look.quiet(each.name)} {state}<div class="small soft">{said}</div></div>')
        if each.ended_at is None:
            with right.popover(tr("Withdraw"), width="stretch"):
                look.html(tr("The program {name} can send nothing more. What it sent stays.", name=look.quiet(each.name)))
                if st.button(tr("Withdraw the key"), type="primary", key=f"end-key-{each.id}"):
                    with installation.store.writing() as session:
                        output_keys.withdraw(session, each.name, by=account.login, now=now())
                    st.rerun()
