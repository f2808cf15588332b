// How much of a set of conversations is found again, by how often the set is larger than the engine's own cache: without
// tiers, with host memory for three times the cache, and with a disk behind it.
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { type BenchOptions, type BenchReport, type BenchRow, benchRow } from '#bench/report.ts';
import { axisFromZero } from '#sim/report/plots/axes.ts';
import type { Figure } from '#sim/report/plots/figure.ts';
import { renderSvg } from '#sim/report/plots/render.ts';
import { seriesTones } from '#sim/report/plots/theme.ts';
import { attached, Machine, type WorkerProcess } from '#tests/kv-tiers/processes.ts';

const blockSize = 16;
const cacheBlocks = 256;
const conversationBlocks = 32;
const outputTokens = 4;
/** Conversations that speak at once. */
const lanes = 4;
const engine = {
  ...{ model: 'synthetic', blockSize, kvBlocks: cacheBlocks, kvBlockBytes: 16_384, meanOutputTokens: 0 },
  // Prompts take their time, as they do: an engine that evicts sooner than it can write back loses blocks.
  prefillTokensPerSecond: 20_000,
  kvOnboardTimeoutMs: 10_000,
};

interface Way {
  readonly name: string;
  readonly host: boolean;
  readonly disk: boolean;
}

const ways: readonly Way[] = [
  { name: 'cache alone', host: false, disk: false },
  { name: 'host memory, 3 × the cache', host: true, disk: false },
  { name: 'and a disk', host: true, disk: true },
];

/** Parts of the prompts' tokens that were found, by how many times the set is larger than the cache. */
interface Curve extends Way {
  readonly found: readonly number[];
}

export async function run({ quick }: BenchOptions): Promise<BenchReport> {
  const times = quick ? [1, 10] : [0.5, 1, 2, 3, 4, 6, 8, 10];
  const rounds = quick ? 1 : 2;
  const curves: Curve[] = [];
  for (const way of ways) curves.push({ ...way, found: await measure(way, times, rounds) });
  const folder = path.resolve('.stator', 'bench');
  await mkdir(folder, { recursive: true });
  await writeFile(path.join(folder, 'kv-context.svg'), renderSvg(figureOf(times, curves), 'auto'));
  return { bench: 'kv-context', rows: rowsOf(times, curves) };
}

async function measure(way: Way, times: readonly number[], rounds: number): Promise<number[]> {
  await using machine = new Machine();
  if (way.host) await machine.kvbm({ hostMib: 16, layoutHostMib: 16, ...diskOf(way, machine) });
  const worker = await machine.worker('mocker', { ...engine, ...(way.host ? {} : { kvbm: 'off' }) });
  if (way.host) await attached(worker);
  const found: number[] = [];
  for (const [set, each] of times.entries()) {
    const conversations = Math.round((each * cacheBlocks) / conversationBlocks);
    await visit(worker, set, conversations, 0);
    let [cached, all] = [0, 0];
    for (let round = 1; round <= rounds; round++) {
      const counted = await visit(worker, set, conversations, round);
      cached += counted.cached;
      all += counted.all;
    }
    found.push(cached / all);
  }
  return found;
}

function diskOf({ disk }: Way, machine: Machine): Readonly<Record<string, string | number>> {
  return disk ? { diskDir: path.join(machine.folder, 'disk'), diskMib: 256 } : {};
}

/** One turn of every conversation, in another order in every round. */
async function visit(worker: WorkerProcess, set: number, conversations: number, round: number) {
  const order = Array.from({ length: conversations }, (_, i) => i).toSorted((a, b) => rank(a, round) - rank(b, round));
  let cached = 0;
  const lane = async (): Promise<void> => {
    for (let next = order.shift(); next !== undefined; next = order.shift()) {
      const { cachedTokens } = await worker.generate(promptOf(set, next), outputTokens);
      cached += cachedTokens;
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return { cached, all: conversations * conversationBlocks * blockSize };
}

/** Nothing in common with any other prompt, from the first token on. */
function promptOf(set: number, conversation: number): number[] {
  const own = [set, conversation & 15, conversation >> 4];
  return Array.from(
    { length: conversationBlocks * blockSize + 1 },
    (_, i) => 3 + ((own[i] ?? i * 7 + conversation) % 250),
  );
}

function rank(conversation: number, round: number): number {
  return Math.imul(conversation + 1, 0x9e3779b1 ^ Math.imul(round + 1, 0x85ebca6b)) >>> 0;
}

function rowsOf(times: readonly number[], curves: readonly Curve[]): BenchRow[] {
  const [alone] = curves;
  return curves.flatMap(({ name, found, disk }) =>
    times.map((each, at) =>
      benchRow({
        line: `${name}: conversations of ${each} × the cache found again`,
        unit: '%',
        ours: 100 * (found[at] ?? 0),
        anchor: Math.max(0.1, 100 * (alone?.found[at] ?? 0)),
        better: 'higher',
        // What the tiers are for: a set ten times larger than the cache.
        ...(disk && at === times.length - 1 && { target: 90 }),
      }),
    ),
  );
}

function figureOf(times: readonly number[], curves: readonly Curve[]): Figure {
  const lines = curves.map(({ name, found }, index) => ({
    name,
    tone: seriesTones[index] ?? 'blue',
    values: found.map((part) => 100 * part),
  }));
  return {
    name: 'kv-context',
    title: 'Context beyond the engine’s own cache',
    subtitle: `Conversations of ${conversationBlocks * blockSize} tokens in random order; the cache holds ${cacheBlocks * blockSize} tokens`,
    description: 'Part of the prompts that is found again, by the size of the set of conversations.',
    panels: [
      {
        kind: 'lines',
        title: 'Prompt tokens found, %',
        x: axisFromZero('size of the set, times the cache', Math.max(...times)),
        y: { ...axisFromZero('%', 100), max: 100 },
        places: [...times],
        lines,
      },
    ],
  };
}
