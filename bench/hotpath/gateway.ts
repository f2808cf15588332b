// A gateway as it is in production, but for the tokenizer, which is asked once a request only.

import { gatewaySettings } from '#gateway/config.ts';
import { startGateway } from '#gateway/service.ts';
import { byteTokenizer } from '#gateway/testing/byte-tokenizer.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import { openDiscovery } from '#lib/discovery/open.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
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
const config = { ...defaultSettings(gatewaySettings), listen: '127.0.0.1:0' };
const shutdown = new AbortController();
const parts = { telemetry, discovery, shutdown: shutdown.signal, instanceId: 2n };
const gateway = await startGateway(config, parts, { tokenizer: byteTokenizer() });
while (!gateway.context.workers.isAlive(1n)) await new Promise((resolve) => setTimeout(resolve, 20));
answerParent(gateway.address, () => metricValue(telemetry, 'stator_session_tokens_total'));
