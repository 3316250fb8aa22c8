"""All of dispatch's SQL, by noun. Read `people` and `visits` first: they keep what steps change.

`cases`, `waiting` and `totals` look at people and visits · `teams` who goes where · `rounds` and
`areas` as registry tells of them · `receipts` what was told under which id · `batches` many rows in
one statement.

Locks, in the one order everybody takes them: round (advisory, shared by everybody but those who
change the round itself) → report or decision → teams, sorted → persons, sorted → visits → outbox
heads. A person's row is the mutex of all their visits in that round: nothing of one is written
without the other's lock.
"""
