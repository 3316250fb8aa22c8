"""What figures are made of, what they say, and when the account balances. No I/O.

`ledger` is the one to read: how the account is proven.

`areas` where people are counted · `rounds` what is counted in · `cells` one figure of one community
· `coverage` the lines of the table · `work` what is to be done, and what is past due of it ·
`denominators` the same people as others count them · `series` along sampling time ·
`freshness` how old all that is · `evidence` what each service says of the account · `ledger` what
follows from it · `generations` lives of the counters.
"""
