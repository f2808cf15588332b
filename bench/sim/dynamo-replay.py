"""Dynamo's offline simulator: argv[1] is JSON of the run; prints what it took as JSON."""

import json
import resource
import sys
import time

from dynamo.llm import KvRouterConfig
from dynamo.mocker.config import normalize_mocker_config
from dynamo.replay import run_trace_replay

run = json.loads(sys.argv[1])
kv = run["mode"] == "kv"
before = resource.getrusage(resource.RUSAGE_SELF)
begun = time.monotonic()
report = run_trace_replay(
    run["trace"],
    trace_block_size=512,
    extra_engine_args=normalize_mocker_config({"engine": run["engine"]}),
    num_workers=run["workers"],
    router_mode="kv_router" if kv else "round_robin",
    router_config=KvRouterConfig() if kv else None,
    kv_event_lag_ms=1.0 if kv else None,
    arrival_speedup_ratio=run["speedup"],
)
seconds = time.monotonic() - begun
after = resource.getrusage(resource.RUSAGE_SELF)
cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
completed = report.summary["completed_requests"]
print(json.dumps({"seconds": seconds, "cpuSeconds": cpu, "completed": completed, "peakMib": after.ru_maxrss / 1024}))
