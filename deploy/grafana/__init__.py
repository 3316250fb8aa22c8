"""Dashboards of Grafana, as code: `python -m deploy.grafana` writes them to `dashboards/`."""
