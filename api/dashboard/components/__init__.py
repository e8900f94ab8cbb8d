"""What pages are made of. Texts that come from searches are shown as texts, never read as HTML."""

from api.dashboard.components.chart import Chart
from api.dashboard.components.controls import banner, busy, button, confirmed, empty, spoken
from api.dashboard.components.table import DataTable
from api.dashboard.components.text import block, link, text

__all__ = [
    "Chart",
    "DataTable",
    "banner",
    "block",
    "busy",
    "button",
    "confirmed",
    "empty",
    "link",
    "spoken",
    "text",
]
