"""What the account by area says."""

from collections.abc import Mapping

WORDS: Mapping[str, tuple[str, str]] = {
    "coverage": ("覆盖率", "Coverage"),
    "visits_open": ("待上门", "Visits open"),
    "visits_done": ("已上门", "Visits done"),
    "resulted": ("已出结果", "Resulted"),
    "negative": ("阴性", "Negative"),
    "positive": ("阳性", "Positive"),
    "inconclusive": ("待复检", "Inconclusive"),
    "invalid": ("无效", "Invalid"),
    "visitors": ("外来采样", "Visitors"),
    "account": ("台账", "Account"),
    "closes": ("截止", "closes"),
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
    "by_reason": ("免检原因", "Excluded, by reason"),
    "people": ("人数", "People"),
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
    "sort": ("排序", "sort by"),
}
