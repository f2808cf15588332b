import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import OpenAI, { BadRequestError, InternalServerError, NotFoundError } from 'openai';
import { FinishReason } from '#gen/stator/engine/v1/generate_pb.ts';
import { InferenceService } from '#gen/stator/inference/v1/inference_pb.ts';
import { defaultSettings } from '#lib/config/settings.ts';
import { openDiscovery } from '#lib/discovery/open.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { type GatewayConfig, gatewaySettings } from './config.ts';
import { type GatewayService, startGateway } from './service.ts';
import { startByteTokenizer, TextWorker } from './testing/script-service.ts';
import { until } from './testing/until.ts';

const text = 'Byte for byte: ąć 漢 😀!';
const promptLength = '<user>Hi'.length;
const messages = [{ role: 'user', content: 'Hi' }] as const;

interface World extends AsyncDisposable {
  readonly gateway: GatewayService;
  readonly openai: OpenAI;
  addWorker(instanceId: bigint, worker: TextWorker): Promise<void>;
}

let worlds = 0;

/** A gateway that finds its tokenizer and workers through discovery and speaks real gRPC with them. */
async function startWorld(changes: Partial<GatewayConfig> = {}): Promise<World> {
  const telemetry = quietTelemetry();
  const discovery = await openDiscovery('memory:', {
    namespace: `gateway-test-${worlds++}`,
    ttlSeconds: 10,
    telemetry,
  });
  const config = { ...defaultSettings(gatewaySettings), listen: '127.0.0.1:0', shutdownGraceSeconds: 1, ...changes };
  const shutdown = new AbortController();
  const gateway = await startGateway(config, { telemetry, discovery, shutdown: shutdown.signal, instanceId: 99n });
  const tokenizer = await startByteTokenizer(50n, discovery);
  const openai = new OpenAI({ baseURL: `http://${gateway.address}/v1`, apiKey: 'none', maxRetries: 0 });
  const workers: TextWorker[] = [];
  return {
    gateway,
    openai,
    async addWorker(instanceId, worker) {
      await worker.start(instanceId, discovery);
      workers.push(worker);
      await until(() => gateway.context.workers.isAlive(instanceId));
    },
    async [Symbol.asyncDispose]() {
      await gateway.stop();
      for (const worker of workers) await worker.kill();
      await tokenizer.stop(0);
      await discovery.close();
    },
  };
}

