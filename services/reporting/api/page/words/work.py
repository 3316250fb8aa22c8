"""What is said of what is to be done."""

from collections.abc import Mapping

WORDS: Mapping[str, tuple[str, str]] = {
    "work": ("待办情况", "What is to be done"),
    "work.visits": ("上门任务", "Home visits"),
    "visit.planned": ("待派", "planned"),
    "visit.assigned": ("已派", "assigned"),
    "visit.started": ("上门中", "at the door"),
    "visit.finished": ("已完成", "finished"),
    "visit.cancelled": ("已取消", "cancelled"),
    "work.waiting": ("等待派组", "Waiting for a team"),
    "work.waiting.none": ("没有等待派组的任务.", "No visit waits for a team."),
    "work.waiting.since": ("最早自 {} 起等待", "the longest since {}"),
    "work.need": ("需求", "Need"),
    "work.visits.n": ("任务数", "Visits"),
    "work.needs.overlap": ("一人可有多项需求.", "Somebody may have several needs."),
    "work.hands": ("跟进中", "In hand"),
    "work.hands.kind": ("方式", "Kind"),
    "work.past_due": ("已逾期", "Past due"),
    "work.first_due": ("最早到期", "First due"),
    "work.rebuild": (
        "升级后尚未统计, 请重建报表.",
        "Not counted since the upgrade: the figures have to be rebuilt.",
    ),
    "work.outcomes": ("上门结果", "At the door"),
    "outcome.sampled": ("已采样", "sampled"),
    "outcome.absent": ("家中无人", "absent"),
    "outcome.refused": ("拒绝", "refused"),
    "outcome.moved": ("已搬走", "moved"),
    "outcome.deceased": ("已故", "deceased"),
    "outcome.ineligible": ("不宜采样", "ineligible"),
    "outcome.locked": ("门锁, 无法进入", "locked"),
    "outcome.referred": ("转督促到点", "referred"),
    "outcome.not_executable": ("无法执行", "not executable"),
}
