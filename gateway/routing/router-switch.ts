import type { Instance } from '#gen/stator/discovery/v1/discovery_pb.ts';
import type { BusyThresholds, ExplainResponse, RouteDecision, RouteRequest } from '#gen/stator/router/v1/router_pb.ts';
import type { DownReason } from '#lib/discovery/discovery.ts';
import { StatorError } from '#lib/errors/errors.ts';
import { Orphans } from './orphans.ts';
import type { RemoteRouter, Reserved } from './remote-router.ts';
import type { RouterClient, ThresholdsInit } from './router-client.ts';

/**
 * The routers that discovery knows, and what to do without them: the first connected one decides; where none answers,
 * requests are placed locally, so that a lost router never loses a request.
 */
export class RouterSwitch implements RouterClient {
  readonly #open: (instance: Instance) => RemoteRouter;
  readonly #fallback: RouterClient;
  readonly #onFallback: () => void;
  readonly #routers = new Map<bigint, RemoteRouter>();
  readonly #owners = new Map<string, Pick<RouterClient, 'prefillDone' | 'outputBlock' | 'finish'>>();
  readonly #orphans = new Orphans();
  /** Routers that discovery lost while their session lives. */
  readonly #lost = new Set<bigint>();

  constructor(open: (instance: Instance) => RemoteRouter, fallback: RouterClient, onFallback: () => void) {
    this.#open = open;
    this.#fallback = fallback;
    this.#onFallback = onFallback;
  }

  get connected(): boolean {
    for (const router of this.#routers.values()) if (router.connected) return true;
    return false;
  }

  up(instance: Instance): void {
    this.#lost.delete(instance.instanceId);
    if (this.#routers.has(instance.instanceId)) return;
    const router = this.#open(instance);
    this.#routers.set(instance.instanceId, router);
    this.#adopt(router, this.#orphans.take());
    this.#dropLost();
  }

  /**
   * A router that withdrew is let go, and another one, now or later, hears of the reservations it had. One that discovery
   * merely lost stays for as long as its session lives: that is better evidence than a lease.
   */
  down(instance: Instance, reason: DownReason): void {
    this.#lost.add(instance.instanceId);
    if (reason === 'withdrawn') this.#drop(instance.instanceId);
    this.#dropLost();
  }

  async route(request: RouteRequest, signal: AbortSignal): Promise<RouteDecision> {
    this.#dropLost();
    for (const router of this.#routers.values()) {
      if (!router.connected) continue;
      try {
        const decision = await router.route(request, signal);
        this.#owners.set(request.requestId, router);
        return decision;
      } catch (thrown) {
        const error = StatorError.from(thrown);
        if (signal.aborted || error.code !== 'not_ready') throw error;
      }
    }
    const decision = await this.#fallback.route(request, signal);
    this.#onFallback();
    // The next router to connect must know of it: it is load like any other.
    this.#entrust([{ route: request, decision, prefillDone: false, outputTokens: 0 }]);
    return decision;
  }

  async explain(request: RouteRequest, signal: AbortSignal): Promise<ExplainResponse> {
    this.#dropLost();
    for (const router of this.#routers.values()) {
      if (!router.connected) continue;
      try {
        return await router.explain(request, signal);
      } catch (thrown) {
        const error = StatorError.from(thrown);
        if (signal.aborted || error.code !== 'not_ready') throw error;
      }
    }
    return this.#fallback.explain(request, signal);
  }

  /** Every connected router gets new thresholds, because each decides by its own; any one is read. */
  async thresholds(model: string, wanted: ThresholdsInit | null, signal: AbortSignal): Promise<BusyThresholds> {
    this.#dropLost();
    const connected = [...this.#routers.values()].filter((router) => router.connected);
    const asked = wanted === null ? connected.slice(0, 1) : connected;
    const [first] = await Promise.all(asked.map((router) => router.thresholds(model, wanted, signal)));
    return first ?? this.#fallback.thresholds(model, wanted, signal);
  }

  prefillDone(requestId: string): void {
    this.#owners.get(requestId)?.prefillDone(requestId);
  }

  outputBlock(requestId: string, outputTokens: number): void {
    this.#owners.get(requestId)?.outputBlock(requestId, outputTokens);
  }

  finish(requestId: string, outcome: { readonly workerFailed: boolean }): void {
    const owner = this.#owners.get(requestId) ?? this.#fallback;
    this.#owners.delete(requestId);
    owner.finish(requestId, outcome);
  }

  close(): void {
    for (const router of this.#routers.values()) router.close();
    this.#routers.clear();
    this.#fallback.close();
  }

  #dropLost(): void {
    for (const instanceId of this.#lost) if (this.#routers.get(instanceId)?.connected !== true) this.#drop(instanceId);
  }

  #drop(instanceId: bigint): void {
    this.#lost.delete(instanceId);
    const router = this.#routers.get(instanceId);
    if (router === undefined) return;
    this.#routers.delete(instanceId);
    const reservations = router.release();
    router.close();
    this.#entrust(reservations);
  }

  /** Gives reservations to any router, now or later. */
  #entrust(reservations: readonly Reserved[]): void {
    const heir = this.#routers.values().next().value;
    if (heir !== undefined) {
      this.#adopt(heir, reservations);
      return;
    }
    this.#orphans.add(reservations);
    for (const { route } of reservations) this.#owners.set(route.requestId, this.#orphans);
  }

  #adopt(router: RemoteRouter, reservations: readonly Reserved[]): void {
    router.adopt(reservations);
    for (const { route } of reservations) this.#owners.set(route.requestId, router);
  }
}
