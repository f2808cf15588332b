import { z } from 'zod';
import { StatorError } from '#lib/errors/errors.ts';
import { type ReplayReport, replayReport, reportSchemaName } from './report.ts';
import { type SweepReport, sweepReport, sweepSchemaName } from './sweep.ts';

/** The report as text: always the same order of keys and the same form of numbers. */
export function renderReportJson(report: ReplayReport): string {
  return `${JSON.stringify(replayReport.parse(report), null, 2)}\n`;
}

/** What `--report-json` writes: a report, or a sweep with several. */
export type ReplayDocument =
  | { readonly kind: 'report'; readonly report: ReplayReport }
  | { readonly kind: 'sweep'; readonly sweep: SweepReport };

/** A document that was written before. `name` is what errors call it. Throws `invalid_argument`. */
export function parseReplayDocument(text: string, name: string): ReplayDocument {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw StatorError.invalid(name, `${name} is not JSON.`, { cause });
  }
  const schema = typeof value === 'object' && value !== null && 'schema' in value ? value.schema : undefined;
  if (schema === reportSchemaName) return { kind: 'report', report: checked(replayReport, value, name) };
  if (schema === sweepSchemaName) return { kind: 'sweep', sweep: checked(sweepReport, value, name) };
  const known = `${reportSchemaName} or ${sweepSchemaName}`;
  throw StatorError.invalid(name, `${name} is no report of this release: its schema is not ${known}.`);
}

/** The same, where only a report will do. */
export function parseReportJson(text: string, name: string): ReplayReport {
  const document = parseReplayDocument(text, name);
  if (document.kind === 'report') return document.report;
  throw StatorError.invalid(name, `${name} is a sweep, not a report.`);
}

function checked<T>(schema: z.ZodType<T>, value: unknown, name: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw StatorError.invalid(name, `${name}: ${issue?.path.join('.')}: ${issue?.message}`);
}

/** JSON Schema of a report, for docs. */
export function reportSchemaJson(): string {
  return `${JSON.stringify(z.toJSONSchema(replayReport, { io: 'input', reused: 'ref' }), null, 2)}\n`;
}
