"""What travels between the services: one module per producer, and the envelope around it.

Contracts are additive only: a field may be added with a default, nothing is renamed or removed
within a version. Their JSON Schemas stand beside them in `schemas/`, kept in step by a test.
"""
