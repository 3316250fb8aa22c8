"""The mechanics that all services stand on."""
