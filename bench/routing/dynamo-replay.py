"""Dynamo's offline simulator: argv[1] is JSON of the run; prints a list of summaries as JSON."""

import json
import sys

from dynamo.llm import KvRouterConfig
from dynamo.mocker.config import normalize_mocker_config
from dynamo.replay import run_trace_replay

run = json.loads(sys.argv[1])
kv = run["policy"] == "kv"
summaries = []
for _ in range(run["repeats"]):
    report = run_trace_replay(
        run["trace"],
        trace_block_size=run["traceBlockTokens"],
        extra_engine_args=normalize_mocker_config({"engine": run["engine"]}),
        num_workers=run["workers"],
        router_mode="kv_router" if kv else "round_robin",
        router_config=KvRouterConfig() if kv else None,
        kv_event_lag_ms=1.0 if kv else None,
        arrival_speedup_ratio=run["speedup"],
        sla_ttft_ms=run["slaTtftMs"],
        sla_itl_ms=run["slaItlMs"],
    )
    summaries.append(report.summary)
print(json.dumps(summaries))