describe('gateway service', () => {
  it('serves the official client: whole, streamed, models, embeddings refused', async () => {
    await using world = await startWorld();
    await world.addWorker(1n, new TextWorker({ text, promptLength }));
    const whole = await world.openai.chat.completions.create({ model: 'test-model', messages: [...messages] });
    expect(whole.choices[0]?.message.content).to.equal(text);
    const stream = await world.openai.chat.completions.create({
      model: 'test-model',
      messages: [...messages],
      stream: true,
    });
    let streamed = '';
    for await (const chunk of stream) streamed += chunk.choices[0]?.delta.content ?? '';
    expect(streamed).to.equal(text);
    const models = await world.openai.models.list();
    expect(models.data.map((model) => model.id)).to.deep.equal(['test-model']);
    const refusal = await world.openai.embeddings
      .create({ model: 'test-model', input: 'x' })
      .catch((error: unknown) => error);
    expect(refusal).to.be.instanceOf(BadRequestError);
  });

  it('makes the official client raise its typed errors', async () => {
    await using world = await startWorld();
    const create = (change: object): Promise<unknown> =>
      world.openai.chat.completions
        .create({ model: 'test-model', messages: [...messages], ...change })
        .catch((error: unknown) => error);
    const unknown = await create({});
    expect(unknown).to.be.instanceOf(NotFoundError).and.include({ code: 'model_not_found', param: 'model' });
    await world.addWorker(1n, new TextWorker({ text, promptLength }));
    const invalid = await create({ temperature: 9 });
    expect(invalid)
      .to.be.instanceOf(BadRequestError)
      .and.include({ type: 'invalid_request_error', param: 'temperature' });
    await world.gateway.context.telemetry.shutdown();
    const pinned = await create({ nvext: { backend_instance_id: 12345 } });
    expect(pinned).to.be.instanceOf(InternalServerError).and.include({ status: 503 });
  });

  it('asks gRPC callers for their key too, and holds them to their limits', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'stator-keys-'));
    const apiKeysFile = join(directory, 'keys.yaml');
    const hash = (key: string): string => `sha256:${createHash('sha256').update(key).digest('hex')}`;
    const keys = [
      { id: 'a', hash: hash('right'), requests_per_minute: 3 },
      { id: 'b', hash: hash('other'), models: ['nothing'] },
    ];
    writeFileSync(apiKeysFile, JSON.stringify({ keys }));
    await using world = await startWorld({ apiKeysFile });
    await world.addWorker(1n, new TextWorker({ text, promptLength }));
    const target = { address: world.gateway.address };
    const { client, close } = createRpcClient(InferenceService, target, quietTelemetry());
    const chatText = async (key: string): Promise<string> => {
      let streamed = '';
      const headers = { authorization: `Bearer ${key}` };
      const content = [{ part: { case: 'text', value: 'Hi' } }] as const;
      const chat = { model: 'test-model', messages: [{ role: 'user', content: [...content], plainText: true }] };
      for await (const part of client.chat(chat, { headers })) for (const delta of part.deltas) streamed += delta.text;
      return streamed;
    };
    const code = (work: Promise<unknown>): Promise<string> =>
      work.then(
        () => 'answered',
        (thrown: unknown) => StatorError.from(thrown).code,
      );
    expect(await chatText('right')).to.equal(text);
    expect(await code(chatText('wrong'))).to.equal('unauthenticated');
    expect(await code(client.listModels({}))).to.equal('unauthenticated');
    expect(await code(chatText('other'))).to.equal('model_not_found');
    const { models } = await client.listModels({}, { headers: { authorization: 'Bearer other' } });
    expect(models).to.deep.equal([]);
    await chatText('right');
    await chatText('right');
    expect(await code(chatText('right'))).to.equal('rate_limited');
    close();
    rmSync(directory, { recursive: true });
  });

  it('ends a stream in the engine when the official client aborts it', async () => {
    await using world = await startWorld();
    const worker = new TextWorker({ text, promptLength, holdAfter: 3 });
    await world.addWorker(1n, worker);
    const stream = await world.openai.chat.completions.create({
      model: 'test-model',
      messages: [...messages],
      stream: true,
    });
    for await (const chunk of stream) if (chunk.choices[0]?.delta.content) stream.controller.abort();
    await until(() => worker.running.size === 0);
  });

  it('finishes a stream elsewhere when its worker dies', async () => {
    await using world = await startWorld();
    const dying = new TextWorker({ text, promptLength, holdAfter: 7 });
    await world.addWorker(1n, dying);
    const stream = await world.openai.chat.completions.create({
      model: 'test-model',
      messages: [...messages],
      stream: true,
    });
    let streamed = '';
    let killed: Promise<void> | null = null;
    for await (const chunk of stream) {
      streamed += chunk.choices[0]?.delta.content ?? '';
      if (streamed.length < 7 || killed !== null) continue;
      await world.addWorker(2n, new TextWorker({ text, promptLength }));
      killed = dying.kill();
    }
    await killed;
    expect(streamed).to.equal(text);
  });

  it('offers the same to gRPC clients', async () => {
    await using world = await startWorld();
    await world.addWorker(1n, new TextWorker({ text, promptLength }));
    const rpc = createRpcClient(InferenceService, { address: world.gateway.address }, quietTelemetry());
    const content = [{ part: { case: 'text', value: 'Hi' } }] as const;
    const request = { model: 'test-alias', messages: [{ role: 'user', content: [...content], plainText: true }] };
    let streamed = '';
    let outputTokens = 0;
    let reason: FinishReason = FinishReason.UNSPECIFIED;
    for await (const answer of rpc.client.chat({ ...request, options: { returnTokenIds: true } })) {
      for (const delta of answer.deltas) {
        streamed += delta.text;
        outputTokens += delta.tokenIds.length;
        reason = delta.finishReason || reason;
      }
      if (answer.usage !== undefined) expect(answer.usage.outputTokens).to.equal(outputTokens);
    }
    expect(streamed).to.equal(text);
    expect(reason).to.equal(FinishReason.STOP);
    const { models } = await rpc.client.listModels({});
    expect(models.map(({ name, workers }) => [name, workers])).to.deep.equal([['test-model', 1]]);
    const stopped: string[] = [];
    const complete = { model: 'test-model', prompt: { case: 'text', value: 'prompt##' } } as const;
    for await (const answer of rpc.client.complete({
      ...complete,
      echo: true,
      options: { stop: { stopStrings: ['byte:'] } },
    })) {
      for (const delta of answer.deltas) stopped.push(delta.text, delta.stopString ?? '');
    }
    expect(stopped.join('')).to.equal('prompt##Byte for byte:');
    const refused = await rpc.client
      .embed({ model: 'test-model', inputs: [{ input: { case: 'text', value: 'x' } }] })
      .catch((error: unknown) => error);
    expect(refused).to.be.instanceOf(StatorError).and.include({ code: 'unsupported' });
    rpc.close();
  });

  it('shows what it lacks', async () => {
    await using world = await startWorld();
    const health = async (): Promise<{ status: string; degradations: { kind: string }[] }> =>
      (await fetch(`http://${world.gateway.address}/health`)).json() as never;
    const before = await health();
    expect(before.status).to.equal('degraded');
    expect(before.degradations.map(({ kind }) => kind)).to.include.members(['no_router', 'no_workers']);
    await world.addWorker(1n, new TextWorker({ text, promptLength }));
    expect((await health()).degradations.map(({ kind }) => kind)).to.deep.equal(['no_router']);
  });
});
