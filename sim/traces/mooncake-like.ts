import { IndexedHeap } from '#core/scheduling/indexed-heap.ts';
import { exponential, type Random, seeded } from '../random.ts';
import { plainRequest, shapeOfBlocks, type TraceRequest } from './trace-request.ts';

export interface MooncakeLikeOptions {
  readonly requests: number;
  readonly seed: number;
}

/**
 * What was measured in the published conversation trace (Qin et al., Mooncake, FAST 2025; conversation_trace.jsonl, Apache-2.0).
 * Distributions are quantiles at `levels`, between which values are taken evenly.
 */
const measured = {
  blockTokens: 512,
  /** Conversations that begin in an hour. */
  conversationsPerHour: 7373,
  /** Requests come in ticks. */
  tickMs: 3000,
  maxPromptTokens: 126_195,
  levels: [0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 1],
  /** Tokens of a conversation's first prompt. */
  firstTokens: [
    891, 895, 897, 905, 1092, 1757, 3914, 5264, 7417, 10_768, 15_871, 25_561, 38_464, 67_212, 89_867, 121_471, 126_195,
  ],
  outputTokens: [1, 3, 10, 24, 100, 213, 291, 350, 399, 447, 504, 597, 698, 891, 1120, 2000, 2000],
  /** Tokens that a turn adds beside the answer before it. */
  addedTokens: [1, 1, 1, 5, 9, 13, 20, 34, 91, 354, 1797, 4748, 7548, 12_607, 18_778, 41_611, 91_467],
  /** Seconds from one request of a conversation to the next. */
  pauseSeconds: [0, 18, 30, 42, 60, 75, 96, 123, 162, 222, 318, 483, 615, 1032, 1473, 2625, 3030],
  /** Turns that keep only a part of what was there before them, as after an edit. */
  editedFraction: 0.12,
  /** Of all conversations this part ends with the first request; the longer one is, the likelier it goes on. */
  endsFirst: 0.66,
  endsPower: -0.3,
} as const;

interface Conversation {
  /** Of its full blocks. */
  readonly ids: number[];
  promptTokens: number;
  turns: number;
}

interface Turn {
  readonly atMs: number;
  readonly order: number;
  readonly conversation: Conversation;
}

/**
 * Requests that resemble the published Mooncake conversation trace in rate, lengths, pauses and what prompts have in common:
 * independent rows with times, each with its whole prompt as blocks of 512 tokens. The first block is everybody's; one that is
 * not full yet has an id of its own, as hashing makes it. Holds the conversations under way.
 */
export function* generateMooncakeLike({ requests, seed }: MooncakeLikeOptions): Generator<TraceRequest> {
  const random = seeded(seed, 'mooncake');
  const waiting = new IndexedHeap<Turn>((a, b) => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order));
  const gapMs = 3_600_000 / measured.conversationsPerHour;
  let nextId = 1;
  const newId = (): number => nextId++;
  let nextMs = exponential(random, gapMs);
  let order = 0;
  for (let line = 1; line <= requests; line++) {
    while ((waiting.peek()?.atMs ?? Infinity) > nextMs) {
      const conversation = { ids: [0], promptTokens: drawn(random, measured.firstTokens), turns: 0 };
      waiting.push({ atMs: nextMs, order: order++, conversation });
      nextMs += exponential(random, gapMs);
    }
    const turn = waiting.pop();
    if (turn === undefined) return;
    const { atMs, conversation } = turn;
    const { promptTokens } = conversation;
    const outputTokens = drawn(random, measured.outputTokens);
    yield {
      ...plainRequest,
      line,
      arrivalMs: Math.floor(atMs / measured.tickMs) * measured.tickMs,
      prompt: shapeOfBlocks(promptIds(conversation, newId), measured.blockTokens, promptTokens, -line),
      promptTokens,
      outputTokens,
    };
    if (!goesOn(random, conversation)) continue;
    grow(random, conversation, outputTokens);
    const pauseMs = 1000 * drawn(random, measured.pauseSeconds);
    if (conversation.promptTokens <= measured.maxPromptTokens)
      waiting.push({ atMs: atMs + pauseMs, order: order++, conversation });
  }
}

function goesOn(random: Random, conversation: Conversation): boolean {
  conversation.turns++;
  return random() >= measured.endsFirst * conversation.turns ** measured.endsPower;
}

function grow(random: Random, conversation: Conversation, answerTokens: number): void {
  const { ids } = conversation;
  if (random() < measured.editedFraction) {
    ids.length = Math.max(1, Math.floor(ids.length * random()));
    conversation.promptTokens = ids.length * measured.blockTokens;
  } else conversation.promptTokens += answerTokens;
  conversation.promptTokens += drawn(random, measured.addedTokens);
}

/** Ids of the conversation's full blocks, which stay, and one for a block in part, which does not. */
function promptIds({ ids, promptTokens }: Conversation, newId: () => number): number[] {
  const { blockTokens } = measured;
  while ((ids.length + 1) * blockTokens <= promptTokens) ids.push(newId());
  return ids.length * blockTokens < promptTokens ? [...ids, newId()] : [...ids];
}

/** A whole number from a distribution that is given by its quantiles. */
function drawn(random: Random, quantiles: readonly number[]): number {
  const { levels } = measured;
  const level = random();
  const above = Math.max(
    1,
    levels.findIndex((known) => known > level),
  );
  const [from = 0, to = 1] = levels.slice(above - 1);
  const [low = 0, high = 0] = quantiles.slice(above - 1);
  return Math.round(low + ((high - low) * (level - from)) / (to - from));
}
