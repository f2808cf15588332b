import { exponential, gamma, lognormal, type Random, seeded } from '../random.ts';
import { plainRequest, shapeOfBlocks, type TraceRequest } from './trace-request.ts';

export const arrivalProcesses = ['constant', 'poisson', 'gamma'] as const;

export interface SyntheticOptions {
  /** Sessions; each has `turns` requests. */
  readonly sessions: number;
  /** Mean tokens of the first prompt of a session. */
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Deviation of the logarithm of both lengths; 0: all are the mean. */
  readonly spread: number;
  /** Mean milliseconds between two sessions; 0: all arrive at once. */
  readonly intervalMs: number;
  readonly arrivals: (typeof arrivalProcesses)[number];
  /** Gamma: the shape of the times between arrivals; below 1 they come in bursts. */
  readonly burstShape: number;
  /** Part of a session's first prompt that its group shares, from 0 to 1. */
  readonly sharedPrefixRatio: number;
  /** Groups that sessions are dealt to by chance; 0: none share anything. */
  readonly prefixGroups: number;
  readonly turns: number;
  /** Mean tokens that the user adds in each turn after the first; the answer before it comes on top. */
  readonly turnTokens: number;
  readonly interTurnDelayMs: number;
  /** Tokens that one content id stands for. */
  readonly blockTokens: number;
  readonly seed: number;
}

/** Ids of one session lie apart by this. */
const idsPerSession = 2 ** 22;

/** Requests that imitate no real load: lengths, arrivals and shared prefixes are what the options say. */
export function* generateSynthetic(options: SyntheticOptions): Generator<TraceRequest> {
  const lengths = seeded(options.seed, 'lengths');
  const arrivals = seeded(options.seed, 'arrivals');
  const groups = seeded(options.seed, 'groups');
  let atMs = 0;
  let line = 0;
  for (let session = 0; session < options.sessions; session++) {
    if (session > 0) atMs += gapMs(arrivals, options);
    const group = options.prefixGroups > 0 ? Math.floor(groups() * options.prefixGroups) : -1;
    for (const request of requestsOf(session, group, lengths, options))
      yield { ...request, line: ++line, ...(request.delayMs === undefined ? { arrivalMs: atMs } : {}) };
  }
}

function* requestsOf(
  session: number,
  group: number,
  random: Random,
  options: SyntheticOptions,
): Generator<Omit<TraceRequest, 'line'>> {
  const { inputTokens, outputTokens, spread, turns, turnTokens, blockTokens, interTurnDelayMs } = options;
  const base = (session + 1 + Math.max(1, options.prefixGroups)) * idsPerSession;
  let promptTokens = lengthOf(random, inputTokens, spread);
  const sharedBlocks = group < 0 ? 0 : Math.round((promptTokens * options.sharedPrefixRatio) / blockTokens);
  for (let turn = 0; turn < turns; turn++) {
    const answer = lengthOf(random, outputTokens, spread);
    const blocks = Math.ceil(promptTokens / blockTokens);
    const ids = Array.from(
      { length: blocks },
      (_, at) => (at < sharedBlocks ? (group + 1) * idsPerSession : base) + at,
    );
    yield {
      ...plainRequest,
      ...(turns === 1 ? {} : { sessionId: `s${session}`, follows: 'session' }),
      delayMs: turn === 0 ? undefined : interTurnDelayMs,
      prompt: shapeOfBlocks(ids, blockTokens, promptTokens, -1),
      promptTokens,
      outputTokens: answer,
    };
    promptTokens += answer + lengthOf(random, turnTokens, spread);
  }
}

function lengthOf(random: Random, mean: number, spread: number): number {
  return Math.max(1, Math.round(spread === 0 ? mean : lognormal(random, mean, spread)));
}

function gapMs(random: Random, { arrivals, intervalMs, burstShape }: SyntheticOptions): number {
  if (arrivals === 'constant' || intervalMs === 0) return intervalMs;
  return arrivals === 'poisson' ? exponential(random, intervalMs) : gamma(random, burstShape, intervalMs);
}
