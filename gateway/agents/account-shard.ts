import type { IdentitySource } from './identity.ts';

/** What is counted of a session, and adds up over gateways. */
export const countNames = [
  'requests',
  'failed',
  'promptTokens',
  'cachedTokens',
  'outputTokens',
  'prefillMs',
  'speculativeTokens',
  'toolCalls',
  'toolResults',
  'toolMs',
] as const;

export type SessionCounts = Record<(typeof countNames)[number], number>;

/** What is known of a session besides its counts. Names are as they are shown. */
export interface SessionFacts {
  readonly tenant: string;
  readonly name: string;
  /** Empty: none. */
  readonly parentName: string;
  readonly source: IdentitySource;
  readonly firstUnixMs: number;
  readonly lastUnixMs: number;
  readonly isFinal: boolean;
}

/** What one gateway has to tell of a session: what it counted since it last told, and how many prompts run there now. */
export interface SessionChange extends SessionFacts {
  readonly counts: SessionCounts;
  readonly running: number;
}

export interface SharedSession extends SessionFacts {
  readonly counts: SessionCounts;
  /** Prompts that run, by gateway. */
  readonly running: Readonly<Record<string, number>>;
}

/** Sessions that gateways account together: a document of the store. */
export interface Shard {
  /** By a digest of tenant and session. */
  readonly sessions: Readonly<Record<string, SharedSession>>;
  /** Number of each gateway's last exchange, by which it is made once, and until when what runs there is believed. */
  readonly gateways: Readonly<Record<string, { readonly exchange: number; readonly untilMs: number }>>;
}

export interface ShardBounds {
  readonly nowMs: number;
  /** Milliseconds without a request after which a session is forgotten. */
  readonly ttlMs: number;
  /** The one unused for longest goes first. */
  readonly mostSessions: number;
}

export interface Telling extends ShardBounds {
  readonly gateway: string;
  readonly exchange: number;
  /** Milliseconds for which prompts that run are believed to. */
  readonly leaseMs: number;
}

export const emptyShard: Shard = { sessions: {}, gateways: {} };

export function noCounts(): SessionCounts {
  return Object.fromEntries(countNames.map((name) => [name, 0])) as SessionCounts;
}

export function addedCounts(a: SessionCounts, b: SessionCounts, sign: 1 | -1 = 1): SessionCounts {
  return Object.fromEntries(countNames.map((name) => [name, a[name] + sign * b[name]])) as SessionCounts;
}

/** Two changes as one; the second is the later one. */
export function joined(first: SessionChange, second: SessionChange): SessionChange {
  return { ...later(first, second), counts: addedCounts(first.counts, second.counts), running: second.running };
}

/** The shard once a gateway has told its changes. */
export function told(before: Shard, changes: ReadonlyMap<string, SessionChange>, o: Telling): Shard {
  const sessions = new Map(Object.entries(before.sessions));
  for (const [key, change] of changes) {
    const known = sessions.get(key);
    const { [o.gateway]: _, ...others } = known?.running ?? {};
    const running = change.running > 0 ? { ...others, [o.gateway]: change.running } : others;
    const { counts, ...facts } = change;
    if (known === undefined) sessions.set(key, { ...withoutRunning(facts), counts, running });
    else sessions.set(key, { ...later(known, facts), counts: addedCounts(known.counts, counts), running });
  }
  const told = { exchange: o.exchange, untilMs: o.nowMs + o.leaseMs };
  const gateways = { ...before.gateways, [o.gateway]: told };
  return bounded({ sessions: Object.fromEntries(sessions), gateways }, o);
}

/** Without sessions and gateways that were last heard of too long ago, and without those for which there is no room. */
export function bounded({ sessions, gateways }: Shard, { nowMs, ttlMs, mostSessions }: ShardBounds): Shard {
  const known = Object.entries(gateways).filter(([, { untilMs }]) => nowMs - untilMs < ttlMs);
  const living = Object.fromEntries(known);
  const inUse = Object.entries(sessions).filter(
    ([, one]) => nowMs - one.lastUnixMs < ttlMs || runningOf(one, living, nowMs) > 0,
  );
  inUse.sort(([, a], [, b]) => b.lastUnixMs - a.lastUnixMs);
  return { sessions: Object.fromEntries(inUse.slice(0, mostSessions)), gateways: living };
}

/** Prompts of a session that run, at gateways that said so lately. */
export function runningOf({ running }: SharedSession, gateways: Shard['gateways'], nowMs: number): number {
  let sum = 0;
  for (const [gateway, count] of Object.entries(running)) if ((gateways[gateway]?.untilMs ?? 0) > nowMs) sum += count;
  return sum;
}

/** The facts of a session that two know of; what the later one says counts. */
function later(a: SessionFacts, b: SessionFacts): SessionFacts {
  const [earlier, last] = a.lastUnixMs <= b.lastUnixMs ? [a, b] : [b, a];
  return {
    tenant: last.tenant,
    name: last.name,
    parentName: last.parentName === '' ? earlier.parentName : last.parentName,
    source: a.firstUnixMs <= b.firstUnixMs ? a.source : b.source,
    firstUnixMs: Math.min(a.firstUnixMs, b.firstUnixMs),
    lastUnixMs: last.lastUnixMs,
    isFinal: last.isFinal,
  };
}

function withoutRunning({ running: _, ...facts }: SessionFacts & { readonly running: number }): SessionFacts {
  return facts;
}
