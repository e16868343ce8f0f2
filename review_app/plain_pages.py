"""Pages of our own outside Streamlit: sign-in, sign-out, invitations, refusals. Knows the look, small forms and their tokens.

A form's token proves that the form was ours: without a session it is a keyed hash of a random cookie that came with the form, with
one it is the account's page token. Origin is checked as well, for every request, by `guard`.
"""

import hmac
import html
import secrets
from importlib.resources import files
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from flagback.review_app import words
from flagback.review_app.installation import Installation
from flagback.review_app.words import IN_HTML, tr
from flagback.storage.pseudonyms import keyed_hash

#: Longest form read, bytes.
LONGEST_FORM = 16_384


def piece(name: str) -> str:
    """A shipped fragment of HTML for `format`, its [[words]] in the language of who reads."""
    content = files("flagback.review_app.board").joinpath(name).read_text(encoding="utf-8")
    return IN_HTML.sub(lambda found: html.escape(words.stored(None, found[1]), quote=False), content)


def page(title: str, body: str, status: int = 200) -> HTMLResponse:
    """A whole page; `body` is HTML whose foreign parts the caller has escaped."""
    code = words.language()
    content = piece("page.html").format(title=html.escape(title), body=body, lang=code, dir=words.direction(code))
    return HTMLResponse(
        content,
        status,
        headers={
            "Cache-Control": "no-store",
            "Vary": "Accept-Language",
            # Not no-referrer: browsers then send "Origin: null" with our own forms.
            "Content-Security-Policy": "default-src 'self'; object-src 'none'; frame-ancestors 'none'; form-action 'self'; "
            "base-uri 'none'",
        },
    )


def message(title: str, told: str, *, status: int, link: tuple[str, str] | None = None) -> HTMLResponse:
    """A page that says one thing and leads on."""
    address, name = link or ("/", tr("To Flagback"))
    body = (
        f'<h1>{html.escape(title)}</h1><p class="error" role="alert">{html.escape(told)}</p>'
        f'<p><a href="{html.escape(address)}">{html.escape(name)}</a></p>'
    )
    return page(title, body, status)


def moving_on(target: str, title: str, told: str) -> HTMLResponse:
    """A page that leads on to `target` by itself.

    Not a redirect: our pages' Content-Security-Policy allows forms to this origin only, and Chromium holds a redirect that
    answers a form to it as well.
    """
    href = html.escape(target)
    response = page(title, f'<h1>{title}</h1><p class="lead">{html.escape(told)}</p><p><a href="{href}">{tr("Go on")}</a></p>')
    response.headers["Refresh"] = f"0; url={target}"
    return response


def error_box(told: str) -> str:
    """What went wrong, above a form, as HTML."""
    return f'<p class="error" role="alert" id="error">{html.escape(told)}</p>' if told else ""


async def form(request: Request) -> dict[str, str]:
    """The fields of a small urlencoded form, {} for anything else."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return {}
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_FORM:
            return {}
    try:
        fields = parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=20)
    except ValueError:  # not UTF-8, or too many fields
        return {}
    return {name: values[0] for name, values in fields.items()}


# ------------------------------------------------------ tokens of forms without a session


def form_cookie_name(installation: Installation) -> str:
    """The cookie that a form's token belongs to."""
    return f"flagback_form_{installation.settings.port}"


def by_tls(installation: Installation, request: Request) -> bool:
    """Whether the browser reaches us by https, so that cookies are for it alone."""
    return request.url.scheme == "https" or (installation.settings.public_url or "").startswith("https://")


class FormToken:
    """The token of one answer's form, and the cookie to send along where the browser has none yet."""

    def __init__(self, installation: Installation, request: Request) -> None:
        self._installation = installation
        self._secure = by_tls(installation, request)
        self._known = request.cookies.get(form_cookie_name(installation))
        self._cookie = self._known or secrets.token_urlsafe(18)

    @property
    def value(self) -> str:
        """What stands in the form's hidden field."""
        return keyed_hash(self._installation.pseudonym_key, f"flagback form {self._cookie}")

    def field(self) -> str:
        """The hidden field."""
        return f'<input type="hidden" name="token" value="{self.value}">'

    def send_along(self, response: Response) -> Response:
        """Adds the cookie."""
        if self._known is None:
            response.set_cookie(
                form_cookie_name(self._installation), self._cookie, httponly=True, samesite="strict", path="/", secure=self._secure
            )
        return response


def token_fits(installation: Installation, request: Request, given: str) -> bool:
    """Whether a form without a session was ours."""
    cookie = request.cookies.get(form_cookie_name(installation))
    if not cookie:
        return False
    expected = keyed_hash(installation.pseudonym_key, f"flagback form {cookie}")
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace"))


def stale_form(again: str) -> HTMLResponse:
    """The form's token does not fit: an old page, or another site's."""
    return message(
        tr("Once more, please"),
        tr("This form was open for long, or did not come from Flagback's own page, so nothing was done."),
        status=403,
        link=(again, tr("Open it again")),
    )
