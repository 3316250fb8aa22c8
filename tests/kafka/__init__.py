"""Apache Kafka itself: what the embedded broker cannot stand in for.

`make test-kafka` runs it; it needs Java, so `make test` passes it over (`norecursedirs`).
"""
