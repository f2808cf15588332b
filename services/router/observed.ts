import { sequencesOf } from '#core/sequences/sequence-request.ts';
import type { DisaggregationDecision, RouteRequest } from '#gen/stator/router/v1/router_pb.ts';
import type { Held } from './held.ts';
import type { RouterMetrics } from './metrics.ts';
import type { Placed } from './placer.ts';

/** What is measured of a request from its decision to its end. */
export class Observed {
  readonly #metrics: RouterMetrics;

  constructor(metrics: RouterMetrics) {
    this.#metrics = metrics;
  }

  placed({ promptTokens }: RouteRequest, { decision, bestDeviceBlocks, sharedBlocks: inShared }: Placed): void {
    const metrics = this.#metrics;
    const { deviceBlocks, promptBlocks, overlapTokens, sharedBlocks } = decision;
    metrics.inputTokens.observe(promptTokens);
    metrics.reusedTokens.inc(overlapTokens);
    if (promptBlocks > 0) {
      metrics.kvHitRate.observe(deviceBlocks / promptBlocks);
      if (inShared !== null) {
        metrics.sharedHitRate.observe(inShared / promptBlocks);
        metrics.sharedBeyondBlocks.observe(sharedBlocks);
      }
    }
    if (bestDeviceBlocks <= deviceBlocks) return;
    metrics.nonMaxOverlap.inc();
    metrics.overlapBlocksLost.inc(bestDeviceBlocks - deviceBlocks);
  }

  /** Who computes its prompt. */
  split({ policy, remote, reason: because }: DisaggregationDecision): void {
    this.#metrics.disaggregation.inc({ policy, decision: remote ? 'remote' : 'local', because });
  }

  /** Its prompt is computed. Only the first word of it counts. */
  firstToken({ times }: Held, nowMs: number): void {
    if (times === null || times.firstTokenMs !== null) return;
    times.firstTokenMs = nowMs;
    this.#metrics.timeToFirstToken.observe((nowMs - times.arrivedMs) / 1000);
  }

  output(held: Held, nowMs: number): void {
    this.firstToken(held, nowMs);
    if (held.times !== null) held.times.lastOutputMs = nowMs;
  }

  ended({ times, request }: Held, outputTokens: number): void {
    if (outputTokens > 0) this.#metrics.outputTokens.observe(outputTokens);
    if (times === null || times.firstTokenMs === null || times.lastOutputMs === null) return;
    const gaps = outputTokens / sequencesOf(request) - 1;
    if (gaps > 0) this.#metrics.interTokenLatency.observe((times.lastOutputMs - times.firstTokenMs) / 1000 / gaps);
  }
}
