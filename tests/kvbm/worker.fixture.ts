// A worker for the block manager's tests, in a process of its own: `ADDRESS FOLDER`. Reads asks as lines of JSON and answers alike.
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { KvBlockService } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import { blockBytesOf, TestWorker } from '#services/kvbm/kvbm.test-support.ts';
import type { Answer, Ask, Churned } from './protocol.ts';

const [address = '', folder = ''] = process.argv.slice(2);
let rpc = createRpcClient(KvBlockService, { address }, quietTelemetry());
let worker = new TestWorker(rpc.client, folder);
let reserved: { slots: number[]; generations: number[] } = { slots: [], generations: [] };
let churning = false;
let churned: Promise<Churned> | undefined;

async function attach(): Promise<void> {
  await worker.detach();
  rpc.close();
  rpc = createRpcClient(KvBlockService, { address }, quietTelemetry());
  worker = new TestWorker(rpc.client, folder);
  await worker.attach({});
}

/** Stores and reads prompts at random until it is told to stop, through losses of the block manager. */
async function churn(seed: number): Promise<Churned> {
  const counts = { stored: 0, read: 0, unsound: 0, lost: 0, attached: 0 };
  let state = seed;
  const below = (limit: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % limit;
  };
  while (churning) {
    const prompt = `p${below(20)}`;
    try {
      if (below(2) === 0) counts.stored += (await worker.store(prompt, 0, 1 + below(8))).length;
      else {
        const { blocks, wrong, leaseIds } = await worker.read(prompt, 8);
        counts.read += blocks - wrong.length;
        counts.unsound += wrong.length;
        await worker.release(leaseIds);
      }
    } catch (thrown) {
      const { code, message } = StatorError.from(thrown);
      if (message === 'another block was read') throw thrown;
      counts.lost++;
      if (code === 'overloaded') continue;
      await delay(20);
      await attach().then(
        () => counts.attached++,
        () => {},
      );
    }
  }
  return counts;
}

async function answer(ask: Ask): Promise<Answer> {
  if (ask.op === 'attach') await attach();
  else if (ask.op === 'reserve') {
    reserved = await worker.reserve(ask.prompt, 0, ask.blocks);
    return { slots: reserved.slots };
  } else if (ask.op === 'write') {
    for (const [at, slot] of reserved.slots.entries()) blockBytesOf(ask.prompt, at).copy(worker.payload(slot));
  } else if (ask.op === 'commit') {
    const bytes = reserved.slots.map((_, at) => blockBytesOf(ask.prompt, at));
    return { outcomes: await worker.commit(reserved.slots, reserved.generations, bytes) };
  } else if (ask.op === 'store') return { outcomes: await worker.store(ask.prompt, 0, ask.blocks) };
  else if (ask.op === 'read') {
    const { blocks, wrong, leaseIds } = await worker.read(ask.prompt, ask.blocks);
    await worker.release(leaseIds);
    return { blocks, wrong };
  } else if (ask.op === 'churn') {
    churning = true;
    churned = churn(ask.seed);
    churned.catch(() => {});
  } else if (ask.op === 'rest') {
    churning = false;
    const counts = await churned;
    return counts === undefined ? {} : { churned: counts };
  } else if (ask.op === 'leave') {
    await worker.detach();
    rpc.close();
  }
  return {};
}

process.stdout.write('ready\n');
for await (const line of createInterface({ input: process.stdin })) {
  const ask = JSON.parse(line) as Ask;
  const given = await answer(ask).catch((thrown: unknown): Answer => {
    const { code, field = '', message } = StatorError.from(thrown);
    return { failure: `${code} ${field}`.trim(), message };
  });
  process.stdout.write(`${JSON.stringify(given)}\n`);
  if (ask.op === 'leave') break;
}
process.stdin.destroy();
