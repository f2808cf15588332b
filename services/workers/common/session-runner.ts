import type { GenerateRequest } from '#gen/stator/engine/v1/generate_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { SequenceRunner, SessionSequence } from '#lib/rpc/session/server.ts';
import type { Drainer } from './drain.ts';
import type { EngineHost } from './host.ts';
import type { WorkerModels } from './models.ts';
import type { RunningSequence } from './sequence.ts';
import type { WorkerState } from './state.ts';

/** Runs the sequences of gateway sessions on the worker's engines. */
export class SessionRunner implements SequenceRunner {
  readonly #models: WorkerModels;
  readonly #state: WorkerState;
  readonly #drainer: Drainer;
  readonly #running = new WeakMap<SessionSequence, { readonly host: EngineHost; readonly sequence: RunningSequence }>();

  constructor(parts: { readonly models: WorkerModels; readonly state: WorkerState; readonly drainer: Drainer }) {
    this.#models = parts.models;
    this.#state = parts.state;
    this.#drainer = parts.drainer;
  }

  submit(slot: SessionSequence, request: GenerateRequest): void {
    this.#state.checkTakesWork();
    if (request.tokenIds.length === 0 && request.prompt !== '')
      throw StatorError.invalid('prompt', 'a session carries token ids: send token_ids instead of prompt');
    const host = this.#models.resolve(request);
    this.#running.set(slot, { host, sequence: host.submit(request, slot) });
  }

  cancel(slot: SessionSequence): void {
    const running = this.#running.get(slot);
    // The session cancels by itself when a drain's grace is over; another worker may then continue.
    running?.host.cancel(running.sequence, this.#drainer.cause);
  }
}
