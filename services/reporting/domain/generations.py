"""Lives of the counters: one is read, another may be built beside it."""

from shared.errors import Conflict


class RebuildRunning(Conflict):
    """A rebuild is asked for while another one has not swapped yet."""

    slug = "rebuild-running"
    title = "A rebuild is already running"
    cause = "The counters are being built anew already."
    cure = "Wait until `GET /v1/rebuild` says that it has swapped; it is then as good as yours."
