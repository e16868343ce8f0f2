"""Random bytes on the wire: requests framed wrongly, smuggled, cut or drawn out, and frames on Streamlit's websocket.

Knows sockets and HTTP/1.1 framing; what a request may change is tests/rights.py's business.
"""

import re
import socket
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from random import Random

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from flagback.review_app.access import PAGES
from tests.fuzzing import HOSTILE, Fuzzer
from tests.rights import Change, Fault, Place, Reply, Shot, judge

#: How long an answer may take before the sender gives up, seconds; only badly framed requests are left without one.
PATIENCE = 0.4
#: Instead of a chunk's length.
CHUNK_SIZES = (b"-1", b"g", b"f" * 40, b"0x5", b"", b"1;a=" + b"b" * 9_000)
#: Between the headers.
LINES = (
    b"host : evil",
    b"x\0y: z",
    b": empty",
    b"no colon",
    b" folded",
    b"a: b\0c",
    b"cookie: " + b"c" * 100_000,
    b"\xff\xfe: x",
    b"\r\n".join(b"h%d: v" % n for n in range(300)),
)
#: Before a request: blank lines, TLS, HTTP/2, nothing at all.
PREFACES = (b"\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0" * 70_000)
#: What a frame asks for beside pages.
ORDERS = ("load_git_info", "clear_cache", "stop_script", "debug_disconnect_websocket", "debug_shutdown_runtime")
NAMES = (*(page.url_path for page in PAGES), "start", "../people", *(text for text in HOSTILE if "\0" not in text))
QUERIES = ("", "embed=true", "a=" + "b" * 5_000, "%ff", "item=9999999999999999999999")


def on_the_wire(pick: Random, shot: Shot, second: Shot | None) -> bytes:
    """A request as bytes: framed rightly half of the time; `second` follows where a body is expected, or after it."""
    body = b"".join(shot.body)
    headers = [f for f in shot.headers if f[0] not in (b"content-length", b"transfer-encoding") or pick.random() < 0.5]
    framing = pick.choice(("length", "length", "length", "chunked", "both", "short", "long", "bad chunk", "none"))
    if framing in ("chunked", "both", "bad chunk"):
        headers.append((b"transfer-encoding", pick.choice((b"chunked", b"chunked", b"Chunked", b"x, chunked", b"chunked\x0b"))))
        size = b"%x" % len(body) if framing != "bad chunk" else pick.choice(CHUNK_SIZES)
        body = size + b"\r\n" + body + b"\r\n0\r\n\r\n"
    if framing not in ("chunked", "bad chunk", "none") and body:
        length = len(body) + {"short": -3, "long": 9}.get(framing, 0)
        headers.append((b"content-length", b"%d" % max(0, length)))
    if pick.random() < 0.8:
        headers.append((b"connection", b"close"))
    version = pick.choice((b" HTTP/1.1",) * 12 + (b" HTTP/1.0", b"", b" HTTP/2.0", b" HTTP/1.1 x", b" HTTP/9.9"))
    end = pick.choice((b"\r\n",) * 12 + (b"\n", b"\r", b"\r\n "))
    lines = [shot.method.encode() + b" " + shot.target + version, *(name + b": " + value for name, value in headers)]
    if pick.random() < 0.15:
        place = pick.randrange(1, len(lines) + 1)
        lines.insert(
            place,
            pick.choice(LINES),
        )
    whole = end.join(lines) + end + end + body
    if pick.random() < 0.03:
        whole = pick.choice(PREFACES) + whole
    if second is not None:
        names = b"".join(name + b": " + value + b"\r\n" for name, value in second.headers)
        whole += second.method.encode() + b" " + second.target + b" HTTP/1.1\r\n" + names + b"\r\n" + b"".join(second.body)
    return whole[: pick.randrange(1, len(whole))] if shot.cut else whole


def exchange(port: int, sent: bytes) -> list[Reply]:
    """What a server answers to these bytes on a connection of their own, until it closes or PATIENCE is over."""
    raw = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as there, suppress(TimeoutError, ConnectionError):
        there.sendall(sent)
        while piece := there.recv(65_536):
            raw += piece
            length = re.match(rb"HTTP/1.1 \d+ .*?\r\ncontent-length: (\d+)\r\n.*?\r\n\r\n", raw, re.DOTALL | re.IGNORECASE)
            if length and len(raw) == length.end() + int(length[1]):
                break
    return _replies(bytes(raw))


