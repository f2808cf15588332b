import { expect } from 'chai';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { type ErrorCode, errorClasses, isErrorCode } from '#lib/errors/codes.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { createRpcClient, type RpcClient, type RpcClientOptions, type RpcTarget } from './client.ts';
import { type RpcServer, type RpcServerOptions, startRpcServer } from './server.ts';
import { EngineStub } from './testing/engine-stub.ts';
import { until } from './testing/wait.ts';

describe('RpcClient', () => {
  let stub: EngineStub;
  let server: RpcServer;
  const opened: RpcClient<typeof EngineService>[] = [];

  async function start(
    options: Partial<RpcServerOptions> = {},
    target: Partial<RpcTarget> = {},
    clientOptions: RpcClientOptions = {},
  ): Promise<RpcClient<typeof EngineService>['client']> {
    stub = new EngineStub();
    const telemetry = quietTelemetry();
    server = await startRpcServer({
      listen: '127.0.0.1:0',
      telemetry,
      services: [EngineService],
      routes: stub.routes,
      ...options,
    });
    return connect(target, clientOptions);
  }

  function connect(
    target: Partial<RpcTarget> = {},
    options: RpcClientOptions = {},
  ): RpcClient<typeof EngineService>['client'] {
    const rpc = createRpcClient(EngineService, { address: server.address, ...target }, quietTelemetry(), options);
    opened.push(rpc);
    return rpc.client;
  }

  async function failure(call: Promise<unknown>): Promise<StatorError> {
    const thrown = await call.then(
      () => undefined,
      (error: unknown) => error,
    );
    if (!(thrown instanceof StatorError)) throw new Error(`no StatorError but ${String(thrown)}`);
    return thrown;
  }

  afterEach(async () => {
    for (const rpc of opened.splice(0)) rpc.close();
    await server.stop(0);
  });

  for (const code of Object.keys(errorClasses).filter(isErrorCode))
    it(`gets ${code} as the server threw it`, async () => {
      const client = await start();
      stub.failure = new StatorError(code, `with ünïcode: ${code}`, {
        field: 'messages[0]',
        retryAfterMs: 1500,
        retryable: false,
        facts: { limit: 3 },
      });
      const error = await failure(client.abort({}));
      const { message, field, retryAfterMs, retryable, facts } = error;
      expect(error.code satisfies ErrorCode).to.equal(code);
      expect({ message, field, retryAfterMs, retryable, facts }).to.deep.equal({
        message: `with ünïcode: ${code}`,
        field: 'messages[0]',
        retryAfterMs: 1500,
        retryable: false,
        facts: { limit: 3 },
      });
    });

  it('learns nothing of foreign errors but that there was one', async () => {
    const client = await start();
    stub.failure = new Error('ENOENT: /secret/model.gguf');
    const error = await failure(client.abort({}));
    expect([error.code, error.message]).to.deep.equal(['internal', 'internal error']);
  });

  it('gets the error of a stream after its messages', async () => {
    const client = await start();
    const tokens: number[] = [];
    const error = await failure(
      (async () => {
        for await (const { tokenIds } of client.generate({ tokenIds: [1, 2], model: 'failing' }))
          tokens.push(...tokenIds);
      })(),
    );
    expect(tokens).to.deep.equal([1, 2]);
    expect([error.code, error.retryable, error.facts]).to.deep.equal(['engine_failed', true, { step: 3 }]);
  });

  it('needs the internal token, but not for health', async () => {
    const client = await start({ internalToken: 'right' }, { internalToken: 'right' });
    expect((await client.abort({ requestId: 'a' })).aborted).to.equal(1);
    expect((await failure(connect({ internalToken: 'wrong' }).abort({}))).code).to.equal('unauthenticated');
    const error = await failure(connect().abort({}));
    expect([error.code, error.message]).to.deep.equal([
      'unauthenticated',
      'authorization: Bearer <internal token> is required',
    ]);
    expect(stub.contexts.length).to.equal(1);
  });

  it('is told which messages are too large', async () => {
    const client = await start({ maxRequestBytes: 1000 });
    expect((await client.abort({ requestId: 'x'.repeat(900) })).aborted).to.equal(900);
    expect((await failure(client.abort({ requestId: 'x'.repeat(2000) }))).code).to.equal('payload_too_large');
  });

  it('gives a call up at its deadline, and the server aborts it', async () => {
    const client = await start();
    // A call may be given up before it arrives: then one with more time.
    for (let timeoutMs = 50; stub.contexts.length === 0; timeoutMs *= 2)
      expect((await failure(client.abort({ requestId: 'wait' }, { timeoutMs }))).code).to.equal('deadline_exceeded');
    await until(() => stub.aborted === stub.contexts.length, 'the handler is aborted');
    expect(stub.contexts[0]?.timeoutMs()).to.be.a('number');
  });

  it('sets a deadline where the caller sets none, but none for streams', async () => {
    const client = await start({}, {}, { defaultTimeoutMs: 50 });
    expect((await failure(client.abort({ requestId: 'wait' }))).code).to.equal('deadline_exceeded');
    for await (const { tokenIds } of client.generate({ tokenIds: [1] })) expect(tokenIds).to.deep.equal([1]);
    expect(stub.contexts.at(-1)?.timeoutMs()).to.equal(undefined);
  });

  it('cancels, and the server aborts the handler', async () => {
    const client = await start();
    const cancel = new AbortController();
    const call = failure(client.abort({ requestId: 'wait' }, { signal: cancel.signal }));
    await until(() => stub.contexts.length === 1, 'the call arrives');
    cancel.abort();
    expect((await call).code).to.equal('cancelled');
    await until(() => stub.aborted === 1, 'the handler is aborted');
  });

  it('does not take a closed connection for the caller’s wish', async () => {
    const client = await start();
    const waiting = failure(client.abort({ requestId: 'wait' }, { signal: new AbortController().signal }));
    const stream = client.generate({ tokenIds: [1], model: 'endless' })[Symbol.asyncIterator]();
    await stream.next();
    await until(() => stub.contexts.length === 2, 'both calls arrive');
    for (const rpc of opened.splice(0)) rpc.close();
    expect((await waiting).code).to.equal('worker_unavailable');
    for (;;) {
      const next = await stream.next().catch((thrown: unknown) => thrown);
      if (!(next instanceof Error)) continue;
      expect(next).to.include({ code: 'worker_unavailable' });
      return;
    }
  });

  it('leaves a stream, and the server aborts the handler', async () => {
    const client = await start();
    const cancel = new AbortController();
    for await (const _ of client.generate({ tokenIds: [1], model: 'endless' }, { signal: cancel.signal })) break;
    cancel.abort();
    await until(() => stub.aborted === 1, 'the handler is aborted');
  });

  it('says so where nothing listens, and works again once something does', async () => {
    const client = await start();
    const { address, port } = server;
    await server.stop(0);
    expect((await failure(client.abort({}))).code).to.equal('worker_unavailable');
    server = await startRpcServer({
      listen: `127.0.0.1:${port}`,
      telemetry: quietTelemetry(),
      services: [EngineService],
      routes: stub.routes,
    });
    expect(server.address).to.equal(address);
    expect((await client.abort({ requestId: 'abc' })).aborted).to.equal(3);
  });

  it('gets UNIMPLEMENTED as such', async () => {
    const client = await start();
    expect((await failure(client.getLoad({}))).code).to.equal('unimplemented');
  });

  it('refuses an address that is none', async () => {
    await start();
    expect(() => createRpcClient(EngineService, { address: 'nowhere' }, quietTelemetry())).to.throw(
      StatorError,
      /address "nowhere" is not host:port/,
    );
  });
});
