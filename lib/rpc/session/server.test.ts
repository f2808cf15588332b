import { create, fromBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { createHandlerContext } from '@connectrpc/connect';
import { expect } from 'chai';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { FinishReason, PositionLogprobsSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import {
  type SessionRequest,
  SessionRequestSchema,
  type SessionResponse,
  type StepFrame,
  StepFrameSchema,
} from '#gen/stator/engine/v1/session_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { MemoryLinks } from '../testing/memory-link.ts';
import { Recorder } from '../testing/recorder.ts';
import { ScriptRunner, scriptRequest, scriptToken } from '../testing/script-runner.ts';
import { settle, until } from '../testing/wait.ts';
import { EngineSession } from './client.ts';
import { type SequenceRunner, SessionServer, type SessionServerOptions } from './server.ts';

type Message = MessageInitShape<typeof SessionRequestSchema>['message'];

/** A gateway that says exactly what the test wants. */
class RawGateway {
  readonly responses: SessionResponse[] = [];
  error: unknown;
  ended = false;
  readonly #requests: SessionRequest[] = [];
  #wake: (() => void) | undefined;

  constructor(server: SessionServer) {
    const context = createHandlerContext({
      service: EngineService,
      method: EngineService.method.session,
      protocolName: 'raw',
      requestMethod: 'POST',
      url: 'raw://worker',
    });
    void this.#read(server.handle(this.#incoming(), context));
  }

  send(...messages: NonNullable<Message>[]): void {
    for (const message of messages) this.#requests.push(create(SessionRequestSchema, { message }));
    this.#wake?.();
  }

  hello(init: Partial<{ frameVersion: number; sessionId: string; lastFrame: bigint }> = {}): void {
    this.send({ case: 'hello', value: { gatewayId: 'raw', frameVersion: 1, ...init } });
  }

  submit(slot: number, seed: number, length: number): void {
    this.send({ case: 'submit', value: { slot, request: scriptRequest(seed, length) } });
  }

  get welcome(): { sessionId: string; frameVersion: number; resumed: boolean; liveSlots: number[] } {
    const first = this.responses[0]?.message;
    if (first?.case !== 'welcome') throw new Error('no welcome');
    return first.value;
  }

  get frames(): StepFrame[] {
    return this.responses.flatMap((response) => {
      const [unknown] = response.$unknown ?? [];
      if (unknown === undefined) return [];
      // The length is one varint before the frame.
      const start = unknown.data.findIndex((byte) => byte < 0x80) + 1;
      return [fromBinary(StepFrameSchema, unknown.data.subarray(start))];
    });
  }

  async #read(responses: AsyncIterable<SessionResponse>): Promise<void> {
    try {
      for await (const response of responses) this.responses.push(response);
    } catch (thrown) {
      this.error = thrown;
    }
    this.ended = true;
  }

  async *#incoming(): AsyncGenerator<SessionRequest> {
    for (;;) {
      const request = this.#requests.shift();
      if (request !== undefined) yield request;
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
    }
  }
}

