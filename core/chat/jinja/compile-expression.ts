import { Float } from '../value.ts';
import type { Arguments, Expression } from './ast.ts';
import { filterNamed } from './filters.ts';
import { formatPercent } from './format.ts';
import { attribute, call, item } from './members.ts';
import { add, arithmetic, compare, multiply, negate, numeric, sized, slice } from './operators.ts';
import { str } from './print.ts';
import { noNamed, type Scope } from './run.ts';
import { testNamed } from './tests.ts';
import { fail, isDict, isTrue, iterate, type Key, keyOf, type Named, Tuple, type Value } from './value.ts';

/** A compiled expression. */
export type Evaluate = (scope: Scope) => Value;

/** Turns an expression into a function. Throws TemplateError `syntax` for filters that are unknown. */
export function compileExpression(node: Expression): Evaluate {
  switch (node.kind) {
    case 'constant': {
      const value = typeof node.value === 'object' && node.value !== null ? new Float(node.value.float) : node.value;
      return () => value;
    }
    case 'name': {
      const { name } = node;
      return (scope) => scope.get(name);
    }
    case 'list': {
      const items = node.items.map(compileExpression);
      return (scope) => items.map((evaluate) => evaluate(scope));
    }
    case 'tuple': {
      const items = node.items.map(compileExpression);
      return (scope) => new Tuple(items.map((evaluate) => evaluate(scope)));
    }
    case 'concat': {
      const items = node.items.map(compileExpression);
      return (scope) => sized(items.reduce((text, evaluate) => text + str(evaluate(scope)), ''));
    }
    case 'dict':
      return compileDict(node.entries);
    case 'attribute': {
      const [of, { name }] = [compileExpression(node.of), node];
      return (scope) => attribute(of(scope), name);
    }
    case 'item': {
      const [of, key] = [compileExpression(node.of), compileExpression(node.key)];
      return (scope) => item(of(scope), key(scope));
    }
    case 'slice': {
      const of = compileExpression(node.of);
      const [from, to, step] = node.parts.map((part) => (part === null ? () => null : compileExpression(part)));
      return (scope) => slice(of(scope), from?.(scope), to?.(scope), step?.(scope));
    }
    case 'call':
      return compileCall(node.callee, node.args);
    case 'filter':
      return compileFilter(node.name, node.of, node.args);
    case 'test':
      return compileTest(node.name, node.of, node.args);
    case 'not': {
      const of = compileExpression(node.of);
      return (scope) => !isTrue(of(scope));
    }
    case 'negative': {
      const of = compileExpression(node.of);
      return (scope) => negate(of(scope));
    }
    case 'positive': {
      const of = compileExpression(node.of);
      return (scope) => {
        const value = numeric(of(scope));
        if (value === null) throw fail('bad operand type for unary +');
        return value;
      };
    }
    case 'binary':
      return compileBinary(node.operator, compileExpression(node.left), compileExpression(node.right));
    case 'compare':
      return compileCompare(node.first, node.rest);
    case 'condition': {
      const [test, yes] = [compileExpression(node.test), compileExpression(node.yes)];
      const no = node.no === null ? () => undefined : compileExpression(node.no);
      return (scope) => (isTrue(test(scope)) ? yes(scope) : no(scope));
    }
  }
}

function compileDict(entries: readonly (readonly [Expression, Expression])[]): Evaluate {
  const compiled = entries.map(([key, value]) => [compileExpression(key), compileExpression(value)] as const);
  return (scope) => {
    const map = new Map<Key, Value>();
    for (const [key, value] of compiled) map.set(keyOf(key(scope)), value(scope));
    return map;
  };
}

