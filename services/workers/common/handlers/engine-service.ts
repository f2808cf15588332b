import { abort } from './abort.ts';
import { adapters } from './adapters.ts';
import { classify } from './classify.ts';
import { clearCache } from './clear-cache.ts';
import { drain } from './drain.ts';
import { embed } from './embed.ts';
import { EmbedGate } from './embed-gate.ts';
import { fetchArtifact } from './fetch-artifact.ts';
import { generate } from './generate.ts';
import { getEngineInfo } from './get-engine-info.ts';
import { getLoad } from './get-load.ts';
import type { ContextOf, EngineServiceImpl } from './handler.ts';
import { releaseHandoff } from './release-handoff.ts';
import { score } from './score.ts';
import { session } from './session.ts';
import { sleep } from './sleep.ts';
import { subscribeForwardPasses } from './subscribe-forward-passes.ts';

/** EngineService over the worker's engines, without SubscribeKvEvents, which answers in encoded frames. */
export function engineService(contextOf: ContextOf): Omit<EngineServiceImpl, 'subscribeKvEvents'> {
  const gate = new EmbedGate();
  return {
    ...generate(contextOf),
    ...session(contextOf),
    ...embed(contextOf, gate),
    ...score(contextOf, gate),
    ...classify(contextOf),
    ...getEngineInfo(contextOf),
    ...getLoad(contextOf),
    ...abort(contextOf),
    ...drain(contextOf),
    ...clearCache(contextOf),
    ...sleep(contextOf),
    ...adapters(contextOf),
    ...releaseHandoff(contextOf),
    ...subscribeForwardPasses(contextOf),
    ...fetchArtifact(contextOf),
  };
}