describe('SessionServer', () => {
  let runner: ScriptRunner;
  let server: SessionServer;

  function start(options: Partial<SessionServerOptions> = {}): void {
    runner = new ScriptRunner();
    server = new SessionServer({ instanceId: 5n, runner, telemetry: quietTelemetry(), ...options });
  }

  function step(): void {
    runner.step();
    server.flushStep();
  }

  async function opened(...hello: Parameters<RawGateway['hello']>): Promise<RawGateway> {
    const gateway = new RawGateway(server);
    gateway.hello(...hello);
    await settle();
    return gateway;
  }

  async function failure(gateway: RawGateway): Promise<StatorError> {
    await until(() => gateway.ended, 'the stream ends');
    if (!(gateway.error instanceof StatorError)) throw new Error('no StatorError');
    return gateway.error;
  }

  afterEach(() => server.close());

  it('answers a gateway of a newer version with its own', async () => {
    start();
    expect((await opened({ frameVersion: 9 })).welcome.frameVersion).to.equal(1);
  });

  it('refuses a gateway without a version in common, naming the field', async () => {
    start();
    const error = await failure(await opened({ frameVersion: 0 }));
    expect([error.code, error.field]).to.deep.equal(['unsupported', 'hello.frame_version']);
  });

  it('refuses a stream that does not begin with hello, and one that says it twice', async () => {
    start();
    const silent = new RawGateway(server);
    silent.submit(0, 1, 1);
    expect((await failure(silent)).field).to.equal('hello');
    const twice = await opened();
    twice.hello();
    expect((await failure(twice)).field).to.equal('hello');
  });

  it('gives up a stream that says nothing', async () => {
    start({ helloTimeoutMs: 5 });
    expect((await failure(new RawGateway(server))).code).to.equal('deadline_exceeded');
  });

  it('numbers frames from 1 and sends one a step', async () => {
    start();
    const gateway = await opened();
    gateway.submit(3, 1, 3);
    gateway.submit(9, 2, 2);
    await settle();
    for (let i = 0; i < 3; i++) step();
    await settle();
    expect(gateway.frames.map((frame) => Number(frame.number))).to.deep.equal([1, 2, 3]);
    expect(gateway.frames.map((frame) => frame.slots)).to.deep.equal([[3, 9], [3, 9], [3]]);
    expect(gateway.frames[1]?.tokenIds).to.deep.equal([scriptToken(1, 1), scriptToken(2, 1)]);
    expect(gateway.frames.flatMap((frame) => frame.finished.map((finished) => finished.slot))).to.deep.equal([9, 3]);
  });

  it('ends a session that uses a slot before its terminal entry', async () => {
    start();
    const gateway = await opened();
    gateway.submit(1, 1, 100);
    gateway.submit(1, 2, 100);
    const error = await failure(gateway);
    expect([error.code, error.field]).to.deep.equal(['invalid_argument', 'submit.slot']);
    expect(runner.cancelled).to.equal(1);
    expect(server.sessions).to.equal(0);
  });

  it('takes a slot again after its terminal entry', async () => {
    start();
    const gateway = await opened();
    gateway.submit(1, 1, 1);
    await settle();
    step();
    await settle();
    gateway.submit(1, 2, 1);
    await settle();
    step();
    await settle();
    expect(gateway.frames.map((frame) => frame.tokenIds)).to.deep.equal([[scriptToken(1, 0)], [scriptToken(2, 0)]]);
  });

  it('ends a session whose gateway acknowledges nothing, with what it held', async () => {
    start({ maxBufferedBytes: 200 });
    const gateway = await opened();
    gateway.submit(0, 1, 1_000_000);
    await settle();
    for (let i = 0; i < 100; i++) step();
    const error = await failure(gateway);
    expect(error.code).to.equal('slow_reader');
    expect(error.message).to.match(/left \d+ bytes of frames unacknowledged; \d+ more exceed maxBufferedBytes 200/);
    expect(runner.cancelled).to.equal(1);
    expect(server.sessions).to.equal(0);
  });

  it('keeps a session going whose gateway acknowledges', async () => {
    start({ maxBufferedBytes: 200 });
    const gateway = await opened();
    gateway.submit(0, 1, 1_000_000);
    await settle();
    for (let i = 1; i <= 100; i++) {
      step();
      await settle();
      gateway.send({ case: 'ack', value: { frame: BigInt(i) } });
      await settle();
    }
    expect(gateway.ended).to.equal(false);
    expect(gateway.frames.length).to.equal(100);
  });

  it('ends a session that acknowledges frames it was never sent', async () => {
    start();
    const gateway = await opened();
    gateway.send({ case: 'ack', value: { frame: 7n } });
    expect((await failure(gateway)).field).to.equal('ack.frame');
  });

  it('refuses sequences beyond its slots as overloaded', async () => {
    start({ maxSlots: 2 });
    const gateway = await opened();
    for (const slot of [0, 1, 2]) gateway.submit(slot, slot, 100);
    await settle();
    const [frame] = gateway.frames;
    expect(frame?.finished.map(({ slot, error }) => [slot, error?.code, error?.retryable])).to.deep.equal([
      [2, 'overloaded', true],
    ]);
    expect(runner.submitted).to.equal(2);
  });

  it('passes a refusal on with its field, and hides what foreign errors say', async () => {
    start();
    const gateway = await opened();
    runner.refusal = StatorError.invalid('sampling.top_k', 'top_k must not be below -1');
    gateway.submit(0, 1, 1);
    await settle();
    runner.refusal = new Error('cannot open /secret/path');
    gateway.submit(1, 1, 1);
    await settle();
    const errors = gateway.frames.flatMap((frame) => frame.finished.map(({ error }) => error));
    expect([errors[0]?.code, errors[0]?.field, errors[0]?.message]).to.deep.equal([
      'invalid_argument',
      'sampling.top_k',
      'top_k must not be below -1',
    ]);
    expect([errors[1]?.code, errors[1]?.message]).to.deep.equal(['internal', 'internal error']);
  });

  it('lets a new stream take over a session whose old one seems alive, and drops what the old one still says', async () => {
    start();
    const old = await opened();
    old.submit(0, 1, 1_000_000);
    await settle();
    step();
    step();
    await settle();
    const { sessionId } = old.welcome;
    const next = await opened({ sessionId, lastFrame: 1n });
    await until(() => old.ended, 'the old stream ends');
    old.submit(1, 2, 5);
    await settle();
    step();
    await settle();
    expect([next.welcome.resumed, next.welcome.liveSlots]).to.deep.equal([true, [0]]);
    expect(next.frames.map((frame) => Number(frame.number))).to.deep.equal([2, 3]);
    expect(runner.submitted).to.equal(1);
  });

  it('names slots that ended in a frame which the gateway has not seen as alive', async () => {
    start();
    const old = await opened();
    old.submit(4, 1, 1);
    await settle();
    step();
    await settle();
    const { sessionId } = old.welcome;
    expect((await opened({ sessionId, lastFrame: 0n })).welcome.liveSlots).to.deep.equal([4]);
    expect((await opened({ sessionId, lastFrame: 1n })).welcome.liveSlots).to.deep.equal([]);
  });

  it('does not resume from frames it has forgotten or never sent', async () => {
    start();
    const old = await opened();
    old.submit(0, 1, 1_000_000);
    await settle();
    for (let i = 0; i < 5; i++) step();
    await settle();
    old.send({ case: 'ack', value: { frame: 3n } });
    await settle();
    const { sessionId } = old.welcome;
    const forgotten = await opened({ sessionId, lastFrame: 2n });
    expect(forgotten.welcome.resumed).to.equal(false);
    expect(forgotten.welcome.sessionId).to.not.equal(sessionId);
    expect(runner.cancelled).to.equal(1);
    const future = await opened({ sessionId: forgotten.welcome.sessionId, lastFrame: 1n });
    expect(future.welcome.resumed).to.equal(false);
  });

  it('bounds its sessions', async () => {
    start({ maxSessions: 1 });
    await opened();
    expect((await failure(await opened())).code).to.equal('overloaded');
  });
});

