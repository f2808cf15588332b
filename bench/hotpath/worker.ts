// A worker with the synthetic engine, paced.
import { defaultSettings } from '#lib/config/settings.ts';
import { openDiscovery } from '#lib/discovery/open.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { mockerSettings } from '#services/workers/mocker/config.ts';
import { startMockerWorker } from '#services/workers/mocker/service.ts';
import { answerParent } from './child.ts';
import { metricValue } from './metric-value.ts';
import { planOfProcess } from './plan.ts';

const plan = planOfProcess();
const telemetry = quietTelemetry();
const discovery = await openDiscovery(`file:${plan.discoveryPath}`, {
  namespace: 'default',
  ttlSeconds: 60,
  telemetry,
});
const config = {
  ...defaultSettings(mockerSettings),
  listen: '127.0.0.1:0',
  stepMs: plan.stepMs,
  burst: plan.burst,
  meanOutputTokens: 0,
  contextLength: 1_000_000,
  maxSequences: plan.width,
  kvBlocks: 4_000_000,
};
const shutdown = new AbortController();
const worker = await startMockerWorker(config, { telemetry, discovery, shutdown: shutdown.signal, instanceId: 1n });
answerParent(worker.address, () => metricValue(telemetry, 'stator_session_tokens_total'));
