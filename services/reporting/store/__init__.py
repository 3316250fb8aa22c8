"""All of reporting's SQL, by noun. `counters` and `figures` are the ones to read: in, and out.

`areas` · `denominators` · `rounds` as registry announced them · `counters` events move them ·
`deltas` what each position moved · `figures` sums of counters, now and at a cut · `freshness` how
far we and the producers are · `parked` dead letters · `generations` lives of the counters.

Reads take a generation, so that one transaction sees one life of the counters from first to last.
"""
