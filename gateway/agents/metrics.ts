import { Gauge, type Registry } from 'prom-client';
import { counterOf } from '#lib/telemetry/metrics.ts';
import type { Generation } from '../pipeline/generation.ts';
import type { IdentitySource } from './identity.ts';

/** What became of the wish to compute a next turn in advance. */
export type SpeculationOutcome =
  | 'done'
  /** Too many run already, too much else runs, or too little would be won. */
  | 'dropped_full'
  | 'dropped_load'
  | 'dropped_short'
  /** It is more than its caller's limits have left, or its key is no longer in force. */
  | 'dropped_limits'
  /** Given up: other requests came, or the turn itself. */
  | 'cancelled_load'
  | 'cancelled_superseded'
  | 'cancelled_late'
  | 'failed';

const name = (rest: string): string => `stator_gateway_${rest}`;

/** What the gateway counts of agents. Sessions are no labels: clients must not be able to create series. */
export class AgentMetrics {
  readonly #registry: Registry;
  readonly #requests;
  readonly #tokens;
  readonly #forgotten;
  readonly #exchanges;
  readonly #speculations;
  readonly #speculated;
  readonly #toolEvents;
  readonly #records;
  readonly #recordsLost;
  readonly #targets;

  constructor(registry: Registry) {
    this.#registry = registry;
    this.#requests = counterOf(
      registry,
      name('session_requests_total'),
      'Prompts by who named their session; none: nobody.',
      ['source'],
    );
    this.#tokens = counterOf(registry, name('session_tokens_total'), 'Tokens of prompts that name a session.', [
      'kind',
    ]);
    this.#forgotten = counterOf(registry, name('sessions_forgotten_total'), 'Accounts of sessions that were dropped.', [
      'why',
    ]);
    this.#exchanges = counterOf(
      registry,
      name('session_exchanges_total'),
      'Exchanges of accounts of sessions with the store: ok, conflict (another gateway was first: tried again) or failed.',
      ['outcome'],
    );
    this.#speculations = counterOf(
      registry,
      name('speculative_prefills_total'),
      'Next turns that were to be computed in advance, by what became of that.',
      ['outcome'],
    );
    this.#speculated = counterOf(
      registry,
      name('speculative_prefill_tokens_total'),
      'Tokens of next turns computed in advance, and those of them that were cached already.',
      ['kind'],
    );
    this.#toolEvents = counterOf(registry, name('tool_events_total'), 'Starts and ends of tools, by who told.', [
      'event',
      'origin',
    ]);
    this.#records = counterOf(registry, name('request_trace_records_total'), 'Records of the request trace.', [
      'event',
    ]);
    this.#recordsLost = counterOf(
      registry,
      name('request_trace_lost_total'),
      'Records of the request trace that were not written, by reason.',
      ['why'],
    );
    this.#targets = counterOf(
      registry,
      name('latency_targets_total'),
      'Prompts whose client named a latency, by whether it was kept.',
      ['target', 'outcome'],
    );
  }

  /** Gauges that are read when Prometheus asks. */
  expose(read: { sessions: () => number; speculating: () => number; openCalls: () => number }): void {
    const gauge = (rest: string, help: string, value: () => number): void => {
      new Gauge({
        name: name(rest),
        help,
        registers: [this.#registry],
        collect() {
          this.set(value());
        },
      });
    };
    gauge('sessions', 'Sessions that have an account.', read.sessions);
    gauge('speculative_prefills', 'Next turns that are being computed in advance.', read.speculating);
    gauge('open_tool_calls', 'Calls of tools whose results have not come.', read.openCalls);
  }

  turn(source: IdentitySource | 'none', generation: Generation): void {
    this.#requests.inc({ source });
    if (source === 'none') return;
    const { prompt, cachedTokens, outputTokens } = generation;
    this.#tokens.inc({ kind: 'prompt' }, prompt.tokenIds.length);
    this.#tokens.inc({ kind: 'cached' }, cachedTokens);
    this.#tokens.inc({ kind: 'output' }, outputTokens);
  }

  forgotten(why: 'expired' | 'room'): void {
    this.#forgotten.inc({ why });
  }

  accountExchange(outcome: 'ok' | 'conflict' | 'failed'): void {
    this.#exchanges.inc({ outcome });
  }

  speculation(outcome: SpeculationOutcome): void {
    this.#speculations.inc({ outcome });
  }

  speculated(tokens: number, cached: number): void {
    this.#speculated.inc({ kind: 'prompt' }, tokens);
    this.#speculated.inc({ kind: 'cached' }, cached);
  }

  toolEvent(event: string, origin: 'conversation' | 'harness'): void {
    this.#toolEvents.inc({ event, origin });
  }

  record(event: string): void {
    this.#records.inc({ event });
  }

  recordsLost(why: 'queue_full' | 'write_failed' | 'not_replayable', count: number): void {
    this.#recordsLost.inc({ why }, count);
  }

  target(target: 'ttft' | 'itl', isKept: boolean): void {
    this.#targets.inc({ target, outcome: isKept ? 'kept' : 'missed' });
  }
}
