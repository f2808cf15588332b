import type { MessageInitShape } from '@bufbuild/protobuf';
import { createClient } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-node';
import { expect } from 'chai';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { FinishReason } from '#gen/stator/engine/v1/generate_pb.ts';
import type { SessionRequestSchema } from '#gen/stator/engine/v1/session_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { type RpcServer, startRpcServer } from '../server.ts';
import { CutProxy } from '../testing/cut-proxy.ts';
import { Recorder } from '../testing/recorder.ts';
import { ScriptRunner, scriptRequest, scriptTokens } from '../testing/script-runner.ts';
import { until } from '../testing/wait.ts';
import { EngineSession, type EngineSessionOptions } from './client.ts';
import { SessionServer, type SessionServerOptions } from './server.ts';

describe('session over gRPC', () => {
  let telemetry: ReturnType<typeof quietTelemetry>;
  let runner: ScriptRunner;
  let sessions: SessionServer;
  let server: RpcServer;
  let proxy: CutProxy;
  let stepping: NodeJS.Timeout;
  const open: EngineSession[] = [];

  async function start(options: Partial<SessionServerOptions> = {}): Promise<void> {
    telemetry = quietTelemetry();
    runner = new ScriptRunner();
    sessions = new SessionServer({ instanceId: 7n, runner, telemetry, ...options });
    server = await startRpcServer({
      listen: '127.0.0.1:0',
      telemetry,
      services: [EngineService],
      routes: (router) => router.service(EngineService, { session: (...call) => sessions.handle(...call) }),
    });
    proxy = await CutProxy.start(server.port);
    stepping = setInterval(step, 1);
  }

  function step(): void {
    runner.step();
    sessions.flushStep();
  }

  async function connect(options: Partial<EngineSessionOptions> = {}): Promise<EngineSession> {
    const session = new EngineSession({
      target: { address: proxy.address },
      gatewayId: 'test',
      telemetry: quietTelemetry(),
      backoffMinMs: 1,
      backoffMaxMs: 20,
      ...options,
    });
    open.push(session);
    await session.ready(AbortSignal.timeout(30_000));
    return session;
  }

  afterEach(async () => {
    clearInterval(stepping);
    for (const session of open.splice(0)) session.close();
    sessions.close();
    await proxy.close();
    await server.stop(100);
  });

  it('carries a thousand sequences, each ending by itself or cancelled', async () => {
    await start();
    const session = await connect();
    const all = Array.from({ length: 1000 }, (_, seed) => {
      const recorder = new Recorder();
      const length = 1 + ((seed * 37) % 60);
      const ref = session.submit(scriptRequest(seed, length), recorder);
      return { seed, length, recorder, ref, cancel: seed % 3 === 0 };
    });
    for (const { ref, cancel } of all) if (cancel) setTimeout(() => session.cancel(ref), ref.slot % 40);
    await Promise.all(all.map(({ recorder }) => recorder.ended));
    for (const { seed, length, recorder, cancel } of all) {
      const [finished] = recorder.finished;
      expect(recorder.lost).to.deep.equal([]);
      expect(recorder.finished.length).to.equal(1);
      expect(recorder.tokens).to.deep.equal(scriptTokens(seed, finished?.usage?.outputTokens ?? -1));
      if (!cancel) expect(recorder.tokens.length).to.equal(length);
    }
    expect(all.some(({ recorder }) => recorder.finished[0]?.reason === FinishReason.CANCELLED)).to.equal(true);
    expect(session.inFlight).to.equal(0);
    expect(sessions.running).to.equal(0);
  });

  it('resumes after its connection is cut, without loss or duplicate', async () => {
    await start();
    const session = await connect();
    const all = Array.from({ length: 50 }, (_, seed) => {
      const recorder = new Recorder();
      session.submit(scriptRequest(seed, 300), recorder);
      return { seed, recorder };
    });
    for (const length of [20, 80, 140, 200]) {
      await until(() => (all[0]?.recorder.tokens.length ?? 0) >= length, `${length} tokens`);
      proxy.cut();
    }
    await Promise.all(all.map(({ recorder }) => recorder.ended));
    for (const { seed, recorder } of all) {
      expect(recorder.lost).to.deep.equal([]);
      expect(recorder.tokens).to.deep.equal(scriptTokens(seed, 300));
    }
    expect(runner.submitted).to.equal(50);
  });

  it('loses its sequences when it cannot resume within the grace period, and starts anew', async () => {
    await start({ resumeGraceMs: 60 });
    const session = await connect();
    const recorder = new Recorder();
    session.submit(scriptRequest(1, 1_000_000), recorder);
    await until(() => recorder.tokens.length > 3, 'tokens');
    proxy.refusing = true;
    proxy.cut();
    await recorder.ended;
    expect(recorder.lost.map((error) => error.code)).to.deep.equal(['stream_incomplete']);
    expect(session.inFlight).to.equal(0);
    expect(() => session.submit(scriptRequest(2, 1), new Recorder())).to.throw(StatorError, /connecting/);
    await until(() => runner.cancelled === 1 && sessions.running === 0, 'the worker cancels the sequence');
    proxy.refusing = false;
    await session.ready(AbortSignal.timeout(30_000));
    const next = new Recorder();
    session.submit(scriptRequest(2, 5), next);
    await next.ended;
    expect(next.tokens).to.deep.equal(scriptTokens(2, 5));
  });

  it('notices a connection over which nothing comes any more', async () => {
    await start();
    const session = await connect({ keepaliveMs: 50, keepaliveTimeoutMs: 50 });
    const recorder = new Recorder();
    session.submit(scriptRequest(3, 200), recorder);
    await until(() => recorder.tokens.length > 3, 'tokens');
    proxy.freeze();
    await recorder.ended;
    expect(recorder.lost).to.deep.equal([]);
    expect(recorder.tokens).to.deep.equal(scriptTokens(3, 200));
  });

  it('cancels at once what a gateway left that closed in good order', async () => {
    await start({ resumeGraceMs: 600_000 });
    const session = await connect();
    const recorder = new Recorder();
    session.submit(scriptRequest(4, 1_000_000), recorder);
    await until(() => recorder.tokens.length > 3, 'tokens');
    session.close();
    expect(recorder.lost.map((error) => error.code)).to.deep.equal(['stream_incomplete']);
    await until(() => sessions.sessions === 0 && runner.cancelled === 1, 'the worker ends the session');
  });

  it('loses its sequences at once when the worker ends the session', async () => {
    await start({ resumeGraceMs: 600_000 });
    const session = await connect();
    const recorder = new Recorder();
    session.submit(scriptRequest(5, 1_000_000), recorder);
    await until(() => recorder.tokens.length > 3, 'tokens');
    sessions.close();
    await recorder.ended;
    expect(recorder.lost[0]?.code).to.equal('stream_incomplete');
    expect(recorder.lost[0]?.message).to.include('worker stopped');
  });

  it('tells of draining: running sequences go on, new ones are refused, late ones are cancelled', async () => {
    await start();
    const session = await connect();
    const short = new Recorder();
    const long = new Recorder();
    session.submit(scriptRequest(6, 50), short);
    session.submit(scriptRequest(7, 1_000_000), long);
    await until(() => long.tokens.length > 1, 'tokens');
    sessions.drain(200);
    // The short one ends within that time, however slowly timers come.
    for (let index = 0; index < 50; index++) step();
    await until(() => session.draining, 'the notice');
    expect(() => session.submit(scriptRequest(8, 1), new Recorder())).to.throw(StatorError, /draining/);
    await Promise.all([short.ended, long.ended]);
    expect(short.tokens).to.deep.equal(scriptTokens(6, 50));
    expect(long.finished[0]?.reason).to.equal(FinishReason.CANCELLED);
  });

  it('speaks JSON to whoever asks for it', async () => {
    await start();
    const transport = createConnectTransport({
      baseUrl: `http://${server.address}`,
      httpVersion: '2',
      useBinaryFormat: false,
    });
    const { promise: over, resolve: finish } = Promise.withResolvers<void>();
    async function* requests(): AsyncGenerator<MessageInitShape<typeof SessionRequestSchema>> {
      yield { message: { case: 'hello', value: { gatewayId: 'json', frameVersion: 1 } } };
      yield { message: { case: 'submit', value: { slot: 4, request: scriptRequest(1, 3) } } };
      await over;
    }
    const tokens: number[] = [];
    for await (const { message } of createClient(EngineService, transport).session(requests())) {
      if (message.case !== 'frame') continue;
      tokens.push(...message.value.tokenIds);
      if (message.value.finished.length > 0) finish();
    }
    expect(tokens).to.deep.equal(scriptTokens(1, 3));
  });

  it('counts on both sides, and its gauges return to zero', async () => {
    await start();
    const gateway = quietTelemetry();
    const session = await connect({ telemetry: gateway });
    const [done, cut] = [new Recorder(), new Recorder()];
    session.submit(scriptRequest(1, 200), done);
    session.submit(scriptRequest(2, 1_000_000), cut);
    await until(() => done.tokens.length >= 5, 'tokens');
    proxy.cut();
    await done.ended;
    session.close();
    await until(() => sessions.sessions === 0, 'the worker ends the session');
    const value = async (side: 'worker' | 'gateway', name: string): Promise<number> => {
      const registry = side === 'worker' ? telemetry.metrics : gateway.metrics;
      const metric = await registry.getSingleMetric(`stator_session_${name}`)?.get();
      return metric?.values.find(({ labels }) => labels['side'] === side)?.value ?? Number.NaN;
    };
    for (const side of ['worker', 'gateway'] as const) {
      expect(await value(side, 'tokens_total')).to.be.at.least(done.tokens.length + cut.tokens.length);
      expect(await value(side, 'reconnects_total')).to.equal(1);
      expect(await value(side, 'lost_sequences_total')).to.equal(1);
      for (const gauge of ['slots', 'sessions', 'buffered_bytes']) expect(await value(side, gauge), gauge).to.equal(0);
    }
    expect(await value('gateway', 'tokens_total')).to.equal(done.tokens.length + cut.tokens.length);
  });

  it('refuses a worker that is not the expected instance', async () => {
    await start();
    const session = new EngineSession({
      target: { address: server.address },
      gatewayId: 'test',
      telemetry: quietTelemetry(),
      instanceId: 8n,
      backoffMinMs: 1,
    });
    open.push(session);
    await until(() => session.lastError !== undefined, 'the refusal');
    expect(session.lastError?.message).to.match(/another worker answers/);
    expect(session.state).to.equal('connecting');
  });

  it('reports an address where nothing listens', async () => {
    await start();
    const session = new EngineSession({
      target: { address: '127.0.0.1:1' },
      gatewayId: 'test',
      telemetry: quietTelemetry(),
      backoffMinMs: 1,
    });
    open.push(session);
    await until(() => session.lastError !== undefined, 'the failure');
    expect(session.lastError?.code).to.equal('worker_unavailable');
    expect(() => session.submit(scriptRequest(1, 1), new Recorder())).to.throw(StatorError, /connecting/);
  });
});
