import { setTimeout as delay } from 'node:timers/promises';
import type { ContextOf, EngineServiceImpl } from './handler.ts';

const reportMs = 100;

/** Begins to drain and reports until nothing is left; the worker drains on if the caller leaves. */
export function drain(contextOf: ContextOf): Pick<EngineServiceImpl, 'drain'> {
  return {
    async *drain(request, call) {
      const { drainer } = contextOf();
      let done = false;
      const drained = drainer.drain(request.graceMs === 0 ? undefined : request.graceMs).then(() => {
        done = true;
      });
      while (!done && !call.signal.aborted) {
        if (drainer.remaining > 0) yield { remaining: drainer.remaining };
        await Promise.race([drained, delay(reportMs, undefined, { ref: false })]);
      }
      if (done) yield { remaining: drainer.remaining };
    },
  };
}
