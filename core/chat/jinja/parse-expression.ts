import type { Arguments, Expression } from './ast.ts';
import type { TokenStream } from './token-stream.ts';

/** Jinja's expression grammar, its precedences included: `~` binds tighter than `+`, `**` is left-associative. */
export function parseExpression(stream: TokenStream): Expression {
  return parseCondition(stream);
}

/** A tuple without parentheses, or one expression. */
export function parseTuple(stream: TokenStream, withCondition = true): Expression {
  const parse = withCondition ? parseCondition : parseOr;
  const first = parse(stream);
  if (!stream.is('operator', ',')) return first;
  const items = [first];
  while (stream.skip('operator', ',')) {
    if (endsTuple(stream)) break;
    items.push(parse(stream));
  }
  return { kind: 'tuple', items };
}

function endsTuple(stream: TokenStream): boolean {
  return stream.is('block-end') || stream.is('print-end') || stream.is('operator', ')') || stream.is('name', 'in');
}

const noArguments: Arguments = { positional: [], named: [], spread: null, spreadNamed: null };

function parseCondition(stream: TokenStream): Expression {
  let yes = parseOr(stream);
  while (stream.skip('name', 'if')) {
    const test = parseOr(stream);
    const no = stream.skip('name', 'else') ? parseCondition(stream) : null;
    yes = { kind: 'condition', test, yes, no };
  }
  return yes;
}

function parseOr(stream: TokenStream): Expression {
  let left = parseAnd(stream);
  while (stream.skip('name', 'or')) left = { kind: 'binary', operator: 'or', left, right: parseAnd(stream) };
  return left;
}

function parseAnd(stream: TokenStream): Expression {
  let left = parseNot(stream);
  while (stream.skip('name', 'and')) left = { kind: 'binary', operator: 'and', left, right: parseNot(stream) };
  return left;
}

function parseNot(stream: TokenStream): Expression {
  if (stream.skip('name', 'not')) return { kind: 'not', of: parseNot(stream) };
  return parseCompare(stream);
}

const comparisons = new Set(['==', '!=', '<', '<=', '>', '>=']);

function parseCompare(stream: TokenStream): Expression {
  const first = parseSum(stream);
  const rest: (readonly [string, Expression])[] = [];
  for (;;) {
    const token = stream.peek();
    if (token?.type === 'operator' && comparisons.has(token.value)) {
      stream.next();
      rest.push([token.value, parseSum(stream)]);
    } else if (stream.skip('name', 'in')) rest.push(['in', parseSum(stream)]);
    else if (stream.is('name', 'not') && stream.is('name', 'in', 1)) {
      stream.next();
      stream.next();
      rest.push(['not in', parseSum(stream)]);
    } else break;
  }
  return rest.length === 0 ? first : { kind: 'compare', first, rest };
}

function parseSum(stream: TokenStream): Expression {
  let left = parseConcat(stream);
  while (stream.is('operator', '+') || stream.is('operator', '-')) {
    const operator = stream.next().value;
    left = { kind: 'binary', operator, left, right: parseConcat(stream) };
  }
  return left;
}

function parseConcat(stream: TokenStream): Expression {
  const items = [parseProduct(stream)];
  while (stream.skip('operator', '~')) items.push(parseProduct(stream));
  const [only] = items;
  return items.length === 1 && only !== undefined ? only : { kind: 'concat', items };
}

const products = new Set(['*', '/', '//', '%']);

function parseProduct(stream: TokenStream): Expression {
  let left = parsePower(stream);
  for (;;) {
    const token = stream.peek();
    if (token?.type !== 'operator' || !products.has(token.value)) return left;
    stream.next();
    left = { kind: 'binary', operator: token.value, left, right: parsePower(stream) };
  }
}

function parsePower(stream: TokenStream): Expression {
  let left = parseUnary(stream);
  while (stream.skip('operator', '**')) left = { kind: 'binary', operator: '**', left, right: parseUnary(stream) };
  return left;
}

function parseUnary(stream: TokenStream, withFilters = true): Expression {
  let node: Expression;
  if (stream.skip('operator', '-')) node = { kind: 'negative', of: parseUnary(stream, false) };
  else if (stream.skip('operator', '+')) node = { kind: 'positive', of: parseUnary(stream, false) };
  else node = parsePrimary(stream);
  node = parsePostfix(stream, node);
  return withFilters ? parseFilters(stream, node) : node;
}

const constants: Readonly<Record<string, null | boolean>> = {
  true: true,
  True: true,
  false: false,
  False: false,
  none: null,
  None: null,
};

function parsePrimary(stream: TokenStream): Expression {
  const token = stream.next();
  switch (token.type) {
    case 'name':
      return Object.hasOwn(constants, token.value)
        ? { kind: 'constant', value: constants[token.value] ?? null }
        : { kind: 'name', name: token.value };
    case 'string': {
      let text = token.value;
      while (stream.is('string')) text += stream.next().value;
      return { kind: 'constant', value: text };
    }
    case 'integer':
      return { kind: 'constant', value: integerValue(token.value) };
    case 'float':
      return { kind: 'constant', value: { float: Number(token.value) } };
    case 'operator':
      if (token.value === '(') return parseParentheses(stream);
      if (token.value === '[') return { kind: 'list', items: parseItems(stream, ']') };
      if (token.value === '{') return parseDict(stream);
  }
  throw stream.error(`unexpected '${token.value || token.type}'`);
}

function integerValue(digits: string): number | bigint {
  const value = Number(digits);
  return Number.isSafeInteger(value) ? value : BigInt(digits);
}

