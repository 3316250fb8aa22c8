"""What a route looks like in use: one example a route, as data beside its roles.

A service keeps a table of them, like its table of roles. They are written into its OpenAPI
document, and a test plays them against the real services: what they say is true.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.errors import LastmetreError


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One call of a route, its answer, and how else the route may answer."""

    path: Mapping[str, str | int] = field(default_factory=dict)
    """Values of the parameters in the path."""
    query: Mapping[str, str | int] = field(default_factory=dict)
    """Values of parameters in the query; those that may be left out may be left out here too."""
    body: Any = None
    """JSON of the request; None: there is no body."""
    reply: Any = None
    """JSON of the answer, or its text if it is no JSON; None: the answer has no content."""
    forms: Mapping[str, str] = field(default_factory=dict)
    """The answer as text of further media types, if the route gives it in such."""
    problems: Sequence[type[LastmetreError]] = ()
    """Problem types of this route, beyond those that follow from its roles and parameters."""
    reasons: Sequence[type[LastmetreError]] = ()
    """Problem types for which it rejects single rows (R21)."""
    gives: Mapping[str, str] = field(default_factory=dict)
    """Parameters of other routes that the answer has values for: name → JSON pointer."""


Examples = Mapping[tuple[str, str], Example]
"""(method, path template) → example. Every route must be in it."""
