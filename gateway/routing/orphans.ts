import type { Reserved } from './remote-router.ts';
import type { RouterClient } from './router-client.ts';

/** Reservations whose router is gone while no other is known: kept up to date until one adopts them. */
export class Orphans implements Pick<RouterClient, 'prefillDone' | 'outputBlock' | 'finish'> {
  readonly #reserved = new Map<string, Reserved>();

  add(reservations: Iterable<Reserved>): void {
    for (const reserved of reservations) this.#reserved.set(reserved.route.requestId, reserved);
  }

  /** Gives them all up. */
  take(): Reserved[] {
    const reservations = [...this.#reserved.values()];
    this.#reserved.clear();
    return reservations;
  }

  prefillDone(requestId: string): void {
    const reserved = this.#reserved.get(requestId);
    if (reserved !== undefined) reserved.prefillDone = true;
  }

  outputBlock(requestId: string, outputTokens: number): void {
    const reserved = this.#reserved.get(requestId);
    if (reserved !== undefined) reserved.outputTokens = outputTokens;
  }

  finish(requestId: string): void {
    this.#reserved.delete(requestId);
  }
}
