import { z } from 'zod';
import { StatorError } from '#lib/errors/errors.ts';

/** What went wrong, from the parser's faults to the model's choice. */
export const failureClasses = {
  leak: 'markup of calls or reasoning in the text or in arguments',
  reasoning: 'reasoning and content mixed up',
  arguments: 'calls lost, doubled or with arguments that are no JSON',
  schema: 'what a grammar should have kept to was not kept to',
  stream: 'a stream that contradicts the protocol',
  server: 'an error of the server, or none of its answers',
  timeout: 'no answer in time',
  model: 'the model chose to answer otherwise',
} as const;

export type FailureClass = keyof typeof failureClasses;

const classes = Object.keys(failureClasses) as [FailureClass, ...FailureClass[]];

const result = z.object({
  model: z.string(),
  /** Parsers of calls and reasoning; empty: as the model is served. */
  parser: z.string(),
  probe: z.string(),
  mode: z.string(),
  streamed: z.boolean(),
  /** `unsupported`: refused with the name of the field that asks for it. */
  outcome: z.enum(['pass', 'fail', 'unsupported']),
  class: z.enum(classes).nullable(),
  detail: z.string(),
});

const snapshot = z.object({
  version: z.literal(1),
  createdAt: z.string(),
  /** Release of the probing side. */
  release: z.string(),
  results: z.array(result),
});

/** One probe of one model and parser. */
export type ProbeResult = z.infer<typeof result>;
export type Snapshot = z.infer<typeof snapshot>;

/** Throws StatorError where the text is no snapshot. */
export function parseSnapshot(text: string, name: string): Snapshot {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw StatorError.invalid('baseline', `${name} is not JSON.`, { cause });
  }
  const parsed = snapshot.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw StatorError.invalid('baseline', `${name} is no snapshot: ${issue?.path.join('.')}: ${issue?.message}`);
}

/** A probe whose outcome is not what it was. */
export interface Change {
  readonly now: ProbeResult;
  readonly before: ProbeResult;
}

export function changesSince(before: Snapshot, now: Snapshot): Change[] {
  const earlier = new Map(before.results.map((one) => [keyOf(one), one]));
  return now.results.flatMap((one) => {
    const was = earlier.get(keyOf(one));
    return was === undefined || was.outcome === one.outcome ? [] : [{ now: one, before: was }];
  });
}

export function isRegression({ now, before }: Change): boolean {
  return before.outcome === 'pass' && now.outcome !== 'pass';
}

/** Whether it is the server's fault, not what the model chose to say. */
export function isDefect({ outcome, class: kind }: ProbeResult): boolean {
  return outcome === 'fail' && kind !== 'model';
}

function keyOf({ model, parser, probe, streamed }: ProbeResult): string {
  return JSON.stringify([model, parser, probe, streamed]);
}
