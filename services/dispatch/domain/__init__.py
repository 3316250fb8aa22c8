"""What dispatch decides, without I/O: cases, visits, and in whose hands people are.

Things: `people` one resident in one round: registry's word of them, their case, hand and visit ·
`cases` · `hands` · `visits` and what is told of them · `teams` · `rounds` · `areas` · `policy` the
numbers of the field · `errors` every rule that can be broken.

Decisions, by who speaks: `roll` registry · `clock` time and the round · `assignment` who has a
visit · `doors` what happens at one · `decisions` an office. Each takes a person as they are and a
`Scene` and gives a `Step`, both in `steps`: the person as they will be, and each visit that moved.

All end in `consequences`, the one to read: afterwards an open case has an open visit or a hand, and
a closed one has neither, but for a team that is at the door and a sample that awaits registry's
answer.
"""
