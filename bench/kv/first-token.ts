// Time to the first token of a prompt whose prefix comes from each tier and from a peer, against computing it.
import { type BenchRow, benchRow, median } from '#bench/report.ts';
import { BlockTier } from '#gen/stator/kvbm/v1/kvbm_pb.ts';
import type { WorkerProcess } from '#tests/kv-tiers/processes.ts';
import { type Answered, ask, blockTokens, type Node, promptOf } from './nodes.ts';

/** From every tier it must be sooner by an order of magnitude at this length. */
const targetTokens = 1024;
const targetPart = 0.1;

export interface FirstTokenParts {
  /** The node with all tiers, and its worker. */
  readonly node: Node;
  readonly worker: WorkerProcess;
  /** The other node, which has host memory alone, and its worker. */
  readonly far: Node;
  readonly farWorker: WorkerProcess;
}

const sources = ['engine', 'host memory', 'disk', 'object store', 'peer'] as const;
type Source = (typeof sources)[number];

let prompts = 0;

export async function measureFirstToken(parts: FirstTokenParts, tokens: number, rounds: number): Promise<BenchRow[]> {
  const computed: number[] = [];
  const loaded = new Map<Source, number[]>(sources.map((source) => [source, []]));
  for (let round = 0; round < rounds; round++) {
    const prompt = promptOf(++prompts, tokens + 1);
    computed.push((await ask(parts.worker, prompt)).ttftMs);
    await settle(parts, tokens);
    for (const source of sources) {
      await prepare(parts, source);
      const answer = await ask(source === 'peer' ? parts.farWorker : parts.worker, prompt);
      check(answer, source, tokens);
      loaded.get(source)?.push(answer.ttftMs);
    }
    await empty(parts);
  }
  const anchor = median(computed);
  return sources.map((source) =>
    benchRow({
      line: `first token, ${tokens} tokens, ${source} against computing`,
      unit: 'ms',
      ours: median(loaded.get(source) ?? []),
      anchor,
      ...(tokens === targetTokens && source !== 'engine' && { target: anchor * targetPart }),
    }),
  );
}

/** Every tier has the prompt. */
async function settle({ node }: FirstTokenParts, tokens: number): Promise<void> {
  const blocks = Math.floor(tokens / blockTokens);
  for (const tier of [BlockTier.HOST, BlockTier.DISK, BlockTier.OBJECT]) await node.until(tier, blocks);
}

/** The prompt is in this source, and in none that is nearer. */
async function prepare({ node, worker, far, farWorker }: FirstTokenParts, source: Source): Promise<void> {
  if (source === 'engine') return;
  await worker.rpc.client.clearCache({});
  if (source === 'disk' || source === 'object store') await node.evict(BlockTier.HOST);
  if (source === 'object store') await node.evict(BlockTier.DISK);
  if (source !== 'peer') return;
  await farWorker.rpc.client.clearCache({});
  await far.evict(BlockTier.HOST);
}

function check({ cachedTokens }: Answered, source: Source, tokens: number): void {
  const whole = Math.floor(tokens / blockTokens) * blockTokens;
  if (cachedTokens < whole) throw new Error(`only ${cachedTokens} of ${whole} tokens came from: ${source}`);
}

/** The next prompt finds nothing and nothing in its way. */
async function empty({ node, worker, far, farWorker }: FirstTokenParts): Promise<void> {
  await worker.rpc.client.clearCache({});
  await farWorker.rpc.client.clearCache({});
  for (const tier of [BlockTier.HOST, BlockTier.DISK, BlockTier.OBJECT]) await node.evict(tier);
  await far.evict(BlockTier.HOST);
}
