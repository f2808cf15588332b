import { expect } from 'chai';
import { ServiceKind } from '#gen/stator/discovery/v1/discovery_pb.ts';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { FinishReason } from '#gen/stator/engine/v1/generate_pb.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import { openDiscovery } from '#lib/discovery/open.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { skippedBecause, smolLm2 } from '#native/llamacpp/testing/model.ts';
import { llamacppSettings } from './config.ts';
import { startLlamacppWorker } from './service.ts';

describe(`llamacpp worker: service${skippedBecause}`, function () {
  this.timeout(120_000);

  it('registers its models and answers direct clients with text', async function () {
    if (smolLm2 === undefined) return this.skip();
    const telemetry = quietTelemetry();
    const discovery = await openDiscovery('memory:', { namespace: 'llamacpp-test', ttlSeconds: 10, telemetry });
    const parts = { telemetry, discovery, shutdown: new AbortController().signal, instanceId: 7n };
    const config = defaultSettings(llamacppSettings, {
      model: [smolLm2, smolLm2],
      modelName: ['first', 'second'],
      contextLength: 512,
      threads: 1,
      drainNoticeMs: 0,
    });
    const worker = await startLlamacppWorker(config, parts);
    const watch = discovery.watch(ServiceKind.WORKER);
    await watch.synced;
    const [instance] = watch.instances().values();
    expect(instance?.address).to.equal(worker.address);
    const { client, close } = createRpcClient(EngineService, { address: worker.address }, telemetry);
    const info = await client.getEngineInfo({});
    expect(info.instance?.cards.map(({ name }) => name)).to.deep.equal(['first', 'second']);
    let text = '';
    let reason: FinishReason = FinishReason.UNSPECIFIED;
    const prompt = '<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n';
    for await (const part of client.generate({
      model: 'second',
      prompt,
      sampling: { temperature: 0 },
      output: { text: true },
    })) {
      text += part.text;
      reason = part.finishReason || reason;
    }
    expect(text).to.equal('The capital of France is Paris.');
    expect(reason).to.equal(FinishReason.STOP);
    watch.close();
    close();
    await worker.stop();
    await worker.stop();
    await discovery.close();
  });
});
