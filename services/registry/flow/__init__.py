"""START HERE: the use cases, in the order of the business.

`residents` people go on the roll · `rounds` a round opens, closes, is sealed · `results` samples
and results come in · `exclusions` stated reasons not to be tested · `field` what dispatch reports
· `denominators` how many people others say there are · `needs` begin and end · `clock` does what
is due.

Each reads: lock → load → decide → save → settle the account → announce.
"""
