import { type HeapNode, IndexedHeap } from '#core/scheduling/indexed-heap.ts';

/** Where a session's requests go. */
export interface AffinityTarget {
  readonly instanceId: bigint;
  readonly dataParallelRank: number;
}

/** hard: the bound worker or none. soft: the bound worker where it can serve and is not busy, else any, which is bound from then on. */
export const affinityModes = ['hard', 'soft'] as const;
export type AffinityMode = (typeof affinityModes)[number];

/** What affinity says about a request. */
export type AffinityAnswer =
  /** Nothing is bound, or softly to a worker that cannot serve it: choose freely, then `use` what was chosen. */
  | { readonly kind: 'free' }
  | { readonly kind: 'bound'; readonly target: AffinityTarget }
  /** Bound for good to a worker that cannot serve it now. */
  | { readonly kind: 'refused'; readonly target: AffinityTarget; readonly reason: string };

/** A binding as replicas tell each other. */
export interface SharedAffinity extends AffinityTarget {
  readonly scope: string;
  readonly sessionId: string;
  /** Order of uses among all replicas; the highest wins, then the highest replica. */
  readonly sequence: number;
  readonly replica: bigint;
  /** Milliseconds since the last use ended, 0 while one runs. */
  readonly idleMs: number;
}

export interface AffinityOptions {
  readonly mode: AffinityMode;
  /** Milliseconds without a request after which a session is forgotten. */
  readonly ttlMs: number;
  /** Most sessions; the one unused for longest makes room. */
  readonly maxSessions: number;
  /** This router's identifier, which settles bindings made at once by two. */
  readonly replica: bigint;
}

/** A request of a session that is on its worker. */
export interface AffinityUse {
  /** The request ended. Idempotent. */
  end(nowMs: number): void;
}

/** Most UTF-8 bytes of a session identifier. */
export const maxSessionIdBytes = 256;

interface Binding {
  readonly key: string;
  readonly scope: string;
  readonly sessionId: string;
  target: AffinityTarget;
  sequence: number;
  replica: bigint;
  running: number;
  lastUseMs: number;
  node: HeapNode<Binding> | undefined;
}

/**
 * Which worker the sessions of agents are bound to, so that a conversation finds its KV cache. A scope (a model and role)
 * has sessions of its own. Times are monotonic milliseconds; a session with a running request is not idle.
 */
export class SessionAffinity {
  readonly #options: AffinityOptions;
  readonly #bindings = new Map<string, Binding>();
  readonly #byWorker = new Map<bigint, Set<Binding>>();
  /** The first is the one to forget next. */
  readonly #idle = new IndexedHeap<Binding>(isIdleLonger);
  /** Counts uses as a Lamport clock: it never falls behind what replicas tell. */
  #clock = 0;
  #evicted = 0;
  #expired = 0;

  constructor(options: AffinityOptions) {
    this.#options = options;
  }

