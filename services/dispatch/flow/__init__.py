"""START HERE: the use cases, in the order of a testing day.

`rounds` a round is made, opens, closes, its clock moves · `roll` registry says where people stand,
and answers to samples · `teams` who goes where · `visits` what happens at one door · `cases` what
an office makes of it · `lists` what is shown of it all · `steps` what they share.

Each is one transaction: enter the round → lock the persons → decide → save → announce. What the
topics bring comes in batches and is decided set by set; people and teams come one at a time.
"""
