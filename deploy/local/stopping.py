"""How somebody stops what runs in the foreground."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from deploy.local import children


class Stop(BaseException):
    """Somebody asked us to stop; like KeyboardInterrupt, nothing for `except`."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Make Ctrl-C, SIGTERM and a closed terminal raise `Stop`, once; later ones are ignored."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - signal's signature
        for each in children.STOP_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        raise Stop

    before = {number: signal.signal(number, stop) for number in children.STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
