"""Whole days, told from the outside."""
