"""What the page says, in both languages, and how each writes numbers and times."""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from functools import lru_cache, partial
from typing import Literal, get_args

from babel import Locale
from babel.dates import format_datetime
from babel.numbers import format_decimal, format_percent
from babel.units import format_unit

from services.reporting.api.page.words import account, common, ledger, operations, public, work
from services.reporting.api.page.words import map as map_

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

ZONE = timezone(timedelta(hours=8))
"""All of China keeps one time, the whole year; images without a time zone database know it too."""

FEW = 10
"""Below so many a second, tenths are told."""

NOTHING = "-"
"""Where a figure is not kept, or not known yet."""

KEPT = 4096
"""Figures that each language remembers how to write: most stay as they are for a while."""

_WORDS: Mapping[str, tuple[str, str]] = {
    **common.WORDS,
    **account.WORDS,
    **map_.WORDS,
    **ledger.WORDS,
    **operations.WORDS,
    **public.WORDS,
    **work.WORDS,
}
"""Each word once, Chinese and English side by side; those of one view in a module of its own."""


class Speech:
    """One language: words, numbers and times as its readers write them."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self.tag = "zh-CN" if language == "zh" else "en"
        self.other: Language = "en" if language == "zh" else "zh"
        self._locale = locale = Locale.parse("zh_Hans_CN" if language == "zh" else "en_GB")
        self._count = lru_cache(KEPT)(partial(format_decimal, locale=locale))
        self._percent = lru_cache(KEPT)(partial(format_percent, format="0.00%", locale=locale))
        self._place = LANGUAGES.index(language)

    def __call__(self, word: str, *given: object) -> str:
        """Say a word; one we have no translation of, such as a code, as it is."""
        said = _WORDS.get(word)
        return said[self._place].format(*given) if said else word.rpartition(".")[2]

    def number(self, n: int | None) -> str:
        """Write a count."""
        return NOTHING if n is None else self._count(n)

    def share(self, share: float | None) -> str:
        """Write a share, never rounded up to all: 99.99 % is not everybody."""
        if share is None:
            return NOTHING
        return self._percent(int(share * 10_000) / 10_000)

    def rate(self, each_second: float) -> str:
        """Write how many a second."""
        digits = 1 if 0 < each_second < FEW else 0
        return str(format_decimal(round(each_second, digits), locale=self._locale))

    def age(self, seconds: float) -> str:
        """Write how long ago something was, by its largest unit."""
        for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
            if seconds >= size:
                return str(format_unit(int(seconds // size), unit, "short", locale=self._locale))
        return str(format_unit(round(seconds, 1), "second", "short", locale=self._locale))

    def clock(self, at: datetime) -> str:
        """Write a time of day, in China."""
        return str(format_datetime(at, "HH:mm:ss", tzinfo=ZONE, locale=self._locale))

    def left(self, part: int | None, whole: int | None) -> str:
        """Write what share is left, never rounded down to nothing: one of a million is somebody."""
        if part is None or not whole:
            return NOTHING
        return self._percent(-(-10_000 * part // whole) / 10_000)

    def moment(self, at: datetime | None) -> str:
        """Write a day and time of day, in China."""
        if at is None:
            return NOTHING
        pattern = "M月d日 HH:mm" if self.language == "zh" else "d MMM HH:mm"
        return str(format_datetime(at, pattern, tzinfo=ZONE, locale=self._locale))


SPEECH: Mapping[Language, Speech] = {language: Speech(language) for language in LANGUAGES}


def preferred(chosen: str | None, accepted: str | None) -> Language:
    """Choose a language: the one that was chosen, else the first that the browser asks for."""
    for asked in (chosen, *(accepted or "").split(",")):
        for language in LANGUAGES:
            if asked and asked.strip().lower().startswith(language):
                return language
    return "zh"
