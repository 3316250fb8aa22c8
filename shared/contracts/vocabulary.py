"""The field's own words, as they are written on the wire and in the databases."""

from typing import Literal

Need = Literal[
    "mobility",
    "quarantine",
    "elderly_alone",
    "disabled",
    "dialysis",
    "maternity",
    "minor_alone",
]
"""Why a home visit is due (特殊需求). A set per resident; every one is visit-worthy by default."""

Class = Literal["unaccounted", "sampled", "excluded", "in_hand", "visitor", "off"]
"""Where one person stands in the account of a round; exactly one holds.

`visitor` is counted beside the account, `off` (left, died, not yet here) nowhere.
"""

Channel = Literal["site", "home_visit", "sweep", "session"]
"""How a sample was taken."""

Outcome = Literal["negative", "positive", "inconclusive", "invalid"]
"""What the laboratory found in a sample."""

HandKind = Literal["visit", "referral", "revisit", "escalation", "session"]
"""In whose hands a person is: somebody is answerable for the next step, and by when."""

VisitStatus = Literal["planned", "assigned", "started", "finished", "cancelled"]
"""The life cycle of a visit (上门任务)."""

VisitOutcome = Literal[
    "sampled",
    "absent",
    "refused",
    "moved",
    "deceased",
    "ineligible",
    "locked",
    "referred",
    "not_executable",
]
"""What happened at the door (R16): all distinct."""

RoundState = Literal["draft", "open", "closed", "sealed"]
"""The life cycle of a round (轮次)."""

AreaKind = Literal["city", "district", "office", "community"]

ON_ROLL: frozenset[Class] = frozenset({"unaccounted", "sampled", "excluded", "in_hand"})
"""The classes that make up the roll (应检名单): roll = their sum."""
