import { StatorError } from '#lib/errors/errors.ts';

/** A signal that follows others and a timer, and lets go of both when disposed: parents may live for the whole process. */
export class Deadline implements Disposable {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #undo: (() => void)[] = [];

  constructor(what: string, timeoutMs: number, parents: readonly (AbortSignal | undefined)[]) {
    const late = () => new StatorError('deadline_exceeded', `${what} took longer than ${Math.round(timeoutMs)} ms`);
    this.#timer = setTimeout(() => this.#controller.abort(late()), timeoutMs);
    for (const parent of parents) if (parent !== undefined) this.#follow(parent);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    for (const undo of this.#undo) undo();
  }

  #follow(parent: AbortSignal): void {
    const abort = () => this.#controller.abort(asError(parent.reason));
    if (parent.aborted) abort();
    parent.addEventListener('abort', abort, { once: true });
    this.#undo.push(() => parent.removeEventListener('abort', abort));
  }
}

function asError(reason: unknown): StatorError {
  if (reason instanceof StatorError) return reason;
  return new StatorError('cancelled', 'object store request was cancelled', { cause: reason });
}
