import { IndexedHeap } from '#core/scheduling/indexed-heap.ts';
import { exponential, geometric, lognormal, type Random, seeded } from '../random.ts';
import { plainRequest, shapeOfBlocks, type TraceRequest } from './trace-request.ts';

export interface MooncakeLikeOptions {
  readonly requests: number;
  readonly seed: number;
}

/** What is known of the published conversation trace (Qin et al., FAST 2025), and what follows from it here. */
const shape = {
  blockTokens: 512,
  /** 12,031 requests in an hour. */
  requestsPerHour: 12_031,
  /** 343 tokens on average. */
  outputTokens: 343,
  outputSigma: 0.7,
  maxOutputTokens: 2000,
  /** 12,035 tokens on average; conversations are up to about 126,000 long. Together with what turns add. */
  firstPromptTokens: 11_700,
  firstPromptSigma: 1.1,
  maxPromptTokens: 126_000,
  /** Follow-up turns make up most of the 40 % of prompt tokens that a cache without bounds would have. */
  turns: 1.5,
  turnTokens: 900,
  turnSigma: 1,
  thinkMs: 45_000,
  thinkSigma: 1,
  /** Everybody's first block, and longer instructions that applications have in common. */
  applications: 48,
  instructionTokens: 1_000,
} as const;

interface Conversation {
  readonly ids: number[];
  promptTokens: number;
  turnsLeft: number;
}

interface Turn {
  readonly atMs: number;
  readonly order: number;
  readonly conversation: Conversation;
}

/**
 * Requests that resemble the published Mooncake conversation trace in rate, lengths and what prompts have in common:
 * independent rows with times, each with its whole prompt as blocks of 512 tokens. A block that is not full yet has an id
 * of its own, as hashing makes it. Holds the conversations under way.
 */
export function* generateMooncakeLike({ requests, seed }: MooncakeLikeOptions): Generator<TraceRequest> {
  const random = seeded(seed, 'mooncake');
  const applications = Array.from({ length: shape.applications }, () => instructionBlocks(random));
  const waiting = new IndexedHeap<Turn>((a, b) => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order));
  const gapMs = (3_600_000 / shape.requestsPerHour) * shape.turns;
  let nextId = 1 + applications.reduce((sum, blocks) => sum + blocks, 0);
  const newId = (): number => nextId++;
  let nextMs = exponential(random, gapMs);
  let order = 0;
  for (let line = 1; line <= requests; line++) {
    while ((waiting.peek()?.atMs ?? Infinity) > nextMs) {
      waiting.push({ atMs: nextMs, order: order++, conversation: begin(random, applications, newId) });
      nextMs += exponential(random, gapMs);
    }
    const turn = waiting.pop();
    if (turn === undefined) return;
    const { atMs, conversation } = turn;
    const { promptTokens } = conversation;
    const outputTokens = drawn(random, shape.outputTokens, shape.outputSigma, shape.maxOutputTokens);
    yield {
      ...plainRequest,
      line,
      arrivalMs: Math.round(atMs),
      prompt: shapeOfBlocks(promptIds(conversation, newId), shape.blockTokens, promptTokens, -line),
      promptTokens,
      outputTokens,
    };
    conversation.promptTokens += outputTokens + drawn(random, shape.turnTokens, shape.turnSigma, 60_000);
    if (--conversation.turnsLeft === 0 || conversation.promptTokens > shape.maxPromptTokens) continue;
    waiting.push({ atMs: atMs + lognormal(random, shape.thinkMs, shape.thinkSigma), order: order++, conversation });
  }
}

function instructionBlocks(random: Random): number {
  return Math.round(lognormal(random, shape.instructionTokens, 0.8) / shape.blockTokens);
}

/** The first block is everybody's, then those of an application; popular ones more often (Zipf). */
function begin(random: Random, applications: readonly number[], newId: () => number): Conversation {
  const application = Math.floor(applications.length ** random()) - 1;
  const before = applications.slice(0, application).reduce((sum, blocks) => sum + blocks, 0);
  const ids = [0, ...Array.from({ length: applications[application] ?? 0 }, (_, at) => 1 + before + at)];
  const own = drawn(random, shape.firstPromptTokens, shape.firstPromptSigma, 110_000);
  const conversation = { ids, promptTokens: own, turnsLeft: geometric(random, shape.turns) };
  // A prompt shorter than its application's instructions has a part of them.
  ids.length = Math.min(ids.length, Math.floor(own / shape.blockTokens));
  while ((ids.length + 1) * shape.blockTokens <= own) ids.push(newId());
  return conversation;
}

/** Ids of the conversation's full blocks, which stay, and one for a block in part, which does not. */
function promptIds({ ids, promptTokens }: Conversation, newId: () => number): number[] {
  while ((ids.length + 1) * shape.blockTokens <= promptTokens) ids.push(newId());
  return ids.length * shape.blockTokens < promptTokens ? [...ids, newId()] : [...ids];
}

function drawn(random: Random, mean: number, sigma: number, max: number): number {
  return Math.min(max, Math.max(1, Math.round(lognormal(random, mean, sigma))));
}
