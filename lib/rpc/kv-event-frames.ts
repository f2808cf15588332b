import { EngineService, KvEventFrameSchema } from '#gen/stator/engine/v1/engine_pb.ts';

const subscribeKvEvents = { ...EngineService.method.subscribeKvEvents, output: KvEventFrameSchema };

/**
 * EngineService reduced to SubscribeKvEvents, with the events of its answers left encoded. The same RPC on the wire: either
 * side may be generated from EngineService itself.
 */
export const KvEventFrames = { ...EngineService, methods: [subscribeKvEvents], method: { subscribeKvEvents } };
