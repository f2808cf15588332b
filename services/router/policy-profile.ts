import { readFileSync, statSync } from 'node:fs';
import { type Document, isNode, LineCounter, parseDocument } from 'yaml';
import { type PolicyConfig, parsePolicyConfig } from '#core/scheduling/admission/parse-profile.ts';
import { type DocumentPath, PolicyProfileError } from '#core/scheduling/admission/profile-node.ts';
import { closest } from '#lib/config/nearest.ts';
import { StatorError } from '#lib/errors/errors.ts';

/** Far above any sensible policy file. */
const maxBytes = 1 << 20;

/** Reads and checks a policy file. Throws `invalid_argument` with the file, the line and the field at fault. */
export function loadPolicyConfig(path: string): PolicyConfig {
  const lines = new LineCounter();
  const document = parseDocument(readOrThrow(path), { lineCounter: lines });
  const syntax = document.errors[0];
  if (syntax !== undefined) throw StatorError.invalid(path, `${path}: ${syntax.message}`);
  try {
    return parsePolicyConfig(document.toJS(), closest);
  } catch (error) {
    // toJS refuses aliases that grow without bound.
    if (!(error instanceof PolicyProfileError)) throw StatorError.invalid(path, `${path}: ${reasonOf(error)}.`);
    const line = lineOf(document, error.path, lines);
    throw StatorError.invalid(error.where, `${path}:${line}: ${error.message}`, { cause: error });
  }
}

/** Line of the longest part of the path that the file has: a missing key has none of its own. */
function lineOf(document: Document.Parsed, path: DocumentPath, lines: LineCounter): number {
  for (let depth = path.length; depth > 0; depth--) {
    const node = document.getIn(path.slice(0, depth), true);
    if (isNode(node) && node.range) return lines.linePos(node.range[0]).line;
  }
  return 1;
}

function readOrThrow(path: string): string {
  try {
    const { size } = statSync(path);
    if (size <= maxBytes) return readFileSync(path, 'utf8');
    throw new Error(`it has ${size} bytes, more than ${maxBytes}`);
  } catch (cause) {
    throw StatorError.invalid(path, `The policy file ${path} cannot be read: ${reasonOf(cause)}.`, { cause });
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
