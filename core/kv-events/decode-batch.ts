import { decodeEvent } from './decode-event.ts';
import type { EngineEvent, EngineEventBatch } from './engine-event.ts';
import { MsgpackError, MsgpackReader } from './msgpack-reader.ts';

/**
 * Decodes one message of the KV event stream that vLLM, SGLang and TensorRT-LLM publish: MessagePack of
 * [timestamp, events, rank or nil], or the same as a map. An event that cannot be understood is left out and named; the
 * ones around it are kept. Throws MsgpackError when the batch itself cannot be read.
 */
export function decodeEventBatch(payload: Uint8Array): EngineEventBatch {
  const reader = new MsgpackReader(payload);
  return reader.kind() === 'map' ? decodeMap(reader) : decodeArray(reader);
}

/** Timestamp of a batch without decoding the rest; null when it does not begin like a batch. */
export function batchTime(payload: Uint8Array): number | null {
  try {
    const reader = new MsgpackReader(payload);
    if (reader.kind() === 'map') {
      reader.map();
      if (reader.string() !== 'ts') return null;
    } else {
      reader.array();
    }
    return reader.number();
  } catch (error) {
    if (error instanceof MsgpackError) return null;
    throw error;
  }
}

function decodeArray(reader: MsgpackReader): EngineEventBatch {
  const length = reader.array();
  if (length < 2) throw new MsgpackError(`a batch of ${length} elements, not [timestamp, events, rank]`);
  const timestamp = reader.number();
  const decoded = decodeEvents(reader);
  const dataParallelRank = length > 2 ? rankOf(reader) : null;
  for (let i = 3; i < length; i++) reader.skip();
  return { timestamp, dataParallelRank, ...decoded };
}

function decodeMap(reader: MsgpackReader): EngineEventBatch {
  let timestamp = 0;
  let dataParallelRank: number | null = null;
  let decoded: Pick<EngineEventBatch, 'events' | 'malformed'> | null = null;
  for (let left = reader.map(); left > 0; left--) {
    const key = reader.string();
    if (key === 'ts') timestamp = reader.number();
    else if (key === 'events') decoded = decodeEvents(reader);
    else if (key === 'data_parallel_rank' || key === 'dp_rank') dataParallelRank = rankOf(reader);
    else reader.skip();
  }
  if (decoded === null) throw new MsgpackError('a batch without events');
  return { timestamp, dataParallelRank, ...decoded };
}

function rankOf(reader: MsgpackReader): number | null {
  return reader.nil() ? null : reader.uint32();
}

function decodeEvents(reader: MsgpackReader): Pick<EngineEventBatch, 'events' | 'malformed'> {
  const events: EngineEvent[] = [];
  const malformed: string[] = [];
  for (let left = reader.array(); left > 0; left--) {
    const start = reader.position;
    try {
      events.push(decodeEvent(reader));
    } catch (error) {
      if (!(error instanceof MsgpackError)) throw error;
      malformed.push(error.message);
      reader.seek(start);
      reader.skip();
    }
  }
  return { events, malformed };
}
