import { z } from 'zod';
import { StatorError } from '#lib/errors/errors.ts';
import { type ReplayReport, replayReport, reportSchemaName } from './report.ts';

/** The report as text: always the same order of keys and the same form of numbers. */
export function renderReportJson(report: ReplayReport): string {
  return `${JSON.stringify(replayReport.parse(report), null, 2)}\n`;
}

/** A report that was written before. `name` is what errors call it. Throws `invalid_argument`. */
export function parseReportJson(text: string, name: string): ReplayReport {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw StatorError.invalid(name, `${name} is not JSON.`, { cause });
  }
  const schema = typeof value === 'object' && value !== null && 'schema' in value ? value.schema : undefined;
  if (schema !== reportSchemaName) {
    throw StatorError.invalid(name, `${name} is not a report of this form: its schema is not ${reportSchemaName}.`);
  }
  const parsed = replayReport.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw StatorError.invalid(name, `${name}: ${issue?.path.join('.')}: ${issue?.message}`);
}

/** JSON Schema of a report, for docs. */
export function reportSchemaJson(): string {
  return `${JSON.stringify(z.toJSONSchema(replayReport, { io: 'input', reused: 'ref' }), null, 2)}\n`;
}
