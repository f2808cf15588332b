import type { z } from 'zod';
import { StatorError } from '#lib/errors/errors.ts';
import { refusedFields } from './schemas/common.ts';

type Issue = z.core.$ZodIssue;

/** A path as the client wrote it: `messages[0].content`. Empty for the whole body. */
export function fieldPath(path: readonly PropertyKey[]): string {
  let out = '';
  for (const part of path) {
    if (typeof part === 'number') out += `[${part}]`;
    else out += out === '' ? String(part) : `.${String(part)}`;
  }
  return out;
}

/** How near an alternative came: by depth, then an unknown key or a bad value before a wrong type, then by position. */
function nearness(issue: Issue): number {
  const [first] = issue.path;
  const position = typeof first === 'number' ? Math.min(first, 1_000_000) / 1_000_001 : 0;
  return issue.path.length * 2 + (issue.code === 'invalid_type' ? 0 : 1) + position;
}

function nearestAlternative(alternatives: readonly (readonly Issue[])[]): Issue | undefined {
  // One whose types all fit is what was meant, however near others came.
  const meant = alternatives.filter(
    (issues) => issues.length > 0 && issues.every(({ code }) => code.startsWith('too_')),
  );
  let best: Issue | undefined;
  for (const [issue] of meant.length > 0 ? meant : alternatives) {
    if (issue !== undefined && (best === undefined || nearness(issue) > nearness(best))) best = issue;
  }
  return best;
}

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'array' : typeof value;
}

/** What the alternatives of a union would have taken, if they differ by type only. */
function expectedTypes(alternatives: readonly (readonly Issue[])[]): string | null {
  const types = new Set<string>();
  for (const [issue] of alternatives) {
    if (issue === undefined || issue.code !== 'invalid_type' || issue.path.length > 0) return null;
    types.add(issue.expected === 'record' ? 'object' : issue.expected);
  }
  return [...types].join(' or ');
}

function valueAt(body: unknown, path: readonly PropertyKey[]): unknown {
  let value = body;
  for (const part of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Record<PropertyKey, unknown>)[part];
  }
  return value;
}

/** Where the value that an issue is about stands, and what is wrong with it. */
function locate(
  issue: Issue,
  base: readonly PropertyKey[],
  body: unknown,
): { issue: Issue; path: PropertyKey[]; message: string } {
  const path = [...base, ...issue.path];
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return { issue, path, message: issue.message };
  const types = expectedTypes(issue.errors);
  if (types !== null) {
    return { issue, path, message: `Invalid input: expected ${types}, received ${kindOf(valueAt(body, path))}` };
  }
  const nearest = nearestAlternative(issue.errors);
  return nearest === undefined ? { issue, path, message: issue.message } : locate(nearest, path, body);
}

function toError(issues: readonly Issue[], body: unknown): StatorError {
  const unknown: string[] = [];
  const located = issues.map((issue) => locate(issue, [], body));
  for (const { issue, path } of located) {
    if (issue.code === 'unrecognized_keys') unknown.push(...issue.keys.map((key) => fieldPath([...path, key])));
  }
  if (unknown.length > 0) {
    const names = unknown.slice(0, 10).map((name) => `\`${name.slice(0, 100)}\``);
    return StatorError.invalid(unknown[0] ?? '', `Unsupported parameter(s): ${names.join(', ')}`);
  }
  const first = located[0];
  if (first === undefined) return StatorError.invalid('', 'Validation: the request is not valid');
  const field = fieldPath(first.path);
  const missing = first.path.length > 0 && valueAt(body, first.path) === undefined;
  const message = missing ? 'is required' : first.message;
  return StatorError.invalid(field, `Validation: \`${field === '' ? 'body' : field}\`: ${message}`);
}

function refuseKnown(body: unknown): void {
  if (typeof body !== 'object' || body === null) return;
  for (const [field, reason] of Object.entries(refusedFields)) {
    const value = (body as Record<string, unknown>)[field];
    if (value !== undefined && value !== null)
      throw StatorError.unsupported(field, `\`${field}\` is not supported: ${reason}`);
  }
}

/** The body without known fields that are not offered and null: they ask for nothing. */
function withoutNulls(body: unknown): unknown {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return body;
  const present = Object.keys(refusedFields).filter((field) => Object.hasOwn(body, field));
  if (present.length === 0) return body;
  const copy: Record<string, unknown> = { ...body };
  for (const field of present) delete copy[field];
  return copy;
}

/**
 * Checks a body against its schema. Errors name the field as the client wrote it: `invalid_argument` for a wrong value or
 * an unknown field, `unsupported` for a field of the public API that this gateway does not offer.
 */
export function validateBody<S extends z.ZodType>(schema: S, body: unknown): z.infer<S> {
  refuseKnown(body);
  const result = schema.safeParse(withoutNulls(body));
  if (result.success) return result.data;
  throw toError(result.error.issues, body);
}