def _replies(raw: bytes) -> list[Reply]:
    """The answers in a row of bytes; a body is taken up to the next answer's first line, as one connection carries few."""
    found = []
    for part in re.split(rb"(?=HTTP/1\.[01] \d{3} )", raw):
        if not part:
            continue
        head, _, body = part.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        headers = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
        found.append(Reply(int(first.split()[1]), headers, _plain(headers, body)))
    return found


def _plain(headers: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    """A body without chunks and compression, as far as it came."""
    named = {name.lower(): value for name, value in headers}
    if named.get(b"transfer-encoding") == b"chunked":
        whole = b""
        while (line := re.match(rb"([0-9a-f]+)\r\n", body)) and (size := int(line[1], 16)):
            whole += body[line.end() : line.end() + size]
            body = body[line.end() + size + 2 :]
        body = whole
    if named.get(b"content-encoding") == b"gzip":
        with suppress(zlib.error):
            body = zlib.decompressobj(31).decompress(body)
    return body


def storm_on_the_wire(place: Place, seed: int, count: int) -> Mapping[str, int]:
    """Sends and judges `count` connections; returns how many answers of which status there were."""
    pick, fuzzer = Random(seed), Fuzzer(place, seed)
    found: dict[str, int] = {}
    #: A request whose sender did not wait may still be under way: on a busy machine while several others come and go.
    late: list[Shot] = []
    unanswered: list[Shot] = []
    for number, shot in enumerate(fuzzer.shots(count)):
        plain = pick.random() < 0.3
        second = next(fuzzer.shots(1)) if not plain and pick.random() < 0.1 else None
        sent = as_browser(shot) if plain else on_the_wire(pick, shot, second)
        replies = exchange(place.settings.port, sent)
        for reply in replies or [Reply(0, [], b"")]:
            judge(place, _joined(shot, second), reply, [])
            found[str(reply.status)] = found.get(str(reply.status), 0) + 1
        changes = place.changes()
        late = [shot, *([second] if second else []), *late][:20]
        if changes:
            _judge_any(place, [*late, *unanswered], changes)
        unanswered = unanswered if replies else [shot, *([second] if second else []), *unanswered][:40]
        if changes:
            found["changed"] = found.get("changed", 0) + 1
        if changes and not shot.path.startswith("/api"):
            place.renew()
        if number % 50 == 0:
            for one in place.reviewers:
                place.hold(one)
        place.changes()
    return found


def _judge_any(place: Place, late: list[Shot], changes: list[Change]) -> None:
    """Raises Fault for a change that none of the last requests had a right to."""
    for change in changes:
        faults = []
        for shot in late:
            try:
                judge(place, shot, Reply(0, [], b""), [change])
            except Fault as fault:
                faults.append(fault)
        if len(faults) == len(late):
            raise Fault("\n".join(str(fault) for fault in faults))


def as_browser(shot: Shot) -> bytes:
    """A request framed as it should be."""
    body = b"".join(shot.body)
    left = [f for f in shot.headers if f[0] not in (b"content-length", b"transfer-encoding", b"upgrade", b"expect")]
    left += [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
    return b"\r\n".join([shot.method.encode() + b" " + shot.target + b" HTTP/1.1", *(n + b": " + v for n, v in left), b"", body])


def _joined(shot: Shot, second: Shot | None) -> Shot:
    """Two requests of one connection as one, for what they sent; the answers' form is looked at by the first one's path."""
    if second is None:
        return shot
    return Shot(shot.method, shot.target, shot.headers + second.headers, [*shot.body, second.target, *second.body])


# -------------------------------------------------------------------------- websocket


class Drawn:
    """What one connection to Streamlit's websocket gave."""

    def __init__(self) -> None:
        #: The handshake's status; 101 where it was let in.
        self.status = 101
        #: Everything drawn, as text.
        self.text = ""
        #: Whether the server closed the connection.
        self.closed = False


def frames(pick: Random) -> list[bytes | str]:
    """One to three messages: valid ones of any page, torn ones, garbage, text, very long ones."""
    found: list[bytes | str] = []
    for _ in range(pick.choice((1, 1, 2, 3))):
        asked = BackMsg()
        kind = pick.randrange(8)
        if kind < 4:
            asked.rerun_script.page_name = pick.choice(NAMES)
            asked.rerun_script.query_string = pick.choice(QUERIES)
            asked.rerun_script.page_script_hash = pick.choice(("", "0" * 32, "x"))
            asked.rerun_script.fragment_id = pick.choice(("", "", "", "f" * 32))
            asked.rerun_script.is_auto_rerun = pick.random() < 0.2
            for _ in range(pick.randrange(3)):
                state = asked.rerun_script.widget_states.widgets.add()
                state.id = pick.choice(("$$ID-0-x", "flagback.board", "x" * 900, ""))
                pick.choice((lambda s: setattr(s, "trigger_value", True), lambda s: setattr(s, "json_value", "{" * 900)))(state)
        elif kind == 4:
            name = pick.choice(ORDERS)
            setattr(asked, name, True)
        elif kind == 5:
            asked.file_urls_request.request_id = "r"
            asked.file_urls_request.file_names.extend(["../../x", "a" * 5_000, "n.csv"])
            asked.file_urls_request.session_id = "another"
        raw = asked.SerializeToString()
        if kind == 6:
            found.append(pick.choice(("text", "", "x" * 70_000)))
        elif kind == 7:
            found.append(pick.choice((pick.randbytes(pick.randrange(300)), b"", b"\xff" * 200_000, b"\x5a\x80" * 900)))
        else:
            place = pick.randrange(len(raw) + 1)
            found.append(raw if pick.random() < 0.7 else raw[:place] + pick.randbytes(3) + raw[place:])
    return found


def drawn(place: Place, cookie: str | None, sent: list[bytes | str], session: str = "") -> Drawn:
    """Opens a websocket, sends the frames and then an ordinary run, and collects what is drawn until that has ended."""
    found = Drawn()
    headers = {} if cookie is None else {"Cookie": f"flagback_session_{place.settings.port}={cookie}"}
    spoken = [Subprotocol(word) for word in ("streamlit", "x", session) if word] if session else [Subprotocol("streamlit")]
    asked = BackMsg()
    asked.rerun_script.page_name = "you"
    ours = f"http://127.0.0.1:{place.settings.port}"
    try:
        with connect(
            ours.replace("http", "ws") + "/_stcore/stream",
            additional_headers=headers,
            origin=Origin(ours),
            subprotocols=spoken,
            max_size=None,
            close_timeout=1,
        ) as there:
            for frame in [*sent, asked.SerializeToString()]:
                there.send(frame)
            while "sign-in has ended" not in found.text and 'body: "You"' not in found.text:
                message = ForwardMsg()
                raw = there.recv(timeout=20)
                assert isinstance(raw, bytes)
                message.ParseFromString(raw)
                found.text += str(message) if message.WhichOneof("type") == "delta" else ""
    except InvalidStatus as error:
        found.status = error.response.status_code
    except ConnectionClosed:
        found.closed = True
    return found


@contextmanager
def page_session(place: Place, cookie: str) -> Iterator[str]:
    """An open page, and the name Streamlit gives it."""
    ours = f"http://127.0.0.1:{place.settings.port}"
    headers = {"Cookie": f"flagback_session_{place.settings.port}={cookie}"}
    asked = BackMsg()
    asked.rerun_script.page_name = "data"
    address = ours.replace("http", "ws") + "/_stcore/stream"
    with connect(address, additional_headers=headers, origin=Origin(ours), max_size=None, close_timeout=0.5) as there:
        there.send(asked.SerializeToString())
        message = ForwardMsg()
        while message.WhichOneof("type") != "new_session":
            raw = there.recv(timeout=20)
            assert isinstance(raw, bytes)
            message.ParseFromString(raw)
        yield message.new_session.initialize.session_id


def upload(pick: Random) -> bytes:
    """A multipart body with the boundary "x", or something like one."""
    name = pick.choice(HOSTILE).encode("utf-8", "replace").replace(b"\r\n", b"")
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="' + name + b'"\r\n\r\n' + pick.randbytes(90) + b"\r\n"
    return pick.choice(
        (
            part + b"--x--\r\n",
            part + part + b"--x--\r\n",
            part,
            b"--x\r\n\r\n--x--\r\n",
            b"--x\r\n" + b"A: b\r\n" * 5_000 + b"\r\n--x--\r\n",
            b"--x\r\nContent-Disposition: " + b"a" * 70_000 + b"\r\n\r\n--x--\r\n",
            b"--x\r\nContent-Disposition: form-data; name*=utf-9''%ff; filename*=utf-8''%ff%00\r\n\r\nabc\r\n--x--\r\n",
            b'--x\r\nContent-Disposition: form-data; name="f"\r\n\r\n' + b"a" * 2_000_000 + b"\r\n--x--\r\n",
            b'--x\r\nContent-Disposition: form-data; name="f"\r\n\r\nv\r\n' * 3_000 + b"--x--\r\n",
            b'--x\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nv\r\n' * 3_000 + b"--x--\r\n",
            pick.randbytes(900),
            b"",
        )
    )
