import type { RequestRecord } from '../../telemetry/request-record.ts';

/** Tells the record what a body asks for before it is validated, so that refusals carry it too. */
export function noteModel(record: RequestRecord, body: unknown): void {
  const fields = typeof body === 'object' && body !== null ? (body as Record<string, unknown>) : {};
  const { model, stream } = fields;
  record.identified(typeof model === 'string' ? model : '', stream === true ? 'stream' : 'unary');
}
