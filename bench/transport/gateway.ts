// Gateway process: submits `width` sequences over one session and receives their tokens.
import net from 'node:net';
import { create } from '@bufbuild/protobuf';
import { CpuMeter } from '#bench/cpu.ts';
import { GenerateRequestSchema } from '#gen/stator/engine/v1/generate_pb.ts';
import { EngineSession, type SequenceEvents } from '#lib/rpc/session/client.ts';
import { ClientSequence } from '#lib/rpc/session/events.ts';
import { FrameDispatch } from '#lib/rpc/session/frame-dispatch.ts';
import { FrameReader } from '#lib/rpc/session/frame-reader.ts';
import { SlotTable } from '#lib/rpc/session/slot-table.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { connectLink } from './connect-link.ts';
import { gatewayOf, type Plan, type ToParent } from './variants.ts';

const plan = JSON.parse(process.argv[2] ?? '') as Plan;
const address = process.argv[3] ?? '';
const cpu = new CpuMeter();
const warmupTokens = plan.warmupSteps * plan.width;
const totalTokens = warmupTokens + plan.steps * plan.width;
let received = 0;
let checksum = 0;

const events: SequenceEvents = {
  onToken: (tokenId) => {
    checksum = (checksum + tokenId) | 0;
    received++;
  },
  onLogprobs: () => {},
  onPrefilled: () => {},
  onFinished: () => {},
  onLost: (error) => {
    throw error;
  },
  onFrameEnd: () => {
    if (received === warmupTokens && checksum !== 0) startMeasuring();
    else if (received === totalTokens) finish();
  },
};
let measuring = false;
let finished = false;

if (gatewayOf(plan.variant) === 'tcp') receiveTcp();
else await receiveSession();

async function receiveSession(): Promise<void> {
  const session = new EngineSession({
    target: { address },
    gatewayId: 'bench',
    telemetry: quietTelemetry(),
    ...(gatewayOf(plan.variant) === 'connect' && { openLink: connectLink(address) }),
  });
  await session.ready(AbortSignal.timeout(10_000));
  const request = create(GenerateRequestSchema, { tokenIds: [1, 2, 3] });
  for (let i = 0; i < plan.width; i++) session.submit(request, events);
}

function receiveTcp(): void {
  const reader = new FrameReader();
  const slots = new SlotTable();
  const request = create(GenerateRequestSchema);
  for (let slot = 0; slot < plan.width; slot++) slots.add(new ClientSequence(slot, request, events));
  const { log } = quietTelemetry();
  const dispatch = new FrameDispatch({ slots, log, release: () => {}, fail: () => {} });
  const [host = '', port = ''] = address.split(':');
  let rest: Buffer = Buffer.alloc(0);
  net.connect({ host, port: Number(port), noDelay: true }).on('data', (chunk: Buffer) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (let size = frameSize(rest); size > 0 && rest.length >= size; size = frameSize(rest)) {
      if (reader.read(rest.subarray(0, size))) dispatch.dispatch(reader);
      rest = rest.subarray(size);
    }
  });
}

/** Bytes of the frame that begins here, tag and length included; 0: not known yet. */
function frameSize(bytes: Buffer): number {
  let length = 0;
  for (let at = 1; at < bytes.length; at++) {
    const byte = bytes[at] ?? 0;
    length += (byte & 0x7f) * 2 ** (7 * (at - 1));
    if (byte < 0x80) return at + 1 + length;
  }
  return 0;
}

function startMeasuring(): void {
  if (measuring) return;
  measuring = true;
  cpu.reset();
}

function finish(): void {
  if (finished) return;
  finished = true;
  const message: ToParent = { kind: 'done', cpuMicros: cpu.micros(), tokens: totalTokens - warmupTokens };
  process.send?.(message);
}
