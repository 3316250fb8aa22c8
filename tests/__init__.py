"""Tests, one folder per part of the project, and what they share in `support`."""