  get stats(): { readonly sessions: number; readonly evicted: number; readonly expired: number } {
    return { sessions: this.#bindings.size, evicted: this.#evicted, expired: this.#expired };
  }

  /**
   * `cannotServe` says why a worker cannot serve this request, null if it can. Being busy is no reason where sessions are
   * hard, so that they wait for their worker, and is one where they are soft, so that they move.
   */
  answer(
    scope: string,
    sessionId: string,
    nowMs: number,
    cannotServe: (target: AffinityTarget) => string | null,
  ): AffinityAnswer {
    this.expire(nowMs);
    const binding = this.#bindings.get(keyOf(scope, sessionId));
    if (binding === undefined) return { kind: 'free' };
    const { target } = binding;
    const reason = cannotServe(target);
    if (reason === null) return { kind: 'bound', target };
    return this.#options.mode === 'hard' ? { kind: 'refused', target, reason } : { kind: 'free' };
  }

  /** A request of the session was dispatched there: the first one binds, in soft mode any binds anew. */
  use(scope: string, sessionId: string, target: AffinityTarget, nowMs: number): AffinityUse {
    this.expire(nowMs);
    const binding = this.#bindings.get(keyOf(scope, sessionId)) ?? this.#insert(scope, sessionId, target, nowMs);
    this.#retarget(binding, target);
    binding.running++;
    this.#touch(binding, nowMs);
    let ended = false;
    return {
      end: (endMs) => {
        if (ended) return;
        ended = true;
        binding.running--;
        // A binding that was dropped meanwhile is in no table any more.
        if (this.#bindings.get(binding.key) === binding) this.#touch(binding, endMs);
      },
    };
  }

  /** The worker failed a request of the session: the next one chooses freely. */
  drop(scope: string, sessionId: string, failed: AffinityTarget): boolean {
    const binding = this.#bindings.get(keyOf(scope, sessionId));
    if (binding === undefined || !sameTarget(binding.target, failed)) return false;
    this.#remove(binding);
    return true;
  }

  /** The worker is gone. Returns how many sessions it had. */
  dropWorker(instanceId: bigint): number {
    const bound = [...(this.#byWorker.get(instanceId) ?? [])];
    for (const binding of bound) this.#remove(binding);
    return bound.length;
  }

  /** Forgets sessions that were idle for too long. Every other call does it too. */
  expire(nowMs: number): void {
    for (let binding = this.#idle.peek(); binding !== undefined; binding = this.#idle.peek()) {
      if (binding.running > 0 || binding.lastUseMs + this.#options.ttlMs > nowMs) return;
      this.#remove(binding);
      this.#expired++;
    }
  }

  /** Bindings used after a point of the common order, for replicas; 0: all. */
  *entries(nowMs: number, afterSequence = 0): Generator<SharedAffinity> {
    this.expire(nowMs);
    for (const binding of this.#bindings.values()) if (binding.sequence > afterSequence) yield shared(binding, nowMs);
  }

  /** One binding as replicas are told of it; undefined: the session is bound to nothing. */
  get(scope: string, sessionId: string, nowMs: number): SharedAffinity | undefined {
    const binding = this.#bindings.get(keyOf(scope, sessionId));
    return binding === undefined ? undefined : shared(binding, nowMs);
  }

  /** Takes over what a replica tells, where it was used later there. Advisory: workers unknown here are passed over. Returns how many changed. */
  merge(entries: Iterable<SharedAffinity>, nowMs: number, knows: (instanceId: bigint) => boolean): number {
    let changed = 0;
    for (const entry of entries) {
      if (!Number.isSafeInteger(entry.sequence)) continue;
      this.#clock = Math.max(this.#clock, entry.sequence);
      if (this.#adopt(entry, nowMs, knows)) changed++;
    }
    return changed;
  }

  #adopt(entry: SharedAffinity, nowMs: number, knows: (instanceId: bigint) => boolean): boolean {
    const { scope, sessionId, instanceId, dataParallelRank, sequence, replica, idleMs } = entry;
    if (idleMs >= this.#options.ttlMs || !knows(instanceId) || sessionIdProblem(sessionId) !== null) return false;
    const found = this.#bindings.get(keyOf(scope, sessionId));
    if (found !== undefined && !isLater(entry, found)) return false;
    const target = { instanceId, dataParallelRank };
    const lastUseMs = nowMs - Math.max(0, idleMs);
    const binding = found ?? this.#insert(scope, sessionId, target, lastUseMs);
    this.#retarget(binding, target);
    binding.sequence = sequence;
    binding.replica = replica;
    binding.lastUseMs = Math.max(binding.lastUseMs, lastUseMs);
    this.#moved(binding);
    return true;
  }

  #insert(scope: string, sessionId: string, target: AffinityTarget, lastUseMs: number): Binding {
    if (this.#bindings.size >= this.#options.maxSessions) {
      const oldest = this.#idle.peek();
      if (oldest !== undefined) this.#remove(oldest);
      this.#evicted++;
    }
    const key = keyOf(scope, sessionId);
    const base = { key, scope, sessionId, target, lastUseMs, sequence: 0, replica: this.#options.replica, running: 0 };
    const binding: Binding = { ...base, node: undefined };
    binding.node = this.#idle.push(binding);
    this.#bindings.set(key, binding);
    this.#index(binding);
    return binding;
  }

  #touch(binding: Binding, nowMs: number): void {
    binding.sequence = ++this.#clock;
    binding.replica = this.#options.replica;
    binding.lastUseMs = Math.max(binding.lastUseMs, nowMs);
    this.#moved(binding);
  }

  #retarget(binding: Binding, target: AffinityTarget): void {
    if (sameTarget(binding.target, target)) return;
    this.#unindex(binding);
    binding.target = target;
    this.#index(binding);
  }

  #moved({ node }: Binding): void {
    if (node !== undefined) this.#idle.moved(node);
  }

  #remove(binding: Binding): void {
    this.#bindings.delete(binding.key);
    this.#unindex(binding);
    if (binding.node !== undefined) this.#idle.remove(binding.node);
  }

  #index(binding: Binding): void {
    const { instanceId } = binding.target;
    const bound = this.#byWorker.get(instanceId) ?? new Set<Binding>();
    this.#byWorker.set(instanceId, bound.add(binding));
  }

  #unindex(binding: Binding): void {
    const { instanceId } = binding.target;
    const bound = this.#byWorker.get(instanceId);
    bound?.delete(binding);
    if (bound?.size === 0) this.#byWorker.delete(instanceId);
  }
}

/** What is wrong with a session identifier; null: nothing. */
export function sessionIdProblem(sessionId: string): string | null {
  if (sessionId === '') return 'a session identifier must not be empty';
  // A UTF-16 unit takes at most three bytes.
  if (sessionId.length * 3 <= maxSessionIdBytes) return null;
  const bytes = new TextEncoder().encode(sessionId).length;
  if (bytes <= maxSessionIdBytes) return null;
  return `a session identifier has at most ${maxSessionIdBytes} bytes, this one has ${bytes}`;
}

function shared(binding: Binding, nowMs: number): SharedAffinity {
  const { scope, sessionId, target, sequence, replica, running, lastUseMs } = binding;
  const idleMs = running > 0 ? 0 : Math.max(0, nowMs - lastUseMs);
  return { scope, sessionId, ...target, sequence, replica, idleMs };
}

function keyOf(scope: string, sessionId: string): string {
  return `${scope}\0${sessionId}`;
}

function sameTarget(a: AffinityTarget, b: AffinityTarget): boolean {
  return a.instanceId === b.instanceId && a.dataParallelRank === b.dataParallelRank;
}

function isLater(a: Pick<Binding, 'sequence' | 'replica'>, b: Pick<Binding, 'sequence' | 'replica'>): boolean {
  return a.sequence === b.sequence ? a.replica > b.replica : a.sequence > b.sequence;
}

function isIdleLonger(a: Binding, b: Binding): boolean {
  if (a.running > 0 !== b.running > 0) return b.running > 0;
  return a.lastUseMs < b.lastUseMs;
}
