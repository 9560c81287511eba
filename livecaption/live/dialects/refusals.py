"""The headers of answers to requests that are refused, the same in the shape of each vendor. Pure."""

from livecaption.errors import LivecaptionError

JSON = "application/json; charset=utf-8"


def refusal_headers(error: LivecaptionError, scheme: str = "Bearer") -> dict[str, str]:
    """Return the headers of an answer in JSON: `Retry-After` if it is known, and how a key is shown if it is missing.

    Args:
        error: the reason of the refusal.
        scheme: the scheme of `Authorization` that the protocol's clients use.
    """
    headers = {"Content-Type": JSON}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if error.http_status == 401:
        headers["WWW-Authenticate"] = scheme
    return headers
