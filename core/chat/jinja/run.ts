import { TemplateError } from '../errors.ts';
import type { Named, Value } from './value.ts';

export interface RunLimits {
  /** Monotonic milliseconds. */
  readonly nowMs: () => number;
  readonly maxMs: number;
  /** Most characters of output. */
  readonly maxOutputLength: number;
}

/** How often the clock is read: a step is at most a filter over the largest list, so the bound on time holds well. */
const stepsPerLook = 256;
const maxCallDepth = 200;

/** One rendering: its clock and its bounds. A template is untrusted, so nothing in it may run or grow without an end. */
export class Run {
  readonly #limits: RunLimits;
  readonly #deadlineMs: number;
  #steps = 0;
  #depth = 0;

  constructor(limits: RunLimits) {
    this.#limits = limits;
    this.#deadlineMs = limits.nowMs() + limits.maxMs;
  }

  /** Called for every statement, iteration and call. */
  step(): void {
    if (++this.#steps % stepsPerLook !== 0) return;
    this.checkTime();
  }

  /** Called around what may take long by itself. */
  checkTime(): void {
    if (this.#limits.nowMs() <= this.#deadlineMs) return;
    throw new TemplateError('limit', `it took longer than ${this.#limits.maxMs} ms`);
  }

  checkOutput(length: number): void {
    if (length <= this.#limits.maxOutputLength) return;
    throw new TemplateError('limit', `it wrote more than ${this.#limits.maxOutputLength} characters`);
  }

  /** Runs a macro or a recursive loop. */
  nested<T>(body: () => T): T {
    this.step();
    if (++this.#depth > maxCallDepth) throw new TemplateError('limit', 'its macros call each other too deeply');
    try {
      return body();
    } finally {
      this.#depth--;
    }
  }
}

/** Names and their values; what is not here is looked up outside. */
export class Scope {
  readonly run: Run;
  readonly #parent: Scope | null;
  readonly #values = new Map<string, Value>();

  constructor(run: Run, parent: Scope | null) {
    this.run = run;
    this.#parent = parent;
  }

  get(name: string): Value {
    let scope: Scope | null = this;
    do {
      const value = scope.#values.get(name);
      if (value !== undefined || scope.#values.has(name)) return value;
      scope = scope.#parent;
    } while (scope !== null);
    return undefined;
  }

  set(name: string, value: Value): void {
    this.#values.set(name, value);
  }

  inner(): Scope {
    return new Scope(this.run, this);
  }
}

/** Where statements write. */
export class Output {
  readonly #run: Run;
  text = '';

  constructor(run: Run) {
    this.#run = run;
  }

  write(text: string): void {
    this.text += text;
    this.#run.checkOutput(this.text.length);
  }
}

export const noNamed: Named = new Map();
