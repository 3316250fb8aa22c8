"""What Prometheus makes of us: needs Debian's programs, see `make test-metrics`."""
