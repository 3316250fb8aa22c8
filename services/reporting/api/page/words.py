"""What the page says, in both languages: the field's own terms (最后一米)."""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Literal, get_args

from babel import Locale
from babel.dates import format_datetime
from babel.numbers import format_decimal, format_percent

Language = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

ZONE = timezone(timedelta(hours=8))
"""All of China keeps one time, the whole year; images without a time zone database know it too."""

NOTHING = "-"
"""Where a figure is not kept, or not known yet."""

# Each word once, Chinese and English side by side.
_WORDS: Mapping[str, tuple[str, str]] = {
    "lastmetre": ("最后一米", "Lastmetre"),
    "motto": ("不留死角、不落一人", "no blind corner, nobody left out"),
    "roll": ("应检", "Roll"),
    "sampled": ("已采样", "Sampled"),
    "excluded": ("免检", "Excluded"),
    "in_hand": ("跟进中", "In hand"),
    "unaccounted": ("未落实", "Unaccounted"),
    "coverage": ("覆盖率", "Coverage"),
    "visits_open": ("待上门", "Visits open"),
    "visits_done": ("已上门", "Visits done"),
    "resulted": ("已出结果", "Resulted"),
    "negative": ("阴性", "Negative"),
    "positive": ("阳性", "Positive"),
    "inconclusive": ("待复检", "Inconclusive"),
    "invalid": ("无效", "Invalid"),
    "visitors": ("外来采样", "Visitors"),
    "office": ("办事处", "Office"),
    "community": ("社区", "Community"),
    "all": ("合计", "All"),
    "account": ("台账", "Account"),
    "unassigned": ("未归属", "Unassigned"),
    "state.draft": ("未开始", "draft"),
    "state.open": ("进行中", "open"),
    "state.closed": ("已结束", "closed"),
    "state.sealed": ("已封存", "sealed"),
    "closes": ("截止", "closes"),
    "as_of": ("数据截至", "as of"),
    "seconds_ago": ("秒前", "s ago"),
    "not_known": ("尚不清楚", "not known yet"),
    "lost": ("连接中断, 正在重试", "connection lost, trying again"),
    "finish": ("预计完成", "Finished at this pace"),
    "finish.done": ("已全部落实", "everybody is accounted for"),
    "finish.over": ("本轮已结束", "the round is over"),
    "finish.never": ("近期无采样, 无法预计", "nobody is being sampled"),
    "finish.method": (
        "按最近三十分钟的采样速度推算跟进中与未落实人员",
        "those in hand and unaccounted, at the pace of the last thirty minutes",
    ),
    "curve": ("采样进度", "Coverage since opening"),
    "curve.hours": ("开始后小时数", "hours since opening"),
    "curve.round": ("第{}轮", "round {}"),
    "curve.table": ("以表格查看", "as a table"),
    "curve.hour": ("小时", "Hour"),
    "by_hand": ("跟进方式", "In hand, by kind"),
    "by_reason": ("免检原因", "Excluded, by reason"),
    "people": ("人数", "People"),
    "none": ("无", "none"),
    "hand.visit": ("上门任务", "home visit"),
    "hand.referral": ("督促到点", "referral"),
    "hand.revisit": ("复访", "revisit"),
    "hand.escalation": ("上报", "escalation"),
    "hand.session": ("专场", "session"),
    # Reasons are codes of whoever files them: these are those of the practice.
    "reason.under_3": ("未满三岁", "under three years"),
    "reason.vaccinated_48h": ("接种未满48小时", "vaccinated within 48 hours"),
    "reason.tested_elsewhere": ("已在外地检测", "tested elsewhere"),
    "reason.recovered": ("康复人员", "recovered"),
    "back": ("返回", "Back to all offices"),
    "sort": ("排序", "sort by"),
    "theme": ("深色/浅色", "dark or light"),
    "language": ("English", "中文"),
    "wall": ("大屏", "Wallboard"),
    "sign_in": ("登录", "Sign in"),
    "sign_out": ("退出", "Sign out"),
    "sign_in.lead": (
        "请使用一次性登录链接, 或粘贴访问令牌.",
        "Use your one-time sign-in link, or paste an access token.",
    ),
    "sign_in.token": ("访问令牌", "Access token"),
    "sign_in.used": (
        "此链接已使用过, 请索取新的链接.",
        "This link was used before. Ask for a new one.",
    ),
    "sign_in.refused": ("令牌无效或已过期.", "The token is not valid, or has expired."),
    "sign_in.rights": (
        "此令牌无权查看本页.",
        "The token gives no right to look at this page.",
    ),
    "problem.404": ("没有可以查看的轮次.", "There is no round to look at, or no such office."),
    "problem.503": ("系统繁忙, 请稍候.", "Too much is going on right now. It will be tried again."),
    "problem": ("暂时无法显示.", "This cannot be shown right now."),
    "skip": ("跳到主要内容", "Skip to the figures"),
}


class Speech:
    """One language: words, numbers and times as its readers write them."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self.tag = "zh-CN" if language == "zh" else "en"
        self.other: Language = "en" if language == "zh" else "zh"
        self._locale = Locale.parse("zh_Hans_CN" if language == "zh" else "en_GB")
        self._place = LANGUAGES.index(language)

    def __call__(self, word: str, *given: object) -> str:
        """Say a word; one we have no translation of, such as a code, as it is."""
        said = _WORDS.get(word)
        return said[self._place].format(*given) if said else word.rpartition(".")[2]

    def number(self, n: int | None) -> str:
        """Write a count."""
        return NOTHING if n is None else str(format_decimal(n, locale=self._locale))

    def share(self, share: float | None) -> str:
        """Write a share, never rounded up to all: 99.99 % is not everybody."""
        if share is None:
            return NOTHING
        floored = int(share * 10_000) / 10_000
        return str(format_percent(floored, "0.00%", locale=self._locale))

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
