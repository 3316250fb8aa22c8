"""Which of several forms of an answer the asker wants, by `Accept` (RFC 9110, 12.5.1)."""

from collections.abc import Sequence

from shared.errors import NotAcceptable

_Range = tuple[str, str, float]
"""Type, subtype and quality; `*` stands for any."""


def preferred(accept: str | None, offers: Sequence[str]) -> str:
    """Choose the media type that the asker likes best; of equals the one that is offered first.

    Args:
        accept: the header as it came; None: anything is welcome
        offers: media types without parameters, the usual one first

    Raises:
        NotAcceptable: none of them is wanted

    """
    ranges = [_range(each) for each in (accept or "").split(",") if each.strip()]
    if not ranges:
        return offers[0]
    liking = {offer: _quality(offer, ranges) for offer in offers}
    best = max(offers, key=lambda offer: liking[offer])
    if not liking[best]:
        raise NotAcceptable(f"offered here: {', '.join(offers)}", offered=list(offers))
    return best


def _range(text: str) -> _Range:
    media, *parameters = (part.strip().lower() for part in text.split(";"))
    kind, _, sub = media.partition("/")
    for name, _, value in (parameter.partition("=") for parameter in parameters):
        if name.strip() == "q":
            return kind, sub, _number(value.strip())
    return kind, sub, 1.0


def _number(text: str) -> float:
    """Read a quality; what is none leaves the range as if it had none."""
    digits = text.replace(".", "", 1)
    return min(float(text), 1.0) if digits.isascii() and digits.isdigit() else 1.0


def _quality(offer: str, ranges: Sequence[_Range]) -> float:
    """Tell how welcome an offer is: the range that says most of it decides."""
    kind, _, sub = offer.partition("/")
    fitting = [
        ((wanted != "*") + (part != "*"), quality)
        for wanted, part, quality in ranges
        if wanted in {kind, "*"} and part in {sub, "*"}
    ]
    return max(fitting, default=(0, 0.0))[1]
