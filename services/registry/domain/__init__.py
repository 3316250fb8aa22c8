"""What registry deals in and what may happen to it. No I/O.

`areas` where people live · `residents` who they are · `rounds` a pass over the population ·
`entries` samples, results and exclusions as they come in · `batch` many of them decided together ·
`answers` what each row is told · `errors` every rule that can be broken.
"""
