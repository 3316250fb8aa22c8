"""Areas: offices (办事处) and communities (社区), known by code."""

from dataclasses import dataclass

from shared.contracts.vocabulary import AreaKind


@dataclass(frozen=True, slots=True)
class Area:
    """An office or community by code and name."""

    code: str
    name: str
    kind: AreaKind
    parent: str | None


def office_of(community: str) -> str:
    """Office of a community: the first nine digits of its code."""
    return community[:9]
