"""For operators: is everything up, does everything flow, where does it pinch."""

from deploy.grafana.panels import Query, Row, alerts, board, curves, stat

_SERVICE = "{{service}}"
_PLACE = "{{service}} {{process}} {{instance}}"
_TOPIC = "{{service}} ← {{topic}}"


def _of_pool(state: str) -> str:
    return f"max by (service, process, instance) (lastmetre_database_pool_{state})"


_HEAD = Row("State", [
    stat("Processes down", 'count(up{job="lastmetre"} == 0) or vector(0)', bad_above=1,
         tells="Targets whose metrics cannot be read."),
    stat("Parked events", "sum(max by (service, topic) (lastmetre_parked_events))", bad_above=1,
         tells="Set aside until somebody decides."),
    stat("Stopped partitions",
         "sum(max by (service, topic) (lastmetre_consumer_stopped_partitions))", bad_above=1,
         tells="A producer came back from an older backup, and waits to be adopted."),
    stat("Freshness, p99", "lastmetre_freshness_seconds:p99_5m", unit="s", bad_above=5,
         tells="From accepted by registry to counted by reporting, of every result."),
    stat("Oldest unapplied", "max(lastmetre_oldest_unapplied_seconds)", unit="s", bad_above=30,
         tells="Of all consumers and topics."),
    stat("Results a second",
         'sum(rate(lastmetre_results_accepted_total{status="accepted"}[1m]))', unit="reqps",
         tells="Rows of samples and results that were new."),
])  # fmt: skip

_REQUESTS = Row("Requests", [
    curves("Rate by route", Query("service_method_route:lastmetre_http_requests:rate5m",
                                  "{{service}} {{method}} {{route}}"),
           unit="reqps", tells="Requests a second."),
    curves("Failures by route", Query("service_method_route:lastmetre_http_failures:rate5m > 0",
                                      "{{service}} {{method}} {{route}}"),
           unit="reqps", tells="Answers 5xx a second."),
    curves("Duration by route, p99",
           Query("service_method_route:lastmetre_http_request_duration_seconds:p99_5m",
                 "{{service}} {{method}} {{route}}"),
           unit="s", tells="Batches take as their rows, streams as long as somebody looks."),
    curves("Share of failures", Query("service:lastmetre_http_failures:ratio_rate5m", _SERVICE),
           unit="percentunit", tells="5xx of all."),
    curves("Rows of results by answer",
           Query("channel_status:lastmetre_results_accepted:rate1m", "{{channel}} {{status}}"),
           unit="reqps", tells="Accepted, duplicate or rejected, by channel."),
    curves("Rounds and needs turned by the clock",
           Query("sum by (step) (increase(lastmetre_rounds_stepped_total[$__rate_interval]))",
                 "{{step}}"),
           Query("sum(increase(lastmetre_needs_turned_total[$__rate_interval]))", "needs"),
           tells="What registry's clock did."),
])  # fmt: skip

_LOAD = Row("Load", [
    curves("In work and waiting, by lane",
           Query("sum by (service, lane) (lastmetre_http_in_work)", "{{service}} {{lane}} in work"),
           Query("sum by (service, lane) (lastmetre_http_waiting)", "{{service}} {{lane}} waiting"),
           tells="Requests; what no lane can take is refused at once."),
    curves("Refused", Query("sum by (service, reason) (rate(lastmetre_http_refused_total[5m]))",
                            "{{service}} {{reason}}"),
           unit="reqps", tells="By load, before anything was done."),
    curves("Clients cut off", Query("sum by (reason) (rate(lastmetre_http_cut_total[5m]))",
                                    "{{reason}}"),
           unit="reqps", tells="They dripped, did not read, or sent without end."),
    curves("Database connections in use",
           Query(f"{_of_pool('in_use')} / {_of_pool('size')}", _PLACE), unit="percentunit",
           tells="Of those that a process may hold."),
    curves("Waiting for a connection", Query(_of_pool("waiting"), _PLACE),
           tells="Use cases at the moment they were asked."),
    curves("Gave up waiting for a connection",
           Query("sum by (service, process, instance)"
                 " (rate(lastmetre_database_pool_refused_total[5m]))", _PLACE),
           unit="reqps", tells="Each is a 503, or work that is done a moment later."),
])  # fmt: skip

