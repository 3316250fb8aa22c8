"""What the map says."""

from collections.abc import Mapping

WORDS: Mapping[str, tuple[str, str]] = {
    "map": ("未落实人员分布", "Where people are unaccounted for"),
    "map.table": ("以表格查看", "The same as a table"),
    "map.scheme": (
        "示意图: 按上报坐标绘制相对位置",
        "A sketch: positions to each other, by the coordinates that came with the areas",
    ),
    "map.by.office": ("按办事处", "by office"),
    "map.by.community": ("按社区", "by community"),
    "map.of_office": ("本办事处地图", "Map of this office"),
    "map.account": ("本办事处台账", "Account of this office"),
    "map.back": ("返回地图", "Back to the map"),
    "map.to_table": ("跳到表格", "Skip to the table"),
    "map.at": (
        "{}: 未落实 {} ({}), 应检 {}",
        "{}: {} unaccounted ({}), of {} on the roll",
    ),
    "map.share": ("未落实占应检", "Unaccounted, of the roll"),
    "map.unplaced": (
        "未提供位置, 图上没有: ",
        "Not on the map, as nobody has told where they are: ",
    ),
    "map.nobody_placed": (
        "尚无区域位置. 导入: lastmetre import areas FILE.geojson",
        "Nobody has told where areas are yet: lastmetre import areas FILE.geojson",
    ),
    "map.cleared.office": ("已清零办事处", "Offices with nobody left"),
    "map.cleared.community": ("已清零社区", "Communities with nobody left"),
    "map.offices": ("办事处", "Offices"),
    "map.communities": ("社区", "Communities"),
    "left": ("未落实占比", "Share unaccounted"),
    "step.unknown": ("无应检人员", "nobody on the roll"),
    "step.zero": ("已清零", "nobody left"),
    "step.step-1": ("不足 1%", "below 1%"),
    "step.step-2": ("1% 至 5%", "1% to 5%"),
    "step.step-3": ("5% 至 20%", "5% to 20%"),
    "step.step-4": ("20% 至 50%", "20% to 50%"),
    "step.step-5": ("50% 以上", "50% and more"),
}
