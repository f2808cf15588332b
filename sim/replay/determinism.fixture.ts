// Prints the report of a small replay in which everything takes part that could differ from run to run.
import { defaultEngineSettings } from '#core/scheduling/engine/settings.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import { routerSettings } from '#services/router/config.ts';
import { buildReport } from '../report/build-report.ts';
import { ReplayRecorder } from '../report/recorder.ts';
import { renderReportJson } from '../report/report-json.ts';
import { generateMooncakeLike } from '../traces/mooncake-like.ts';
import type { TraceRequest } from '../traces/trace-request.ts';
import { runReplay } from './replay.ts';

const seed = Number(process.argv[2]);
const observer = new ReplayRecorder({ levels: { ttftMs: 500 } });
const offload = { ...defaultEngineSettings.offload, hostBlocks: 500, hostGigabytesPerSecond: 20, bytesPerToken: 1e5 };
await runReplay({
  trace: 'Mooncake-like',
  requests: trace(),
  expectedRequests: 400,
  load: { concurrency: undefined, intervalMs: undefined, maxRequests: 400, speedup: 3 },
  workers: [1, 2, 3].map((ranks) => ({
    role: 'aggregated',
    ranks,
    engine: { ...defaultEngineSettings, totalBlocks: 3000, acceptRates: [0.8, 0.5], offload },
    timing: undefined,
    readyAfterMs: ranks * 10,
  })),
  router: defaultSettings(routerSettings, {
    temperature: 0.5,
    queueThreshold: 1,
    trackOutputBlocks: true,
    prefillLoadModel: 'learned',
    predictedTtlSeconds: 1,
  }),
  seed,
  kvEventDelayMs: 2,
  sampleMs: 500,
  observer,
});
process.stdout.write(renderReportJson(buildReport(observer, { settings: {}, partial: false })));

async function* trace(): AsyncGenerator<TraceRequest> {
  yield* generateMooncakeLike({ requests: 400, seed });
}
