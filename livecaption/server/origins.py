"""Origins, host names and addresses of pages, as browsers write them. An origin is a scheme, a host and a port."""

import re

MAX_PORT = 65535
MAX_URL_CHARACTERS = 500
"""A QR code of a link must stay readable from a distance, and holds 2300 characters at most."""
DEFAULT_PORTS = {"http": 80, "https": 443}
NULL = "null"
"""The origin of pages that have none of their own: files, and sandboxed frames of any site (RFC 6454, 6.1)."""

_HOST = re.compile(
    r"(?:\[(?P<address>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[0-9A-Za-z._-]{1,253}))(?::(?P<port>[0-9]{1,5})?)?"
)
"""The header Host as browsers send it (RFC 9110, 7.2), in ASCII and without user names. A name has at most 253
characters (RFC 1035, 2.3.4), an IPv6 address at most 45. A link with a longer name might not fit into a QR code."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_PATH = r"(?:/[0-9A-Za-z._~!$&'()*+,;=:@%-]+)*"
_PAGE_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[0-9A-Za-z._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?"
    rf"(?P<path>{_PATH})/?",
    re.IGNORECASE,
)
"""An address in http or https without user, query and fragment (RFC 3986, 3), in ASCII."""
_OF_SOCKETS = {"ws": "http", "wss": "https"}
"""Schemes of WebSockets, and those of the pages that open them."""
_WITHOUT_ORIGIN = frozenset({"about", "blob", "data", "javascript"})
"""Schemes of pages that have no origin of their own. All others are possible, such as those of extensions and apps."""

Origin = tuple[str, str, int]
"""Scheme, host and port (RFC 6454, 4)."""


def host_name(host: str) -> str:
    """Return the host in lower case: `localhost` of `localhost:8000`, `::1` of `[::1]:8000`; empty if it is invalid."""
    match = _match_host(host)
    return "" if match is None else _name_in(match)


def origin_of(url: str) -> Origin | None:
    """Return the origin of a URL in lower case and with its port; None: it has none, such as `null`."""
    scheme, separator, rest = url.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme) or (match := _match_host(rest.partition("/")[0])) is None:
        return None
    scheme = scheme.lower()
    return scheme, _name_in(match), int(match["port"] or DEFAULT_PORTS.get(scheme, 0))


def normal_origin(text: str) -> str | None:
    """Return an origin as browsers write it: in lower case, without the usual port and a path. None: it is none."""
    if text == NULL:
        return NULL
    if (origin := origin_of(text)) is None:
        return None
    scheme, host, port = origin
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}" if port == DEFAULT_PORTS.get(scheme, 0) else f"{scheme}://{name}:{port}"


def page_url(url: str) -> str | None:
    """Return the address of a page in one form: scheme and host in lower case, `/` at its end. None: it is none."""
    match = _PAGE_URL.fullmatch(url)
    if match is None or len(url) > MAX_URL_CHARACTERS or int(match["port"] or 0) > MAX_PORT:
        return None
    port = f":{match['port']}" if match["port"] else ""
    return f"{match['scheme'].lower()}://{match['host'].lower()}{port}{match['path']}/"


def is_path(text: str) -> bool:
    """Return True if the text can be the path of a page, without `/` at its end. An empty one can."""
    return re.fullmatch(_PATH, text) is not None


def why_not_an_origin(text: str) -> str | None:
    """Return why no page has this origin, and what to write instead. None: it is one of pages (`null` apart)."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "https", text
    host, slash, _ = rest.partition("/")
    example = f"{_OF_SOCKETS.get(scheme.lower(), scheme)}://{host}"
    if scheme.lower() == "file":
        return f"{text}: pages in files have the origin null"
    if scheme.lower() in _WITHOUT_ORIGIN:
        return f"{text}: such pages have the origin null, or that of the page that made them"
    if "*" in text:
        return f"{text}: there are no wildcards. Name each origin, such as https://app.example.org"
    if origin_of(example) is None:
        return f"{text} is no origin. Write scheme and host, such as https://app.example.org"
    if not separator:
        return f"{text} has no scheme. Write {example}"
    if slash:
        return f"{text} has a path, and an origin has none. Write {example}"
    if scheme.lower() in _OF_SOCKETS:
        return f"{text} is the address of a WebSocket. Write the origin of the page: {example}"
    return None


def _match_host(host: str) -> re.Match[str] | None:
    match = _HOST.fullmatch(host)
    if match is None or int(match["port"] or 0) > MAX_PORT:
        return None
    return match if _name_in(match).strip("._-") else None


def _name_in(match: re.Match[str]) -> str:
    return str(match["name"] or match["address"]).lower()
