"""What everybody is told."""

from collections.abc import Mapping

WORDS: Mapping[str, tuple[str, str]] = {
    "public.offices": ("各办事处进度", "By office"),
    "public.withheld": ("不公开", "not shown"),
    "public.why": (
        "涉及 1 至 {} 人的数字不公开, 能推算出它们的数字也不公开.",
        "Figures of 1 to {} people are not shown, nor those from which these would follow.",
    ),
    "public.every": ("每 {} 分钟更新一次.", "New figures come every {} minutes."),
}
