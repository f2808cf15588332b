// Worker process: every `stepMs` one token for each sequence, as continuous batching makes them.
import net from 'node:net';
import { CpuMeter } from '#bench/cpu.ts';
import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { FinishReason } from '#gen/stator/engine/v1/generate_pb.ts';
import { startRpcServer } from '#lib/rpc/server.ts';
import { FrameWriter } from '#lib/rpc/session/frame-writer.ts';
import { type SequenceRunner, type SessionSequence, SessionServer } from '#lib/rpc/session/server.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { startGrpcJsServer } from './grpc-js-server.ts';
import { type Plan, type ToParent, workerOf } from './variants.ts';

const plan = JSON.parse(process.argv[2] ?? '') as Plan;
const cpu = new CpuMeter();
let step = 0;

if (workerOf(plan.variant) === 'tcp') await serveTcp();
else await serveSession();

async function serveSession(): Promise<void> {
  const telemetry = quietTelemetry();
  const running = new Set<SessionSequence>();
  const runner: SequenceRunner = {
    submit: (sequence) => {
      running.add(sequence);
      if (running.size === plan.width) startSteps();
    },
    cancel: () => {},
  };
  const sessions = new SessionServer({ instanceId: 1n, runner, telemetry });
  const handle: SessionServer['handle'] = (requests, context) => sessions.handle(requests, context);
  if (workerOf(plan.variant) === 'grpc-js') tell({ kind: 'listening', address: await startGrpcJsServer(handle) });
  else {
    const server = await startRpcServer({
      listen: '127.0.0.1:0',
      telemetry,
      services: [EngineService],
      routes: (router) => router.service(EngineService, { session: handle }),
    });
    tell({ kind: 'listening', address: server.address });
  }

  const startSteps = (): void =>
    everyStep((last) => {
      for (const sequence of running) {
        sequence.addToken(tokenAt(sequence.slot));
        if (last) sequence.finished({ reason: FinishReason.LENGTH });
      }
      sessions.flushStep();
    });
}

async function serveTcp(): Promise<void> {
  const frame = new FrameWriter();
  const server = net.createServer({ noDelay: true }, (socket) => {
    socket.resume();
    everyStep((last) => {
      for (let slot = 0; slot < plan.width; slot++) frame.addToken(slot, tokenAt(slot));
      const bytes = frame.take(step);
      socket.cork();
      socket.write(FIELD_TAG);
      socket.write(bytes);
      socket.uncork();
      if (last) socket.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  tell({ kind: 'listening', address: `127.0.0.1:${port}` });
}

/** Runs the steps, counts CPU after the warm-up, and reports. */
function everyStep(run: (last: boolean) => void): void {
  const total = plan.warmupSteps + plan.steps;
  const timer = setInterval(() => {
    if (step === plan.warmupSteps) cpu.reset();
    step++;
    run(step === total);
    if (step < total) return;
    clearInterval(timer);
    // One turn later, so that the last write counts.
    setTimeout(() => tell({ kind: 'done', cpuMicros: cpu.micros(), tokens: plan.steps * plan.width }), 20);
  }, plan.stepMs);
}

/** Token ids as large as real ones: two to three bytes each. */
function tokenAt(slot: number): number {
  return (slot * 7919 + step * 104_729) % 150_000;
}

function tell(message: ToParent): void {
  process.send?.(message);
}

/** Field 2 of SessionResponse, so that the gateway's reader takes it. */
const FIELD_TAG = Buffer.from([0x12]);
