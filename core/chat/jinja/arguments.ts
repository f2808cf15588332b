import { fail, type Named, type Value } from './value.ts';

/** Binds arguments to parameter names as Python does; `undefined` for those not given. Throws for unknown or double ones. */
export function bind(
  what: string,
  parameters: readonly string[],
  args: readonly Value[],
  named: Named,
): (Value | undefined)[] {
  if (args.length > parameters.length) throw fail(`${what} takes at most ${parameters.length} arguments`);
  const bound: Value[] = parameters.map((_, i) => args[i]);
  for (const [name, value] of named) {
    const at = parameters.indexOf(name);
    if (at < 0) throw fail(`${what} got an unexpected keyword argument '${name}'`);
    if (at < args.length) throw fail(`${what} got multiple values for argument '${name}'`);
    bound[at] = value;
  }
  return bound;
}

/** A value that was not given takes its default. */
export function or<T extends Value>(value: Value, fallback: T): Value {
  return value === undefined ? fallback : value;
}
