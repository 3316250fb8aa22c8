"""Drills: what operators do on a bad day, rehearsed on a stack of its own while a day is played.

Each is a script whose last line is the ledger, and which exits with 0 only if it balances:

    python -m deploy.drills.upgrade      the next version comes up beside the last, under load
    python -m deploy.drills.restore      registry's database is lost and comes back from a backup
"""
