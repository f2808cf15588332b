import type { ContextOf, EngineServiceImpl } from './handler.ts';

export function session(contextOf: ContextOf): Pick<EngineServiceImpl, 'session'> {
  return { session: (requests, call) => contextOf().sessions.handle(requests, call) };
}
