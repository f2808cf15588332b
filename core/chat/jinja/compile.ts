import type { Block, Expression, Parameter, Statement, Target } from './ast.ts';
import { compileArguments, compileExpression, compileFilterChain, type Evaluate } from './compile-expression.ts';
import { LoopMemory, loopObject } from './loop.ts';
import { call } from './members.ts';
import { str } from './print.ts';
import { Output, type Scope } from './run.ts';
import { Callable, fail, isTrue, iterate, type Named, Namespace, Tuple, type Value } from './value.ts';

/** How a statement ended: on, or out of the innermost loop. */
type Flow = 'next' | 'break' | 'continue';

export type Execute = (scope: Scope, output: Output) => Flow;

/** Turns statements into one function. */
export function compileBlock(block: Block): Execute {
  const statements = block.map(compileStatement);
  return (scope, output) => {
    for (const execute of statements) {
      scope.run.step();
      const flow = execute(scope, output);
      if (flow !== 'next') return flow;
    }
    return 'next';
  };
}

function compileStatement(node: Statement): Execute {
  switch (node.kind) {
    case 'text':
      return writing(() => node.text);
    case 'print': {
      const value = compileExpression(node.value);
      return writing((scope) => str(value(scope)));
    }
    case 'if':
      return compileIf(node.branches, node.otherwise);
    case 'for':
      return compileFor(node);
    case 'set': {
      const [assign, value] = [compileTarget(node.target), compileExpression(node.value)];
      return doing((scope) => assign(scope, value(scope)));
    }
    case 'set-block': {
      const [assign, body] = [compileTarget(node.target), compileText(node.body)];
      const filter = node.filter === null ? null : compileFilterChain(node.filter);
      return doing((scope) => {
        const text = body(scope.inner());
        assign(scope, filter === null ? text : filter(scope, text));
      });
    }
    case 'macro': {
      const macro = compileMacro(node.name, node.parameters, node.body);
      return doing((scope) => scope.set(node.name, macro(scope)));
    }
    case 'call-block':
      return compileCallBlock(node.call, node.parameters, node.body);
    case 'filter-block': {
      const [body, filter] = [compileText(node.body), compileFilterChain(node.filter)];
      return writing((scope) => str(filter(scope, body(scope.inner()))));
    }
    case 'with':
      return compileWith(node.values, node.body);
    case 'block':
      return compileBlock(node.body);
    case 'break':
    case 'continue':
      return () => node.kind;
  }
}

function writing(text: (scope: Scope) => string): Execute {
  return (scope, output) => {
    output.write(text(scope));
    return 'next';
  };
}

function doing(run: (scope: Scope) => void): Execute {
  return (scope) => {
    run(scope);
    return 'next';
  };
}

/** Statements whose output becomes a value. */
function compileText(block: Block): (scope: Scope) => string {
  const body = compileBlock(block);
  return (scope) => {
    const output = new Output(scope.run);
    body(scope, output);
    return output.text;
  };
}

function compileIf(branches: readonly (readonly [Expression, Block])[], otherwise: Block): Execute {
  const compiled = branches.map(([test, body]) => [compileExpression(test), compileBlock(body)] as const);
  const rest = compileBlock(otherwise);
  return (scope, output) => {
    for (const [test, body] of compiled) if (isTrue(test(scope))) return body(scope, output);
    return rest(scope, output);
  };
}

function compileFor(node: Extract<Statement, { kind: 'for' }>): Execute {
  const iterable = compileExpression(node.iterable);
  const test = node.test === null ? null : compileExpression(node.test);
  const [assign, body, otherwise] = [compileTarget(node.target), compileBlock(node.body), compileBlock(node.otherwise)];
  const loop = (scope: Scope, output: Output, values: Value, depth: number): void => {
    const items = test === null ? iterate(values) : filtered(scope, iterate(values), assign, test);
    const memory = new LoopMemory();
    const again = node.recursive
      ? (more: Value) => nestedText(scope, (inner) => loop(scope, inner, more, depth + 1))
      : null;
    let completed = false;
    for (const [i, value] of items.entries()) {
      scope.run.step();
      const inner = scope.inner();
      inner.set('loop', loopObject(items, i, depth, memory, again));
      assign(inner, value);
      const flow = body(inner, output);
      if (flow === 'break') break;
      // As in Jinja, an iteration that ends by continue or break does not keep `else` away.
      if (flow === 'next') completed = true;
    }
    if (!completed) otherwise(scope.inner(), output);
  };
  return (scope, output) => {
    loop(scope, output, iterable(scope), 0);
    return 'next';
  };
}

