import type { ServiceImpl } from '@connectrpc/connect';
import { expect } from 'chai';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { createLocalClient } from './local.ts';
import { EngineStub } from './testing/engine-stub.ts';

describe('local client', () => {
  function setUp(): { stub: EngineStub; client: ReturnType<typeof createLocalClient<typeof EngineService>> } {
    const stub = new EngineStub();
    const implementation: Partial<ServiceImpl<typeof EngineService>> = { abort: stub.abort, generate: stub.generate };
    return { stub, client: createLocalClient(EngineService, implementation as ServiceImpl<typeof EngineService>) };
  }

  async function failure(call: Promise<unknown>): Promise<StatorError> {
    const thrown = await call.catch((error: unknown) => error);
    if (!(thrown instanceof StatorError)) throw new Error(`no StatorError but ${String(thrown)}`);
    return thrown;
  }

  it('calls, streams and passes errors as they are', async () => {
    const { stub, client } = setUp();
    const answer = await client.abort({ requestId: 'abc' });
    expect([answer.aborted, answer.$typeName]).to.deep.equal([3, 'stator.engine.v1.AbortResponse']);
    const tokens: number[] = [];
    const error = await failure(
      (async () => {
        for await (const { tokenIds } of client.generate({ tokenIds: [1, 2], model: 'failing' }))
          tokens.push(...tokenIds);
      })(),
    );
    expect(tokens).to.deep.equal([1, 2]);
    expect(error.facts).to.deep.equal({ step: 3 });
    stub.failure = StatorError.invalid('request_id', 'no');
    expect(await failure(client.abort({}))).to.equal(stub.failure);
    stub.failure = new TypeError('a fault');
    expect(await failure(client.abort({}))).to.include({ code: 'internal', cause: stub.failure });
  });

  it('keeps deadlines and cancellation, and aborts the handler', async () => {
    const { stub, client } = setUp();
    expect((await failure(client.abort({ requestId: 'wait' }, { timeoutMs: 10 }))).code).to.equal('deadline_exceeded');
    const cancel = new AbortController();
    const call = failure(client.abort({ requestId: 'wait' }, { signal: cancel.signal }));
    cancel.abort();
    expect((await call).code).to.equal('cancelled');
    expect(stub.aborted).to.equal(2);
    const leave = new AbortController();
    for await (const _ of client.generate({ tokenIds: [1], model: 'endless' }, { signal: leave.signal })) break;
    leave.abort();
    expect(stub.aborted).to.equal(3);
  });

  it('answers unimplemented for what is not there', async () => {
    const { client } = setUp();
    expect((await failure(client.getLoad({}))).code).to.equal('unimplemented');
  });
});
