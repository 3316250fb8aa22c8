"""The fold as `shared.contracts.registry.Change` tells it, without reporting."""

from collections import Counter, defaultdict
from typing import Any

from shared.contracts.cells import cells_of
from shared.contracts.registry import RollChanged, RoundOpened, Standing

Figures = dict[str, dict[str, int]]


class Fold:
    """Figures per round and community, folded from what registry announced."""

    def __init__(self) -> None:
        self._cells: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
        self._revs: dict[tuple[str, str], set[int]] = defaultdict(set)

    def take(self, message: Any) -> None:
        """Fold one message; those that are not about the account are passed over."""
        match message:
            case RoundOpened():
                for opened in message.communities:
                    cells = self._cells[message.round][opened.community]
                    by_need = ((f"need.{need}.", n) for need, n in opened.needs.items())
                    for prefix, n in [("", opened.roll), *by_need]:
                        cells[f"{prefix}roll"] += n
                        cells[f"{prefix}unaccounted"] += n
            case RollChanged():
                for community, changes in message.communities.items():
                    for change in changes:
                        self._revs[message.round, change.resident].add(change.rev)
                        self._count(message.round, community, change.before, -1)
                        self._count(message.round, community, change.after, +1)

    def figures(self, round_id: str) -> Figures:
        """Every cell of a round that is not zero, by community."""
        shown = {
            code: {cell: n for cell, n in cells.items() if n}
            for code, cells in self._cells[round_id].items()
        }
        return {code: cells for code, cells in shown.items() if cells}

    def hold(self) -> None:
        """Hold the fold to what is always true between two transactions.

        No cell is negative, and the revs of a resident in a round are dense.
        """
        for communities in self._cells.values():
            for community, cells in communities.items():
                assert min(cells.values(), default=0) >= 0, (community, dict(cells))
        for key, revs in self._revs.items():
            assert revs == set(range(1, len(revs) + 1)), (key, revs)

    def _count(self, where: str, community: str, standing: Standing | None, sign: int) -> None:
        if standing is not None and standing.counted_in in {"", community}:
            for cell in cells_of(standing):
                self._cells[where][community][cell] += sign
