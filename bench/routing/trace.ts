import { IndexedHeap } from '#core/scheduling/indexed-heap.ts';
import { exponential, geometric, lognormal, type Random, seeded } from '#sim/random.ts';
import { plainRequest, shapeOfBlocks, type TraceRequest } from '#sim/traces/trace-request.ts';

/** Tokens that one hash id stands for. */
export const traceBlockTokens = 64;

/**
 * The shape of Mooncake's conversations (instructions that applications share unevenly, turns that grow, think times), in
 * lengths and at a rate that two cores can serve in real time.
 */
const shape = {
  requestsPerSecond: 10,
  applications: 24,
  instructionTokens: 3000,
  instructionSigma: 0.7,
  firstTokens: 7000,
  firstSigma: 0.8,
  turns: 3,
  turnTokens: 800,
  turnSigma: 0.8,
  maxPromptTokens: 40_000,
  outputTokens: 150,
  outputSigma: 0.6,
  maxOutputTokens: 600,
  thinkMs: 6000,
  thinkSigma: 0.6,
} as const;

interface Turn {
  readonly atMs: number;
  readonly ids: number[];
  readonly promptTokens: number;
  readonly left: number;
}

/** Independent rows with times. A block that is not full yet has an id of its own, as hashing makes it. Ids begin at `firstId`. */
export function* conversations(requests: number, seed: number, firstId = 1): Generator<TraceRequest> {
  const random = seeded(seed, 'routing bench');
  let nextId = firstId;
  const applications = Array.from({ length: shape.applications }, () =>
    Array.from({ length: blocksOf(random, shape.instructionTokens, shape.instructionSigma) }, () => nextId++),
  );
  const turns = new IndexedHeap<Turn>((a, b) => a.atMs < b.atMs);
  let beginMs = 0;
  for (let line = 1; line <= requests; line++) {
    for (let first = turns.peek(); first === undefined || first.atMs > beginMs; first = turns.peek()) {
      turns.push(firstTurn(random, applications, beginMs));
      beginMs += exponential(random, (1000 / shape.requestsPerSecond) * shape.turns);
    }
    const turn = turns.pop();
    if (turn === undefined) return;
    const { atMs, ids, promptTokens, left } = turn;
    while ((ids.length + 1) * traceBlockTokens <= promptTokens) ids.push(nextId++);
    const own = ids.length * traceBlockTokens < promptTokens ? [nextId++] : [];
    const outputTokens = tokensOf(random, shape.outputTokens, shape.outputSigma, shape.maxOutputTokens);
    yield {
      ...{ ...plainRequest, line, arrivalMs: Math.round(atMs), promptTokens, outputTokens },
      prompt: shapeOfBlocks([...ids, ...own], traceBlockTokens, promptTokens, -line),
    };
    const grown = promptTokens + outputTokens + tokensOf(random, shape.turnTokens, shape.turnSigma, 8000);
    if (left === 1 || grown > shape.maxPromptTokens) continue;
    const thinkMs = lognormal(random, shape.thinkMs, shape.thinkSigma);
    turns.push({ atMs: atMs + thinkMs, ids, promptTokens: grown, left: left - 1 });
  }
}

/** Popular applications begin more conversations (Zipf). */
function firstTurn(random: Random, applications: readonly (readonly number[])[], atMs: number): Turn {
  const application = applications[Math.floor(applications.length ** random()) - 1] ?? [];
  const own = tokensOf(random, shape.firstTokens, shape.firstSigma, 30_000);
  const promptTokens = application.length * traceBlockTokens + own;
  return { atMs, ids: [...application], promptTokens, left: geometric(random, shape.turns) };
}

function blocksOf(random: Random, tokens: number, sigma: number): number {
  return Math.max(1, Math.round(Math.min(10_000, lognormal(random, tokens, sigma)) / traceBlockTokens));
}

function tokensOf(random: Random, mean: number, sigma: number, max: number): number {
  return Math.min(max, Math.max(2, Math.round(lognormal(random, mean, sigma))));
}
