"""The dashboard: pages by NiceGUI that follow the ledger, on the same app as the API."""

from api.dashboard.mounting import mount

__all__ = ["mount"]
