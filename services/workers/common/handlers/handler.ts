import type { ServiceImpl } from '@connectrpc/connect';
import type { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { StatorError } from '#lib/errors/errors.ts';
import type { WorkerContext } from '../context.ts';

export type EngineServiceImpl = ServiceImpl<typeof EngineService>;

/** The context exists once the worker serves; RPCs that come before that are told to wait. */
export type ContextOf = () => WorkerContext;

export function unimplemented(rpc: string, model: string): StatorError {
  return new StatorError('unimplemented', `${rpc} is not implemented by the engine of ${model}`);
}
