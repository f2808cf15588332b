import { EngineService } from '#gen/stator/engine/v1/engine_pb.ts';
import { createRpcClient } from '#lib/rpc/client.ts';
import { quietTelemetry } from '#lib/telemetry/quiet.ts';
import type { Stack } from './stack.ts';

/**
 * Empties the worker's KV cache, so that the next request computes what the one before computed. llama.cpp's logits depend on
 * where cells lie and how a prompt is batched, so that equal requests give equal text only from equal, empty caches.
 */
export async function fresh({ worker }: Stack): Promise<void> {
  const { client, close } = createRpcClient(EngineService, { address: worker }, quietTelemetry());
  try {
    await client.clearCache({});
  } finally {
    close();
  }
}
