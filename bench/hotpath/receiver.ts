// Takes tokens from a worker's session and does nothing with them: what receiving alone costs a gateway.
import { create } from '@bufbuild/protobuf';
import { GenerateRequestSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import { EngineSession, type SequenceEvents } from '#lib/rpc/session/client.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { answerParent } from './child.ts';
import { planOfProcess } from './plan.ts';

const plan = planOfProcess();
const address = process.argv[3] ?? '';
let tokens = 0;
const events: SequenceEvents = {
  onToken: () => {
    tokens += 1;
  },
  onLogprobs: () => {},
  onPrefilled: () => {},
  onFinished: () => {},
  onLost: (error) => {
    throw error;
  },
  onFrameEnd: () => {},
};
const session = new EngineSession({ target: { address }, gatewayId: 'bench', telemetry: quietTelemetry() });
await session.ready(AbortSignal.timeout(10_000));
for (let number = 0; number < plan.width; number++) {
  const stop = { maxTokens: 900_000, ignoreEos: true };
  session.submit(create(GenerateRequestSchema, { tokenIds: [3 + (number % 250), 40, 41], stop }), events);
}
answerParent('', () => tokens);
