import { expect } from 'chai';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { type RpcServer, startRpcServer } from '../server.ts';
import { CutProxy } from '../testing/cut-proxy.ts';
import { Recorder } from '../testing/recorder.ts';
import { ScriptRunner, scriptRequest, scriptTokens } from '../testing/script-runner.ts';
import { until } from '../testing/wait.ts';
import { EngineSession } from './client.ts';
import { SessionServer } from './server.ts';

/** Far beyond the timeout of a test: whatever waits for it fails. */
const LONG_GRACE_MS = 600_000;
const ENDLESS = 1_000_000;

class Worker {
  readonly runner = new ScriptRunner();
  readonly sessions: SessionServer;
  readonly #stepping: NodeJS.Timeout;
  #server: RpcServer | undefined;

  constructor(instanceId: bigint) {
    const telemetry = quietTelemetry();
    this.sessions = new SessionServer({ instanceId, runner: this.runner, telemetry, resumeGraceMs: LONG_GRACE_MS });
    this.#stepping = setInterval(() => {
      this.runner.step();
      this.sessions.flushStep();
    }, 1);
  }

  static async start(instanceId: bigint): Promise<Worker> {
    const worker = new Worker(instanceId);
    worker.#server = await startRpcServer({
      listen: '127.0.0.1:0',
      telemetry: quietTelemetry(),
      services: [EngineService],
      routes: (router) => router.service(EngineService, { session: (...call) => worker.sessions.handle(...call) }),
    });
    return worker;
  }

  get port(): number {
    return this.#server?.port ?? 0;
  }

  async stop(): Promise<void> {
    clearInterval(this.#stepping);
    this.sessions.close();
    await this.#server?.stop(100);
  }
}

describe('session to a worker that is lost', () => {
  const workers: Worker[] = [];
  let proxy: CutProxy;
  let session: EngineSession;
  let running: Recorder;

  beforeEach(async () => {
    const worker = await addWorker(7n);
    proxy = await CutProxy.start(worker.port);
    session = new EngineSession({
      target: { address: proxy.address },
      gatewayId: 'test',
      telemetry: quietTelemetry(),
      instanceId: 7n,
      backoffMinMs: 1,
      backoffMaxMs: 20,
    });
    await session.ready(AbortSignal.timeout(30_000));
    running = new Recorder();
  });

  afterEach(async () => {
    session.close();
    await proxy.close();
    for (const worker of workers.splice(0)) await worker.stop();
  });

  it('loses its sequences at once when the address refuses connections, and begins anew once it listens', async () => {
    await run(ENDLESS);
    await proxy.kill();
    await running.ended;
    expectLost(/nothing listens at 127\.0\.0\.1:\d+ \(ECONNREFUSED\)/);
    expect(session.inFlight).to.equal(0);
    await proxy.listen();
    await expectNewSequence();
  });

  it('keeps its sequences while connections only break', async () => {
    await run(400);
    proxy.refusing = true;
    proxy.cut();
    await until(() => proxy.refused >= 5, 'five attempts');
    expect(running.lost).to.deep.equal([]);
    expect(session.state).to.equal('reconnecting');
    proxy.refusing = false;
    await running.ended;
    expect(running.lost).to.deep.equal([]);
    expect(running.tokens).to.deep.equal(scriptTokens(1, 400));
  });

  it('loses its sequences at once when the worker that answers does not know the session', async () => {
    const restarted = await addWorker(7n);
    await run(ENDLESS);
    proxy.target = restarted.port;
    proxy.cut();
    await running.ended;
    expectLost(/no longer knows the session/);
    await expectNewSequence();
  });

  it('loses its sequences at once when another instance answers', async () => {
    const other = await addWorker(8n);
    await run(ENDLESS);
    proxy.target = other.port;
    proxy.cut();
    await running.ended;
    expectLost(/another worker answers/);
    expect(other.runner.submitted).to.equal(0);
  });

  it('takes no new sequence while it tells of the loss', async () => {
    const refusals: unknown[] = [];
    running.onLost = () => {
      try {
        session.submit(scriptRequest(2, 1), new Recorder());
      } catch (thrown) {
        refusals.push(thrown);
      }
    };
    await run(ENDLESS);
    workers[0]?.sessions.close();
    await until(() => session.inFlight === 0, 'the loss');
    expect(refusals.map((error) => StatorError.from(error).code)).to.deep.equal(['worker_unavailable']);
  });

  async function addWorker(instanceId: bigint): Promise<Worker> {
    const worker = await Worker.start(instanceId);
    workers.push(worker);
    return worker;
  }

  async function run(tokens: number): Promise<void> {
    session.submit(scriptRequest(1, tokens), running);
    await until(() => running.tokens.length > 3, 'tokens');
  }

  function expectLost(message: RegExp): void {
    expect(running.lost.map(({ code }) => code)).to.deep.equal(['stream_incomplete']);
    expect(running.lost[0]?.message).to.match(message);
  }

  async function expectNewSequence(): Promise<void> {
    await session.ready(AbortSignal.timeout(30_000));
    const next = new Recorder();
    session.submit(scriptRequest(2, 5), next);
    await next.ended;
    expect(next.tokens).to.deep.equal(scriptTokens(2, 5));
  }
});
