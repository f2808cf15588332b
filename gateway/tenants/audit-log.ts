import { pino } from 'pino';
import { StatorError } from '#lib/errors/errors.ts';
import type { RequestFacts } from './access.ts';
import { type Call, usedTokens } from './caller.ts';

/**
 * Who asked for what and when, one JSON line for each request. Neither keys nor anything that was said is in it. A full
 * or broken disk costs lines, which are counted, never requests.
 */
export class AuditLog {
  readonly #destination: ReturnType<typeof pino.destination>;

  /** Throws `invalid_argument` for a file that cannot be written. `onLost` is told of lines that could not be written. */
  constructor(path: string, onLost: (error: Error) => void) {
    try {
      this.#destination = pino.destination({ dest: path, append: true, sync: true, mode: 0o600 });
    } catch (cause) {
      throw StatorError.invalid('auditLog', `The audit log ${path} cannot be written: ${String(cause)}`, { cause });
    }
    this.#destination.on('error', onLost);
  }

  /** Somebody without a valid key. */
  refused(facts: RequestFacts, code: string): void {
    this.#write({ ...fieldsOf(facts), outcome: code });
  }

  ended(facts: RequestFacts, call: Call, o: { readonly outcome: string; readonly durationMs: number }): void {
    const { id, tenant } = call.caller;
    this.#write({
      ...fieldsOf(facts),
      key: id,
      tenant,
      model: call.model,
      tokens: usedTokens(call),
      duration_ms: o.durationMs,
      outcome: o.outcome,
    });
  }

  /** Somebody administered, or would have liked to. */
  administered(facts: RequestFacts, o: { readonly outcome: string; readonly durationMs: number }): void {
    this.#write({ ...fieldsOf(facts), administration: true, duration_ms: o.durationMs, outcome: o.outcome });
  }

  #write(fields: object): void {
    this.#destination.write(`${JSON.stringify({ time: new Date().toISOString(), ...fields })}\n`);
  }

  close(): void {
    this.#destination.end();
  }
}

function fieldsOf({ requestId, method, path, remoteAddress }: RequestFacts): object {
  return { request_id: requestId, method, path: path.slice(0, 300), remote_address: remoteAddress };
}
