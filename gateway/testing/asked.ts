import type { RouteRequest } from '#gen/stator/router/v1/router_pb.ts';
import type { ErrorBody } from './answers.ts';
import { startHarness } from './harness.ts';
import { ScriptedRouter } from './scripted-router.ts';
import { answering, ScriptedWorker } from './scripted-worker.ts';

export type RequestHeaders = Record<string, string> | [string, string][];

/** What the router and the engine were asked for a chat with these headers and changes. */
export async function asked(change: object = {}, headers: RequestHeaders = {}) {
  const router = new ScriptedRouter([{ instanceId: 1n }]);
  await using gateway = await startHarness({}, router);
  const worker = new ScriptedWorker(answering('ok'));
  gateway.addWorker(1n, worker);
  const body = { model: 'test-alias', messages: [{ role: 'user', content: 'Hi' }], ...change };
  const all = new Headers(headers);
  all.set('content-type', 'application/json');
  const response = await gateway.post('/v1/chat/completions', body, { headers: all });
  const text = await response.text();
  if (response.status !== 200) {
    const { error } = JSON.parse(text) as ErrorBody;
    return { status: response.status, error };
  }
  const { request } = await worker.sequence(0);
  return { status: 200, route: routeOf(router), engine: request };
}

export function routeOf(router: ScriptedRouter): RouteRequest {
  const [route] = router.routed;
  if (route === undefined) throw new Error('the router was not asked');
  return route;
}

export async function routed(change: object = {}, headers: RequestHeaders = {}): Promise<RouteRequest> {
  const { route, error } = await asked(change, headers);
  if (route === undefined) throw new Error(`refused: ${error?.message}`);
  return route;
}