function nestedText(scope: Scope, write: (output: Output) => void): string {
  const output = new Output(scope.run);
  scope.run.nested(() => write(output));
  return output.text;
}

type Assign = (scope: Scope, value: Value) => void;

function filtered(scope: Scope, items: readonly Value[], assign: Assign, test: Evaluate): readonly Value[] {
  return items.filter((value) => {
    scope.run.step();
    const inner = scope.inner();
    assign(inner, value);
    return isTrue(test(inner));
  });
}

function compileTarget(target: Target): Assign {
  switch (target.kind) {
    case 'name':
      return (scope, value) => scope.set(target.name, value);
    case 'attribute':
      return (scope, value) => {
        const namespace = scope.get(target.of);
        if (!(namespace instanceof Namespace)) throw fail('cannot assign attribute on non-namespace object');
        namespace.values.set(target.name, value);
      };
    case 'tuple': {
      const items = target.items.map(compileTarget);
      return (scope, value) => {
        const values = iterate(value);
        if (values.length !== items.length) {
          throw fail(`expected ${items.length} values to unpack, got ${values.length}`);
        }
        for (const [i, assign] of items.entries()) assign(scope, values[i]);
      };
    }
  }
}

/** A macro as a function of the scope that defines it. */
function compileMacro(name: string, parameters: readonly Parameter[], block: Block): (scope: Scope) => Callable {
  const body = compileText(block);
  const defaults = parameters.map((parameter) =>
    parameter.default === null ? null : compileExpression(parameter.default),
  );
  const uses = (special: string): boolean => JSON.stringify(block, writeBigint).includes(`"name":"${special}"`);
  const [takesMore, takesNamed, takesCaller] = [uses('varargs'), uses('kwargs'), uses('caller')];
  const names = parameters.map((parameter) => parameter.name);
  const attributes = new Map<string, Value>([
    ['name', name],
    ['arguments', new Tuple(names)],
  ]);
  return (scope) =>
    new Callable((args, named) => {
      const inner = scope.inner();
      if (args.length > names.length && !takesMore)
        throw fail(`macro '${name}' takes not more than ${names.length} argument(s)`);
      const rest = new Map(named);
      for (const parameter of names) inner.set(parameter, undefined);
      for (const [i, parameter] of names.entries()) {
        const given = i < args.length ? args[i] : rest.get(parameter);
        if (i >= args.length) rest.delete(parameter);
        inner.set(parameter, given === undefined ? defaults[i]?.(inner) : given);
      }
      bindSpecial(inner, rest, args.slice(names.length), { name, takesMore, takesNamed, takesCaller });
      return scope.run.nested(() => body(inner));
    }, attributes);
}

function writeBigint(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value;
}

interface MacroTakes {
  readonly name: string;
  readonly takesMore: boolean;
  readonly takesNamed: boolean;
  readonly takesCaller: boolean;
}

function bindSpecial(scope: Scope, rest: Map<string, Value>, more: readonly Value[], takes: MacroTakes): void {
  if (takes.takesCaller) {
    scope.set('caller', rest.get('caller'));
    rest.delete('caller');
  }
  if (takes.takesMore) scope.set('varargs', new Tuple(more));
  if (takes.takesNamed) scope.set('kwargs', rest);
  else if (rest.size > 0) throw fail(`macro '${takes.name}' takes no keyword argument '${[...rest.keys()][0]}'`);
}

function compileCallBlock(node: Expression, parameters: readonly Parameter[], block: Block): Execute {
  if (node.kind !== 'call') throw fail('expected a call');
  const [callee, evaluate] = [compileExpression(node.callee), compileArguments(node.args)];
  const caller = compileMacro('caller', parameters, block);
  return writing((scope) => {
    const { args, named } = evaluate(scope);
    const withCaller: Named = new Map([...named, ['caller', caller(scope)]]);
    return str(call(callee(scope), args, withCaller));
  });
}

function compileWith(values: readonly (readonly [Target, Expression])[], block: Block): Execute {
  const compiled = values.map(([target, value]) => [compileTarget(target), compileExpression(value)] as const);
  const body = compileBlock(block);
  return (scope, output) => {
    const inner = scope.inner();
    const evaluated = compiled.map(([assign, value]) => [assign, value(scope)] as const);
    for (const [assign, value] of evaluated) assign(inner, value);
    return body(inner, output);
  };
}
