"""Dynamo's offline simulator: argv[1] is JSON of the run; prints what each request of each repetition got as JSON."""

import json
import sys

from dynamo.llm import KvRouterConfig
from dynamo.mocker.config import normalize_mocker_config
from dynamo.replay import run_trace_replay

run = json.loads(sys.argv[1])
kv = run["policy"] == "kv"
repetitions = []
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
        capture_per_request=True,
    )
    names = ("ttft_ms", "itl_ms", "e2e_latency_ms", "input_length", "reused_input_tokens")
    repetitions.append([{name: request[name] for name in names} for request in report.per_request])
print(json.dumps(repetitions))
