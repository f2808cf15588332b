import { create } from '@bufbuild/protobuf';
import { expect } from 'chai';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { FinishReason, type GenerateRequest, GenerateRequestSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { startRpcServer } from '../server.ts';
import { EngineSession } from './client.ts';
import { type SequenceRunner, SessionServer } from './server.ts';

describe('session over gRPC', () => {
  it('smoke', async () => {
    const telemetry = quietTelemetry();
    const runner: SequenceRunner = {
      submit(sequence, request: GenerateRequest) {
        sequence.prefilled({ cachedTokens: 1 });
        for (const id of request.tokenIds) sequence.addToken(id + 1);
        sequence.finished({ reason: FinishReason.STOP });
        setImmediate(() => sessions.flushStep());
      },
      cancel() {},
    };
    const sessions = new SessionServer({ instanceId: 7n, runner, telemetry });
    const server = await startRpcServer({
      listen: '127.0.0.1:0',
      telemetry,
      services: [EngineService],
      routes: (router) => router.service(EngineService, { session: (r, c) => sessions.handle(r, c) }),
    });
    const session = new EngineSession({ target: { address: server.address }, gatewayId: 'g', telemetry });
    await session.ready(AbortSignal.timeout(5000));
    const tokens: number[] = [];
    await new Promise<void>((resolve, reject) => {
      session.submit(create(GenerateRequestSchema, { tokenIds: [1, 2, 300000] }), {
        onToken: (t) => tokens.push(t),
        onLogprobs: () => {},
        onPrefilled: () => {},
        onFinished: () => {},
        onLost: reject,
        onFrameEnd: resolve,
      });
    });
    expect(tokens).to.deep.equal([2, 3, 300001]);
    expect(session.inFlight).to.equal(0);
    session.close();
    sessions.close();
    await server.stop(1000);
  });
});
