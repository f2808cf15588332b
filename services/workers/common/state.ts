import { clone } from '@bufbuild/protobuf';
import { type Instance, InstanceSchema, InstanceState } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { Registration } from '#lib/discovery/discovery.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { Telemetry } from '#lib/telemetry/telemetry.ts';
import type { WorkerModels } from './models.ts';

/** What of the worker's state others see: its registration, and whether it takes work. */
export class WorkerState {
  readonly #base: Instance;
  readonly #models: WorkerModels;
  readonly #telemetry: Telemetry;
  readonly #setServing: (serving: boolean) => void;
  readonly #flags = { draining: false, asleep: false, unhealthy: false };
  readonly #degraded = new Map<string, string>();
  /** What it does without and must not. */
  readonly #required = new Set<string>();
  #refusing = false;
  #registration: Registration | undefined;
  #publishing: Promise<void> = Promise.resolve();

  constructor(base: Instance, models: WorkerModels, telemetry: Telemetry, setServing: (serving: boolean) => void) {
    this.#base = base;
    this.#models = models;
    this.#telemetry = telemetry;
    this.#setServing = setServing;
  }

  get instanceId(): bigint {
    return this.#base.instanceId;
  }

  get asleep(): boolean {
    return this.#flags.asleep;
  }

  /** The registration as it should be now. */
  instance(): Instance {
    const instance = clone(InstanceSchema, this.#base);
    instance.state = this.#state();
    instance.cards = this.#models.cards();
    instance.degraded = Object.fromEntries(this.#degraded);
    return instance;
  }

  /** From now on the instance is registered, and changes are published. */
  attach(registration: Registration): void {
    this.#registration = registration;
    this.#setServing(this.#state() === InstanceState.READY);
  }

  /** Others learn that the worker drains; until `refuseWork` it still takes what they send before they know. */
  announceDraining(): Promise<void> {
    return this.#set('draining', true);
  }

  refuseWork(): void {
    this.#refusing = true;
  }

  setAsleep(asleep: boolean): Promise<void> {
    return this.#set('asleep', asleep);
  }

  setUnhealthy(unhealthy: boolean): Promise<void> {
    return this.#set('unhealthy', unhealthy);
  }

  /** What the worker does without, and why; null: it has it again. While `isRequired` it counts as unhealthy. */
  setDegraded(part: string, why: string | null, isRequired = false): Promise<void> {
    if (why === (this.#degraded.get(part) ?? null)) return this.#publishing;
    if (why === null) this.#degraded.delete(part);
    else this.#degraded.set(part, why);
    if (why !== null && isRequired) this.#required.add(part);
    else this.#required.delete(part);
    this.#setServing(this.#state() === InstanceState.READY);
    return this.publish();
  }

  /** Brings the registration up to date, one update after the other. */
  publish(): Promise<void> {
    this.#publishing = this.#publishing.then(async () => {
      try {
        await this.#registration?.update(this.instance());
      } catch (thrown) {
        this.#telemetry.log.warn({ err: thrown }, 'the registration could not be updated');
      }
    });
    return this.#publishing;
  }

  async withdraw(): Promise<void> {
    await this.#publishing;
    const registration = this.#registration;
    this.#registration = undefined;
    await registration?.withdraw();
  }

  /** Throws when the worker takes no new work. An unhealthy worker still takes what comes: its canary may be wrong. */
  checkTakesWork(): void {
    if (this.#refusing) throw new StatorError('draining', 'the worker drains and takes no new work');
    if (this.#flags.asleep) throw new StatorError('not_ready', 'the worker sleeps: wake it first');
  }

  /** Resolves when discovery has it, or could not take it (which is logged). */
  #set(flag: 'draining' | 'asleep' | 'unhealthy', value: boolean): Promise<void> {
    if (this.#flags[flag] === value) return this.#publishing;
    this.#flags[flag] = value;
    this.#setServing(this.#state() === InstanceState.READY);
    return this.publish();
  }

  #state(): InstanceState {
    if (this.#flags.draining) return InstanceState.DRAINING;
    if (this.#flags.asleep) return InstanceState.ASLEEP;
    return this.#flags.unhealthy || this.#required.size > 0 ? InstanceState.UNHEALTHY : InstanceState.READY;
  }
}