function compileBinary(operator: string, left: Evaluate, right: Evaluate): Evaluate {
  switch (operator) {
    case 'and':
      return (scope) => {
        const value = left(scope);
        return isTrue(value) ? right(scope) : value;
      };
    case 'or':
      return (scope) => {
        const value = left(scope);
        return isTrue(value) ? value : right(scope);
      };
    case '+':
      return (scope) => add(left(scope), right(scope));
    case '*':
      return (scope) => multiply(left(scope), right(scope));
    case '%':
      return (scope) => {
        const [a, b] = [left(scope), right(scope)];
        return typeof a === 'string' ? sized(formatPercent(a, b)) : arithmetic('%', a, b);
      };
    default:
      return (scope) => arithmetic(operator, left(scope), right(scope));
  }
}

/** `a < b < c` is `a < b and b < c` with b evaluated once. */
function compileCompare(first: Expression, rest: readonly (readonly [string, Expression])[]): Evaluate {
  const start = compileExpression(first);
  const steps = rest.map(([operator, operand]) => [operator, compileExpression(operand)] as const);
  return (scope) => {
    let left = start(scope);
    for (const [operator, operand] of steps) {
      const right = operand(scope);
      if (!compare(operator, left, right)) return false;
      left = right;
    }
    return true;
  };
}

/** Evaluated arguments of a call. */
export interface CallArguments {
  readonly args: readonly Value[];
  readonly named: Named;
}

export function compileArguments(args: Arguments): (scope: Scope) => CallArguments {
  const positional = args.positional.map(compileExpression);
  const named = args.named.map(([name, value]) => [name, compileExpression(value)] as const);
  const spread = args.spread === null ? null : compileExpression(args.spread);
  const spreadNamed = args.spreadNamed === null ? null : compileExpression(args.spreadNamed);
  return (scope) => {
    const values = positional.map((evaluate) => evaluate(scope));
    if (spread !== null) values.push(...iterate(spread(scope)));
    if (named.length === 0 && spreadNamed === null) return { args: values, named: noNamed };
    const byName = new Map(named.map(([name, evaluate]) => [name, evaluate(scope)]));
    if (spreadNamed !== null) addNamed(byName, spreadNamed(scope));
    return { args: values, named: byName };
  };
}

function addNamed(named: Map<string, Value>, more: Value): void {
  if (!isDict(more)) throw fail('an argument after ** must be a mapping');
  for (const [key, value] of more) {
    const name = String(key);
    if (named.has(name)) throw fail(`got multiple values for keyword argument '${name}'`);
    named.set(name, value);
  }
}

function compileCall(callee: Expression, args: Arguments): Evaluate {
  const [of, evaluate] = [compileExpression(callee), compileArguments(args)];
  return (scope) => {
    const target = of(scope);
    const given = evaluate(scope);
    scope.run.step();
    return call(target, given.args, given.named);
  };
}

/** A filter on a value; without an operand it works on what it is given, for filter blocks. */
function compileFilter(name: string, operand: Expression | null, args: Arguments): Evaluate {
  if (operand === null) throw fail('a filter needs an operand');
  const of = compileExpression(operand);
  const apply = compileFilterCall(name, args);
  return (scope) => apply(scope, of(scope));
}

function compileFilterCall(name: string, args: Arguments): (scope: Scope, value: Value) => Value {
  const [filter, evaluate] = [filterNamed(name), compileArguments(args)];
  return (scope, value) => {
    const given = evaluate(scope);
    scope.run.step();
    return filter(value, given.args, given.named);
  };
}

/** The chain of filters of `{% filter … %}` and `{% set x | … %}`. */
export function compileFilterChain(node: Expression): (scope: Scope, value: Value) => Value {
  if (node.kind !== 'filter') throw fail('expected a filter');
  const apply = compileFilterCall(node.name, node.args);
  if (node.of === null) return apply;
  const before = compileFilterChain(node.of);
  return (scope, value) => apply(scope, before(scope, value));
}

function compileTest(name: string, operand: Expression, args: Arguments): Evaluate {
  const [test, of, evaluate] = [testNamed(name), compileExpression(operand), compileArguments(args)];
  return (scope) => test(of(scope), evaluate(scope).args);
}
