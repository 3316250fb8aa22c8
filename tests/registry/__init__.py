"""The stories of registry, and its account under random days."""
