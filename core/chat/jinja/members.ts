import { Float } from '../value.ts';
import { equal } from './operators.ts';
import { stringMethods } from './string-methods.ts';
import {
  Callable,
  fail,
  index,
  isDict,
  isInteger,
  isList,
  type Key,
  keyOf,
  Lazy,
  type Named,
  Namespace,
  Range,
  Tuple,
  typeName,
  type Value,
} from './value.ts';

/** `value.name`: a method or attribute, else the item of that name. */
export function attribute(value: Value, name: string): Value {
  if (value === undefined) throw fail(`the template reads '${name}' of something undefined`);
  const method = methodOf(value, name);
  if (method !== undefined) return method;
  if (isDict(value)) return value.get(name);
  if (value instanceof Namespace) return value.values.get(name);
  return value instanceof Callable ? value.attributes.get(name) : undefined;
}

/** `value[key]`: an item, else for text the attribute of that name. */
export function item(value: Value, key: Value): Value {
  if (value === undefined) throw fail(`the template reads ${JSON.stringify(key) ?? 'an item'} of something undefined`);
  if (isDict(value)) {
    const plain = plainKey(key);
    if (plain !== undefined && value.has(plain)) return value.get(plain);
  } else if (isInteger(key) || typeof key === 'boolean') return itemAt(value, index(key, 'index'));
  return typeof key === 'string' ? attribute(value, key) : undefined;
}

function plainKey(key: Value): Key | undefined {
  return key === undefined || (typeof key === 'object' && key !== null && !(key instanceof Float))
    ? undefined
    : keyOf(key);
}

function itemAt(value: Value, at: number): Value {
  if (typeof value === 'string') return Array.from(value).at(at);
  if (isList(value)) return value.at(at);
  return value instanceof Tuple || value instanceof Range ? value.items.at(at) : undefined;
}

function methodOf(value: Value, name: string): Callable | undefined {
  if (typeof value === 'string') {
    const method = Object.hasOwn(stringMethods, name) ? stringMethods[name] : undefined;
    return method === undefined ? undefined : new Callable((args, named) => method(value, args, named));
  }
  if (isDict(value)) return dictMethod(value, name);
  const items = isList(value) ? value : value instanceof Tuple ? value.items : null;
  return items === null ? undefined : listMethod(items, name, isList(value));
}

function dictMethod(value: ReadonlyMap<Key, Value>, name: string): Callable | undefined {
  switch (name) {
    case 'items':
      return new Callable(() => new Lazy(pairs(value), 'dict_items'));
    case 'keys':
      return new Callable(() => new Lazy([...value.keys()], 'dict_keys'));
    case 'values':
      return new Callable(() => new Lazy([...value.values()], 'dict_values'));
    case 'get':
      return new Callable(([key, fallback = null]) => {
        const found = keyOf(key);
        return value.has(found) ? value.get(found) : fallback;
      });
    case 'copy':
      return new Callable(() => new Map(value));
    case 'update':
    case 'pop':
    case 'popitem':
    case 'clear':
    case 'setdefault':
      return unsafe(name);
    default:
      return undefined;
  }
}

export function pairs(value: ReadonlyMap<Key, Value>): Tuple[] {
  return [...value].map((entry) => new Tuple(entry));
}

function listMethod(items: readonly Value[], name: string, mutable: boolean): Callable | undefined {
  switch (name) {
    case 'index':
      return new Callable(([wanted]) => {
        const at = items.findIndex((candidate) => equal(candidate, wanted));
        if (at < 0) throw fail('the value is not in the list');
        return at;
      });
    case 'count':
      return new Callable(([wanted]) => items.filter((candidate) => equal(candidate, wanted)).length);
    case 'copy':
      return mutable ? new Callable(() => [...items]) : undefined;
    case 'append':
    case 'extend':
    case 'insert':
    case 'pop':
    case 'remove':
    case 'clear':
    case 'sort':
    case 'reverse':
      return mutable ? unsafe(name) : undefined;
    default:
      return undefined;
  }
}

/** Templates cannot change what they are given; Jinja's sandbox refuses the same. */
function unsafe(name: string): Callable {
  return new Callable(() => {
    throw fail(`templates may not call ${name}, which changes its object`);
  });
}

/** `a.b.0` of a filter's attribute argument. */
export function attributePath(path: Value): (value: Value) => Value {
  if (isInteger(path)) return (value) => item(value, path);
  if (typeof path !== 'string') throw fail(`an attribute must be str, not ${typeName(path)}`);
  const steps = path.split('.').map((step) => (/^\d+$/.test(step) ? Number(step) : step));
  return (value) => steps.reduce<Value>((at, step) => item(at, step), value);
}

export function call(callee: Value, args: readonly Value[], named: Named): Value {
  if (callee instanceof Callable) return callee.call(args, named);
  throw fail(
    callee === undefined ? 'the template calls something undefined' : `'${typeName(callee)}' object is not callable`,
  );
}
