"""Write every dashboard as Grafana's provisioning reads it."""

from deploy.grafana.boards import command, operations
from deploy.grafana.panels import FOLDER, text

for board in (command.BOARD, operations.BOARD):
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{board['uid']}.json").write_text(text(board), encoding="utf-8")