describe('EngineSession callbacks', () => {
  async function pair(runner: SequenceRunner): Promise<{ server: SessionServer; session: EngineSession }> {
    const telemetry = quietTelemetry();
    const server = new SessionServer({ instanceId: 1n, runner, telemetry });
    const session = new EngineSession({
      target: { address: 'memory' },
      gatewayId: 'test',
      telemetry,
      openLink: new MemoryLinks(server).open,
    });
    await session.ready(AbortSignal.timeout(30_000));
    return { server, session };
  }

  it('come in the order of the contract, log-probabilities beside their tokens', async () => {
    const position = create(PositionLogprobsSchema, { chosen: { tokenId: 11, logprob: -0.5, rank: 1 } });
    const { server, session } = await pair({
      submit: (sequence) => {
        sequence.prefilled({ cachedTokens: 2 });
        sequence.addToken(10);
        sequence.addLogprobs(sequence.addToken(11), position);
        sequence.addToken(12);
        sequence.finished({ reason: FinishReason.STOP, stopTokenId: 99 });
        sequence.addToken(13);
        sequence.flush();
      },
      cancel: () => {},
    });
    const recorder = new Recorder();
    session.submit(scriptRequest(1, 1), recorder);
    await recorder.ended;
    await settle();
    expect(recorder.calls).to.deep.equal([
      'token 10',
      'token 11',
      'logprobs',
      'token 12',
      'prefilled',
      'finished',
      'frame end',
    ]);
    expect(recorder.finished[0]?.stopTokenId).to.equal(99);
    session.close();
    server.close();
  });

  it('that throw end their own sequence and no other', async () => {
    const runner = new ScriptRunner();
    const { server, session } = await pair(runner);
    const good = new Recorder();
    const bad = new Recorder();
    bad.onToken = () => {
      throw new Error('a fault of the gateway');
    };
    session.submit(scriptRequest(1, 5), bad);
    session.submit(scriptRequest(2, 5), good);
    await settle();
    for (let i = 0; i < 5; i++) {
      runner.step();
      server.flushStep();
      await settle();
    }
    expect(good.calls.filter((call) => call.startsWith('token')).length).to.equal(5);
    expect(good.finished.length).to.equal(1);
    expect(bad.calls).to.deep.equal(['lost']);
    expect(bad.lost[0]?.code).to.equal('internal');
    expect(runner.cancelled).to.equal(1);
    expect(session.inFlight).to.equal(0);
    session.close();
    server.close();
  });
});