_EVENTS = Row("Events", [
    curves("Lag", Query("service_topic:lastmetre_consumer_lag_positions:sum", _TOPIC),
           tells="Positions between the producer's head and what was applied."),
    curves("Oldest unapplied",
           Query("max by (service, topic) (lastmetre_oldest_unapplied_seconds)", _TOPIC), unit="s",
           tells="Its age."),
    curves("Freshness",
           Query("histogram_quantile(0.5,"
                 " sum by (le) (rate(lastmetre_freshness_seconds_bucket[5m])))", "p50"),
           Query("lastmetre_freshness_seconds:p99_5m", "p99"), unit="s",
           tells="From accepted to counted, of every result."),
    curves("Applied, by the way they came",
           Query("sum by (service, source) (rate(lastmetre_consumer_applied_total[5m]))",
                 "{{service}} {{source}}"),
           unit="eps", tells="Records a second by Kafka, and by the pull."),
    curves("Outbox: not on Kafka yet",
           Query("max by (service, topic) (lastmetre_outbox_unpublished)", "{{topic}}"),
           tells="Records that the relay has not published."),
    curves("Outbox: the way to Kafka",
           Query("max by (service, topic) (lastmetre_outbox_oldest_unpublished_seconds)",
                 "{{topic}} oldest"),
           Query("service_topic:lastmetre_outbox_publish_seconds:p99_5m", "{{topic}} p99"),
           unit="s", tells="Age of the oldest that waits, and how long the way took."),
    curves("Outbox: published",
           Query("sum by (topic) (rate(lastmetre_outbox_published_total[5m]))", "{{topic}}"),
           unit="eps", tells="Records a second."),
    curves("Outbox: size on disk",
           Query("max by (service, topic) (lastmetre_outbox_bytes)", "{{topic}}"), unit="bytes",
           tells="It is kept for the whole campaign."),
    curves("Parked, and for how long",
           Query("max by (service, topic) (lastmetre_parked_events)", _TOPIC),
           Query("max by (service, topic) (lastmetre_oldest_parked_seconds) / 3600",
                 f"{_TOPIC} hours"),
           tells="Undecided events, and hours since the oldest was set aside."),
    curves("Parked and decided",
           Query("sum by (service, kind) (increase(lastmetre_parked_total[$__rate_interval]))",
                 "{{service}} parked: {{kind}}"),
           Query("sum by (service, decision)"
                 " (increase(lastmetre_parked_decisions_total[$__rate_interval]))",
                 "{{service}} {{decision}}"),
           tells="What came and what people did about it."),
    curves("Relays that lead",
           Query('sum by (service) (lastmetre_relay_leader{process="relay"})', _SERVICE),
           tells="One of each service."),
    curves("Ledger", Query("min by (round) (lastmetre_ledger_balanced)", "{{round}}"),
           tells="1 proven, 0 not true; a gap: pending."),
    curves("Webhooks",
           Query("sum by (outcome) (increase(lastmetre_webhook_attempts_total[$__rate_interval]))",
                 "{{outcome}}"),
           Query("max by (state) (lastmetre_webhook_deliveries)", "{{state}} now"),
           tells="Calls of receivers, and deliveries that are still tried or were given up."),
])  # fmt: skip

_MACHINE = Row("Processes", [
    curves("CPU", Query('rate(process_cpu_seconds_total{job="lastmetre"}[5m])', _PLACE),
           tells="Cores in use."),
    curves("Memory", Query('process_resident_memory_bytes{job="lastmetre"}', _PLACE), unit="bytes",
           tells="Resident."),
    curves("Open files",
           Query('process_open_fds{job="lastmetre"} / process_max_fds{job="lastmetre"}', _PLACE),
           unit="percentunit", tells="Of those that a process may open."),
    curves("Audit log", Query("max by (service) (lastmetre_audit_records)", _SERVICE),
           tells="Records; they only grow."),
    curves("Keys in use", Query("count by (key) (lastmetre_registry_key == 1)", "{{key}}"),
           tells="How many processes seal with which key."),
    curves("Keys file refused",
           Query("max by (instance) (lastmetre_registry_keys_file_refused)", "{{instance}}"),
           tells="1 while a process does not take it."),
])  # fmt: skip

BOARD = board(
    "lastmetre-operations",
    "Lastmetre 最后一米 · 运维 Operations",
    "Is everything up, does everything flow, where does it pinch.",
    [
        _HEAD,
        Row("Alerts", [
            alerts("Firing", "page|ticket|office", tells="docs/operations.md says what to do."),
        ]),
        _EVENTS,
        _REQUESTS,
        _LOAD,
        _MACHINE,
    ],
)  # fmt: skip
