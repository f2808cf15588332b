import { expect } from 'chai';
import {
  GRPCInferenceService,
  type ModelInferRequest,
  type ModelStreamInferResponse,
} from '#gen/inference/kserve_pb.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { asking, refusal, serveTensors, streamInput, tensorWorld, textInput } from '../testing/tensors.ts';
import { until } from '../testing/until.ts';

describe('KServe over the wire', () => {
  async function connected() {
    const world = await tensorWorld({}, null);
    const server = await serveTensors(world.gateway);
    const rpc = createRpcClient(GRPCInferenceService, { address: server.address }, quietTelemetry());
    return {
      ...world,
      client: rpc.client,
      async [Symbol.asyncDispose]() {
        rpc.close();
        await server.stop(0);
        await world[Symbol.asyncDispose]();
      },
    };
  }

  it('cancels in the engine what a client gives up, one request or a whole stream', async () => {
    await using world = await connected();
    const { client, worker } = world;
    const abort = new AbortController();
    const pending = refusal(client.modelInfer(asking('Hi'), { signal: abort.signal }));
    const first = await worker.sequence(0);
    abort.abort();
    expect((await pending).code).to.equal('cancelled');
    await until(() => first.cancelled);
    const leaving = new AbortController();
    async function* requests(): AsyncGenerator<ModelInferRequest> {
      for (const id of ['a', 'b']) yield asking('', { id, inputs: [textInput('Hi'), streamInput(true)] });
      // The stream stays open.
      await new Promise((resolve) => leaving.signal.addEventListener('abort', resolve));
    }
    const responses: ModelStreamInferResponse[] = [];
    const read = async (): Promise<void> => {
      for await (const one of client.modelStreamInfer(requests(), { signal: leaving.signal })) responses.push(one);
    };
    const reading = refusal(read());
    const streamed = await worker.sequence(2);
    streamed.tokens('Hel');
    await until(() => responses.length === 1);
    leaving.abort();
    await reading;
    await until(() => worker.sequences.every(({ cancelled }) => cancelled));
    await until(() => world.gateway.context.running.size === 0);
  });

  it('ends a request at its deadline, of the call or of its parameter', async () => {
    await using world = await connected();
    const { client, worker } = world;
    const ofCall = await refusal(client.modelInfer(asking('Hi'), { timeoutMs: 100 }));
    expect(ofCall.code).to.equal('deadline_exceeded');
    const timeout = { case: 'int64Param', value: 100_000n } as const;
    const ofParameter = await refusal(client.modelInfer(asking('Hi', {}, { timeout })));
    expect(ofParameter.code).to.equal('deadline_exceeded');
    await until(() => worker.sequences.every(({ cancelled }) => cancelled));
    // The client may give up a moment before the gateway does, which then counts as cancelled.
    const counted = /requests_total\{[^}]*endpoint="kserve"[^}]*error_type="response_timeout"[^}]*\} [12]/;
    await until(async () => counted.test(await world.gateway.context.telemetry.metrics.metrics()));
  });

  it('says by details which field is wrong', async () => {
    await using world = await connected();
    const asked = asking('Hi', {}, { colour: { case: 'stringParam', value: 'red' } });
    const error = await refusal(world.client.modelInfer(asked));
    expect(error).to.include({ code: 'invalid_argument', field: 'parameters.colour' });
  });
});
