"""START HERE: what reporting does, one file per part of the business.

==============  ================================================================================
`account`       an event comes in: areas, rounds, the roll and visits are folded into figures
`figures`       somebody asks: coverage, the series, and as of when they are
`ledger`        somebody doubts: fold = recount, at one cut, or what differs
`producers`     every second: how far are the others, so that figures can say how old they are
`rebuild`       all of it once more from position zero, beside the old, then swapped
==============  ================================================================================
"""
