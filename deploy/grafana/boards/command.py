"""For the command group (领导小组): who is left, where, and whether it will be done in time.

The figures are those of reporting's page and of `GET /v1/coverage`, from the same counters.
"""

from deploy.grafana.panels import Query, Row, alerts, board, curves, stat, table, variable

_NAMED = "* on (office) group_left (name) max by (office, name) (lastmetre_office_info)"
_NONE_PENDING = {
    "1": {"text": "平 true", "color": "green"},
    "0": {"text": "不平 not true", "color": "red"},
}


def _office(metric: str) -> str:
    """One figure of every office, with its name."""
    return f'(max by (office) ({metric}{{round="$round"}})) {_NAMED}'


def _round(rule: str) -> str:
    return f'{rule}{{round="$round"}}'


def _total(metric: str) -> str:
    return f'sum(max by (office) ({metric}{{round="$round"}}))'


_HEAD = Row("本轮 The round", [
    stat("未落实 Unaccounted", _round("round:lastmetre_unaccounted:sum"), bad_above=1,
         tells="Neither tested, nor excluded, nor in anybody's hands. The goal is 0."),
    stat("覆盖率 Coverage", _round("round:lastmetre_coverage:ratio"), unit="percentunit",
         good_above=0.95, tells="Sampled by those on the roll and not excluded (R2)."),
    stat("应检 Roll", _round("round:lastmetre_roll:sum"), tells="Everybody who should be tested."),
    stat("已采样 Sampled", _round("round:lastmetre_sampled:sum"),
         tells="Of whom a swab was taken in the round, once each (R1)."),
    stat("已出结果 Resulted", _round("round:lastmetre_resulted:sum"),
         tells="Sampled, and their result was released."),
    stat("免检 Excluded", _round("round:lastmetre_excluded:sum"),
         tells="Not to be tested, for a stated reason; the reasons are on the page."),
    stat("未完成上门 Visits open", _round("round:lastmetre_visits_open:sum"),
         tells="Home visits planned, assigned or started."),
    stat("待派小组 Waiting for a team", _total("lastmetre_visits_waiting"), bad_above=1,
         tells="Visits planned that no team has yet."),
    stat("结果超时 Results late", _total("lastmetre_results_late"), bad_above=1,
         tells="Sampled longer ago than a result may take (R13): at least so many."),
    stat("距截止 Until closing",
         'max(lastmetre_round_closes_timestamp_seconds{round="$round"}) - time()', unit="s",
         tells="Of rounds that go by the clock on the wall."),
    stat("台账 Ledger", 'min(lastmetre_ledger_balanced{round="$round"})', good_above=1,
         mappings=[
             {"type": "value", "options": _NONE_PENDING},
             {"type": "special", "options": {
                 "match": "null+nan", "result": {"text": "待核 pending", "color": "orange"}}},
         ],
         tells="Whether fold = recount was proven."),
    stat("时效 Freshness, p99", "lastmetre_freshness_seconds:p99_5m", unit="s", bad_above=5,
         tells="From accepted by registry to counted here."),
])  # fmt: skip

_OFFICES = Row("各办事处 Offices", [
    table(
        "各办事处 Offices", "office",
        {
            "未落实 unaccounted": (_office("lastmetre_unaccounted"), "short"),
            "覆盖率 coverage": (_office("lastmetre_coverage_ratio"), "percentunit"),
            "应检 roll": (_office("lastmetre_roll"), "short"),
            "免检 excluded": (_office("lastmetre_excluded"), "short"),
            "已采样 sampled": (_office("lastmetre_sampled"), "short"),
            "已出结果 resulted": (_office("lastmetre_resulted"), "short"),
            "未完成上门 visits open": (_office("lastmetre_visits_open"), "short"),
            "已完成上门 visits done": (_office("lastmetre_visits_done"), "short"),
            "待派小组 waiting": (_office("lastmetre_visits_waiting"), "short"),
            "最长等待 waits longest": (_office("lastmetre_oldest_waiting_seconds"), "s"),
            "结果超时 late": (_office("lastmetre_results_late"), "short"),
        },
        tells="The account of each office, from the counters of the page.",
        sort="未落实 unaccounted",
    ),
])  # fmt: skip

_COURSE = Row("进展 Course", [
    curves("未落实 Unaccounted by office", Query(_office("lastmetre_unaccounted"), "{{name}}"),
           tells="Falls to 0, or somebody has to ask why."),
    curves("覆盖率 Coverage by office", Query(_office("lastmetre_coverage_ratio"), "{{name}}"),
           unit="percentunit", tells="R2, by office."),
    curves("谁在负责 In somebody's hands",
           Query(_round("round_kind:lastmetre_in_hand:sum"), "{{kind}}"), stacked=True,
           tells="visit 上门, referral 督促, revisit 复访, escalation 上报, session 专场."),
    curves("速度 Pace",
           Query(f"clamp_min(deriv({_round('round:lastmetre_sampled:sum')}[15m]), 0) * 60",
                 "采样 sampled"),
           Query(f"clamp_min(deriv({_round('round:lastmetre_resulted:sum')}[15m]), 0) * 60",
                 "结果 resulted"),
           tells="People a minute, over a quarter of an hour."),
    curves("按目前速度还需 Left at this pace",
           Query(f"{_round('round:lastmetre_unaccounted:sum')}"
                 f" / (-deriv({_round('round:lastmetre_unaccounted:sum')}[1h]) > 0)", "还需 left"),
           unit="s", tells="Unaccounted by how fast they became fewer within the last hour."),
    curves("各轮覆盖率 Coverage of all rounds",
           Query("round:lastmetre_coverage:ratio * on (round) group_left (name)"
                 " max by (round, name) (lastmetre_round_info)", "{{name}}"),
           unit="percentunit", tells="This round and those that are still told of."),
])  # fmt: skip

BOARD = board(
    "lastmetre-command",
    "Lastmetre 最后一米 · 指挥部 Command group",
    "Who is left, where, and whether it will be done in time.",
    [
        _HEAD,
        Row("需要处理 What wants somebody", [
            alerts("需要处理 What wants somebody", "office|page",
                   tells="Of offices and of the figures; docs/operations.md says what to do."),
        ]),
        _OFFICES,
        _COURSE,
    ],
    [
        variable(
            "round", "轮次 Round",
            "query_result(max by (round, number, name) (lastmetre_round_info))",
            '/name="(?<text>[^"]+)|round="(?<value>[^"]+)/g',
        ),
    ],
)  # fmt: skip
