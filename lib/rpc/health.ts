import type { DescService } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { type Health, HealthCheckResponse_ServingStatus as Status } from '#gen/health/v1/health_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';

/** grpc.health.v1 of a server: one state for all of its services. */
export class HealthState {
  readonly #services: ReadonlySet<string>;
  readonly #watchers = new Set<() => void>();
  #serving = true;
  #stopped = false;

  constructor(services: readonly DescService[]) {
    this.#services = new Set(['', ...services.map((service) => service.typeName)]);
  }

  get serving(): boolean {
    return this.#serving;
  }

  setServing(serving: boolean): void {
    this.#serving = serving;
    this.#wakeWatchers();
  }

  /** Not serving, and watchers are let go. */
  stop(): void {
    this.#stopped = true;
    this.setServing(false);
  }

  readonly implementation: ServiceImpl<typeof Health> = {
    check: ({ service }) => {
      if (!this.#services.has(service))
        throw StatorError.notFound(`service ${JSON.stringify(service)} is not served here`);
      return { status: this.#status() };
    },
    list: () => ({
      statuses: Object.fromEntries([...this.#services].map((service) => [service, { status: this.#status() }])),
    }),
    watch: ({ service }, { signal }) => this.#watch(service, signal),
  };

  async *#watch(service: string, signal: AbortSignal): AsyncGenerator<{ status: Status }> {
    const known = this.#services.has(service);
    let told: Status | undefined;
    while (!signal.aborted) {
      const status = known ? this.#status() : Status.SERVICE_UNKNOWN;
      if (status !== told) yield { status };
      told = status;
      if (this.#stopped) return;
      if (!known || status === this.#status()) await this.#changed(signal);
    }
  }

  async #changed(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const wake = (): void => resolve();
    this.#watchers.add(wake);
    signal.addEventListener('abort', wake, { once: true });
    await promise;
    signal.removeEventListener('abort', wake);
    this.#watchers.delete(wake);
  }

  #wakeWatchers(): void {
    for (const wake of this.#watchers) wake();
  }

  #status(): Status {
    return this.#serving ? Status.SERVING : Status.NOT_SERVING;
  }
}
