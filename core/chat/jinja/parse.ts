import { TemplateError } from '../errors.ts';
import type { Block, Expression, Parameter, Statement, Target } from './ast.ts';
import { tokenize } from './lexer.ts';
import { parseExpression, parseFilter, parseTuple } from './parse-expression.ts';
import { TokenStream } from './token-stream.ts';

/** Reads a template. Throws TemplateError `syntax`. */
export function parseTemplate(source: string): Block {
  const stream = new TokenStream(tokenize(source));
  try {
    const body = parseBlock(stream, []);
    if (!stream.ended) throw stream.error(`unexpected tag '${stream.peek(1)?.value ?? ''}'`);
    return body;
  } catch (error) {
    if (error instanceof RangeError) throw new TemplateError('syntax', 'expressions are nested too deeply', error);
    throw error;
  }
}

/** Statements up to a tag whose name is one of `ends`, which is left unread. */
function parseBlock(stream: TokenStream, ends: readonly string[]): Statement[] {
  const body: Statement[] = [];
  while (!stream.ended) {
    const token = stream.next();
    if (token.type === 'text') body.push({ kind: 'text', text: token.value });
    else if (token.type === 'print-begin') {
      body.push({ kind: 'print', value: parseTuple(stream) });
      stream.expect('print-end');
    } else {
      const tag = stream.peek();
      if (tag?.type === 'name' && ends.includes(tag.value)) return body;
      body.push(parseStatement(stream));
    }
  }
  if (ends.length > 0) throw stream.error(`unexpected end of template: expected ${ends.join(' or ')}`);
  return body;
}

/** Ends a tag, reads its body and the tag that closes it. */
function parseBody(stream: TokenStream, end: string): Block {
  stream.expect('block-end');
  const body = parseBlock(stream, [end]);
  stream.expect('name', end);
  stream.expect('block-end');
  return body;
}

function parseStatement(stream: TokenStream): Statement {
  const name = stream.expect('name').value;
  switch (name) {
    case 'for':
      return parseFor(stream);
    case 'if':
      return parseIf(stream);
    case 'set':
      return parseSet(stream);
    case 'macro':
      return parseMacro(stream);
    case 'call':
      return parseCall(stream);
    case 'filter': {
      const filter = parseFilter(stream, null);
      return { kind: 'filter-block', filter, body: parseBody(stream, 'endfilter') };
    }
    case 'with':
      return parseWith(stream);
    // Marks the assistant's text for training; it prints what is inside.
    case 'generation':
      return { kind: 'block', body: parseBody(stream, 'endgeneration') };
    case 'break':
    case 'continue':
      stream.expect('block-end');
      return { kind: name };
    default:
      throw stream.error(`unknown tag '${name}'`);
  }
}

function parseFor(stream: TokenStream): Statement {
  const target = parseTarget(stream, false);
  stream.expect('name', 'in');
  const iterable = parseTuple(stream, false);
  const test = stream.skip('name', 'if') ? parseExpression(stream) : null;
  const recursive = stream.skip('name', 'recursive');
  stream.expect('block-end');
  const body = parseBlock(stream, ['endfor', 'else']);
  const otherwise = stream.next().value === 'else' ? parseBody(stream, 'endfor') : endTag(stream);
  return { kind: 'for', target, iterable, test, recursive, body, otherwise };
}

function parseIf(stream: TokenStream): Statement {
  const branches: [Expression, Block][] = [];
  for (;;) {
    const test = parseTuple(stream, false);
    stream.expect('block-end');
    branches.push([test, parseBlock(stream, ['elif', 'else', 'endif'])]);
    const tag = stream.next().value;
    if (tag === 'elif') continue;
    return { kind: 'if', branches, otherwise: tag === 'else' ? parseBody(stream, 'endif') : endTag(stream) };
  }
}

function endTag(stream: TokenStream): Block {
  stream.expect('block-end');
  return [];
}

function parseSet(stream: TokenStream): Statement {
  const target = parseTarget(stream, true);
  if (stream.skip('operator', '=')) {
    const value = parseTuple(stream);
    stream.expect('block-end');
    return { kind: 'set', target, value };
  }
  const filter = stream.is('operator', '|') ? parseFilter(stream, null) : null;
  return { kind: 'set-block', target, filter, body: parseBody(stream, 'endset') };
}

function parseMacro(stream: TokenStream): Statement {
  const name = stream.expect('name').value;
  const parameters = parseParameters(stream);
  return { kind: 'macro', name, parameters, body: parseBody(stream, 'endmacro') };
}

function parseCall(stream: TokenStream): Statement {
  const parameters = stream.is('operator', '(') ? parseParameters(stream) : [];
  const call = parseExpression(stream);
  if (call.kind !== 'call') throw stream.error('expected a call');
  return { kind: 'call-block', call, parameters, body: parseBody(stream, 'endcall') };
}

function parseParameters(stream: TokenStream): Parameter[] {
  stream.expect('operator', '(');
  const parameters: Parameter[] = [];
  while (!stream.skip('operator', ')')) {
    if (parameters.length > 0) stream.expect('operator', ',');
    const name = stream.expect('name').value;
    const value = stream.skip('operator', '=') ? parseExpression(stream) : null;
    if (value === null && parameters.at(-1)?.default)
      throw stream.error('non-default argument follows default argument');
    parameters.push({ name, default: value });
  }
  return parameters;
}

function parseWith(stream: TokenStream): Statement {
  const values: [Target, Expression][] = [];
  while (!stream.is('block-end')) {
    if (values.length > 0) stream.expect('operator', ',');
    const target = parseTarget(stream, false);
    stream.expect('operator', '=');
    values.push([target, parseExpression(stream)]);
  }
  return { kind: 'with', values, body: parseBody(stream, 'endwith') };
}

function parseTarget(stream: TokenStream, withNamespace: boolean): Target {
  const first = parseSingleTarget(stream, withNamespace);
  if (!stream.is('operator', ',') || !targetFollows(stream)) return first;
  const items = [first];
  while (targetFollows(stream) && stream.skip('operator', ',')) items.push(parseSingleTarget(stream, withNamespace));
  return { kind: 'tuple', items };
}

/** In `with a = 1, b = 2` a comma begins the next value, not a tuple. */
function targetFollows(stream: TokenStream): boolean {
  return stream.is('operator', ',') && (stream.is('name', undefined, 1) || stream.is('operator', '(', 1));
}

function parseSingleTarget(stream: TokenStream, withNamespace: boolean): Target {
  if (stream.skip('operator', '(')) {
    const inside = parseTarget(stream, withNamespace);
    stream.skip('operator', ',');
    stream.expect('operator', ')');
    return inside;
  }
  const name = stream.expect('name').value;
  if (withNamespace && stream.skip('operator', '.')) {
    return { kind: 'attribute', of: name, name: stream.expect('name').value };
  }
  if (['true', 'false', 'none', 'True', 'False', 'None'].includes(name))
    throw stream.error(`cannot assign to '${name}'`);
  return { kind: 'name', name };
}
