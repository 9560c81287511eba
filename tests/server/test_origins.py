"""Origins and addresses of pages as texts."""

import pytest

from livecaption.errors import ConfigError
from livecaption.server.config import ServerConfig
from livecaption.server.origins import normal_origin, origin_of, page_url, why_not_an_origin
from tests.support.cases import for_each


@for_each(
    ("url", "origin"),
    [
        ("https://Captions.example.org", ("https", "captions.example.org", 443)),
        ("HTTP://captions.example.org:80/hall", ("http", "captions.example.org", 80)),
        ("https://[2001:DB8::7]:8443", ("https", "2001:db8::7", 8443)),
        (
            "moz-extension://6f5b2f9a-0000-4000-8000-000000000001",
            ("moz-extension", "6f5b2f9a-0000-4000-8000-000000000001", 0),
        ),
        ("null", None),
        ("", None),
        ("://captions.example.org", None),
        ("https://user@captions.example.org", None),
        ("https://captions.example.org:99999", None),
        ("ht tp://captions.example.org", None),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, origin: tuple[str, str, int] | None) -> None:
    assert origin_of(url) == origin


@for_each(
    ("url", "page"),
    [
        ("HTTPS://Captions.example.org:8443/Hall/", "https://captions.example.org:8443/Hall/"),
        ("http://192.168.1.20:8000", "http://192.168.1.20:8000/"),
        ("https://captions.example.org/hall?x", None),
        (f"https://captions.example.org/{'a' * 500}", None),
    ],
)
def test_the_address_of_a_page_has_one_form(url: str, page: str | None) -> None:
    assert page_url(url) == page


@for_each(
    ("text", "normal"),
    [
        ("HTTPS://Captions.example.org:443/hall/", "https://captions.example.org"),
        ("https://captions.example.org:", "https://captions.example.org"),
        ("http://[2001:DB8::7]:8000", "http://[2001:db8::7]:8000"),
        ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
        ("null", "null"),
        ("", None),
        ("https://.", None),
    ],
)
def test_an_origin_has_one_form(text: str, normal: str | None) -> None:
    assert normal_origin(text) == normal


@for_each(
    "origin",
    [
        *("https://app.example.org", "http://localhost:3000", "https://[::1]:8000"),
        *(
            "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            "moz-extension://6f5b2f9a-0000-4000-8000-000000000001",
        ),
        "capacitor://localhost",
    ],
)
def test_origins_that_browsers_send_can_be_allowed(origin: str) -> None:
    assert why_not_an_origin(origin) is None
    assert ServerConfig(allowed_origins=(origin,), allowed_frames=(origin,)).allowed_frames == (origin,)


@for_each(
    ("origin", "instead"),
    [
        ("*", "https://app.example.org"),
        ("https://*.example.org", "https://app.example.org"),
        ("app.example.org", "Write https://app.example.org"),
        ("localhost:3000", "Write https://localhost:3000"),
        ("https://app.example.org/", "Write https://app.example.org"),
        ("https://app.example.org/captions", "Write https://app.example.org"),
        ("app.example.org/captions", "Write https://app.example.org"),
        ("wss://app.example.org", "https://app.example.org"),
        ("ws://app.example.org:81", "http://app.example.org:81"),
        ("file:///home/me/page.html", "origin null"),
        ("https://", "https://app.example.org"),
        ("https://.", "https://app.example.org"),
        ("data://x", "origin null"),
        ("JavaScript://x", "origin null"),
        ("blob:https://app.example.org", "https://app.example.org"),
        ("https://user@app.example.org", "https://app.example.org"),
        ("https://app.example.org; script-src *", "https://app.example.org"),
    ],
)
def test_values_that_would_allow_nobody_are_refused_with_what_to_write(origin: str, instead: str) -> None:
    for name in ("allowed_origins", "allowed_frames"):
        with pytest.raises(ConfigError) as error:
            ServerConfig(**{name: (origin,)})
        assert str(error.value).startswith(f"{name}: ")
        assert instead in str(error.value)


def test_origins_get_the_form_of_browsers() -> None:
    """A policy for frames with another form, such as an empty port, would allow nobody."""
    given = ("HTTPS://App.Example.org:443", "https://a.example:")
    config = ServerConfig(allowed_origins=given, allowed_frames=given)
    assert config.allowed_origins == config.allowed_frames == ("https://app.example.org", "https://a.example")


def test_null_can_be_an_origin_of_requests_but_not_of_frames() -> None:
    assert ServerConfig(allowed_origins=("null",)).allowed_origins == ("null",)
    with pytest.raises(ConfigError, match=r"allowed_frames: .* null"):
        ServerConfig(allowed_frames=("null",))


@for_each(
    ("settings", "message"),
    [
        (
            {"allowed_hosts": ("https://captions.example.org",)},
            "allowed_hosts: https://captions.example.org is no host",
        ),
        ({"allowed_hosts": ("captions.example.org:8443",)}, "without scheme and port"),
        ({"allowed_hosts": ("cafe:80",)}, "without scheme and port"),
        ({"allowed_hosts": (".",)}, "allowed_hosts: . is no host name"),
        ({"allowed_hosts": ("*",)}, "allowed_hosts: \\* is no host name"),
        ({"trusted_proxies": ("nginx",)}, "trusted_proxies: 'nginx' .* such as 10.0.0.0/8"),
        ({"trusted_proxies": ("10.0.0.7/8",)}, "trusted_proxies: 10.0.0.7/8 has host bits set"),
    ],
)
def test_wrong_names_of_hosts_and_proxies_are_refused(settings: dict[str, tuple[str, ...]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ServerConfig(**settings)


def test_hosts_are_names_or_addresses() -> None:
    hosts = ("Captions.example.org", "livecaption", "192.0.2.7", "[2001:DB8::7]", "fd00:0::5")
    normal = ("captions.example.org", "livecaption", "192.0.2.7", "2001:db8::7", "fd00::5")
    assert ServerConfig(allowed_hosts=hosts).allowed_hosts == normal
