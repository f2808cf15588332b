import { FRAME_VERSION } from '#lib/rpc/session/version.ts';
import type { ContextOf, EngineServiceImpl } from './handler.ts';

export function getEngineInfo(contextOf: ContextOf): Pick<EngineServiceImpl, 'getEngineInfo'> {
  return { getEngineInfo: async () => ({ instance: contextOf().state.instance(), frameVersion: FRAME_VERSION }) };
}