function parseParentheses(stream: TokenStream): Expression {
  if (stream.skip('operator', ')')) return { kind: 'tuple', items: [] };
  const inside = parseTuple(stream);
  stream.expect('operator', ')');
  return inside;
}

function parseItems(stream: TokenStream, end: string): Expression[] {
  const items: Expression[] = [];
  while (!stream.skip('operator', end)) {
    if (items.length > 0) {
      stream.expect('operator', ',');
      if (stream.skip('operator', end)) break;
    }
    items.push(parseExpression(stream));
  }
  return items;
}

function parseDict(stream: TokenStream): Expression {
  const entries: (readonly [Expression, Expression])[] = [];
  while (!stream.skip('operator', '}')) {
    if (entries.length > 0) {
      stream.expect('operator', ',');
      if (stream.skip('operator', '}')) break;
    }
    const key = parseExpression(stream);
    stream.expect('operator', ':');
    entries.push([key, parseExpression(stream)]);
  }
  return { kind: 'dict', entries };
}

function parsePostfix(stream: TokenStream, of: Expression): Expression {
  let node = of;
  for (;;) {
    if (stream.skip('operator', '.')) node = parseAttribute(stream, node);
    else if (stream.skip('operator', '[')) node = parseSubscript(stream, node);
    else if (stream.is('operator', '(')) node = { kind: 'call', callee: node, args: parseArguments(stream) };
    else return node;
  }
}

function parseAttribute(stream: TokenStream, of: Expression): Expression {
  if (stream.is('integer')) {
    return { kind: 'item', of, key: { kind: 'constant', value: Number(stream.next().value) } };
  }
  // `a.0.b` reads 0.b as a number only where digits follow the point: those are split again.
  if (stream.is('float')) {
    const [first = '', second = ''] = stream.next().value.split('.');
    const item: Expression = { kind: 'item', of, key: { kind: 'constant', value: Number(first) } };
    return { kind: 'item', of: item, key: { kind: 'constant', value: Number(second) } };
  }
  return { kind: 'attribute', of, name: stream.expect('name').value };
}

function parseSubscript(stream: TokenStream, of: Expression): Expression {
  const parts: (Expression | null)[] = [];
  let isSlice = false;
  let pending: Expression | null = null;
  while (!stream.is('operator', ']')) {
    if (stream.skip('operator', ':')) {
      isSlice = true;
      parts.push(pending);
      pending = null;
    } else {
      if (pending !== null) throw stream.error("expected ']'");
      pending = parseTuple(stream);
    }
  }
  stream.expect('operator', ']');
  if (isSlice) return { kind: 'slice', of, parts: [...parts, pending] };
  if (pending === null) throw stream.error('expected a subscript');
  return { kind: 'item', of, key: pending };
}

function parseArguments(stream: TokenStream): Arguments {
  stream.expect('operator', '(');
  const positional: Expression[] = [];
  const named: (readonly [string, Expression])[] = [];
  let spread: Expression | null = null;
  let spreadNamed: Expression | null = null;
  let first = true;
  while (!stream.skip('operator', ')')) {
    if (!first) {
      stream.expect('operator', ',');
      if (stream.skip('operator', ')')) break;
    }
    first = false;
    if (stream.skip('operator', '**')) spreadNamed = parseExpression(stream);
    else if (stream.skip('operator', '*')) spread = parseExpression(stream);
    else if (stream.is('name') && stream.is('operator', '=', 1)) {
      const name = stream.next().value;
      stream.next();
      named.push([name, parseExpression(stream)]);
    } else if (named.length > 0) throw stream.error('positional argument follows keyword argument');
    else positional.push(parseExpression(stream));
  }
  return { positional, named, spread, spreadNamed };
}

function parseFilters(stream: TokenStream, of: Expression): Expression {
  let node = of;
  for (;;) {
    if (stream.is('operator', '|')) node = parseFilter(stream, node);
    else if (stream.skip('name', 'is')) node = parseTest(stream, node);
    else if (stream.is('operator', '(')) node = { kind: 'call', callee: node, args: parseArguments(stream) };
    else return node;
  }
}

/** A chain of filters; the first has no operand in `{% filter … %}` and `{% set x | … %}`. */
export function parseFilter(stream: TokenStream, of: Expression | null): Expression {
  let node = of;
  do {
    stream.skip('operator', '|');
    const name = dottedName(stream);
    const args = stream.is('operator', '(') ? parseArguments(stream) : noArguments;
    node = { kind: 'filter', name, of: node, args };
  } while (stream.is('operator', '|'));
  return node;
}

function parseTest(stream: TokenStream, of: Expression): Expression {
  const negated = stream.skip('name', 'not');
  const name = dottedName(stream);
  const test: Expression = { kind: 'test', name, of, args: testArguments(stream) };
  return negated ? { kind: 'not', of: test } : test;
}

function testArguments(stream: TokenStream): Arguments {
  if (stream.is('operator', '(')) return parseArguments(stream);
  const token = stream.peek();
  const opens = token?.type === 'operator' && '([{'.includes(token.value);
  const literal =
    token?.type === 'name' || token?.type === 'string' || token?.type === 'integer' || token?.type === 'float';
  if (!opens && !literal) return noArguments;
  if (token.type === 'name' && ['else', 'or', 'and', 'if', 'not', 'in'].includes(token.value)) return noArguments;
  if (token.type === 'name' && token.value === 'is') throw stream.error('tests cannot be chained with is');
  return { ...noArguments, positional: [parsePostfix(stream, parsePrimary(stream))] };
}

function dottedName(stream: TokenStream): string {
  let name = stream.expect('name').value;
  while (stream.skip('operator', '.')) name += `.${stream.expect('name').value}`;
  return name;
}
