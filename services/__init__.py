"""The three services: registry, dispatch, reporting. They know each other by contracts alone."""
