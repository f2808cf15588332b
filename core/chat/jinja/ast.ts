/** Nodes of a template, after Jinja's own. */
export type Expression =
  | {
      readonly kind: 'constant';
      readonly value: null | boolean | number | bigint | string | { readonly float: number };
    }
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'list' | 'tuple' | 'concat'; readonly items: readonly Expression[] }
  | { readonly kind: 'dict'; readonly entries: readonly (readonly [Expression, Expression])[] }
  | { readonly kind: 'attribute'; readonly of: Expression; readonly name: string }
  | { readonly kind: 'item'; readonly of: Expression; readonly key: Expression }
  | { readonly kind: 'slice'; readonly of: Expression; readonly parts: readonly (Expression | null)[] }
  | { readonly kind: 'call'; readonly callee: Expression; readonly args: Arguments }
  | { readonly kind: 'filter'; readonly name: string; readonly of: Expression | null; readonly args: Arguments }
  | { readonly kind: 'test'; readonly name: string; readonly of: Expression; readonly args: Arguments }
  | { readonly kind: 'not' | 'negative' | 'positive'; readonly of: Expression }
  | { readonly kind: 'binary'; readonly operator: string; readonly left: Expression; readonly right: Expression }
  | { readonly kind: 'compare'; readonly first: Expression; readonly rest: readonly (readonly [string, Expression])[] }
  | {
      readonly kind: 'condition';
      readonly test: Expression;
      readonly yes: Expression;
      readonly no: Expression | null;
    };

export interface Arguments {
  readonly positional: readonly Expression[];
  readonly named: readonly (readonly [string, Expression])[];
  /** `*list`. */
  readonly spread: Expression | null;
  /** `**dict`. */
  readonly spreadNamed: Expression | null;
}

/** What is assigned to. */
export type Target =
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'tuple'; readonly items: readonly Target[] }
  | { readonly kind: 'attribute'; readonly of: string; readonly name: string };

export interface Parameter {
  readonly name: string;
  readonly default: Expression | null;
}

export type Statement =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'print'; readonly value: Expression }
  | {
      readonly kind: 'for';
      readonly target: Target;
      readonly iterable: Expression;
      readonly test: Expression | null;
      readonly recursive: boolean;
      readonly body: Block;
      readonly otherwise: Block;
    }
  | { readonly kind: 'if'; readonly branches: readonly (readonly [Expression, Block])[]; readonly otherwise: Block }
  | { readonly kind: 'set'; readonly target: Target; readonly value: Expression }
  | { readonly kind: 'set-block'; readonly target: Target; readonly filter: Expression | null; readonly body: Block }
  | { readonly kind: 'macro'; readonly name: string; readonly parameters: readonly Parameter[]; readonly body: Block }
  | {
      readonly kind: 'call-block';
      readonly call: Expression;
      readonly parameters: readonly Parameter[];
      readonly body: Block;
    }
  | { readonly kind: 'filter-block'; readonly filter: Expression; readonly body: Block }
  | { readonly kind: 'with'; readonly values: readonly (readonly [Target, Expression])[]; readonly body: Block }
  | { readonly kind: 'block'; readonly body: Block }
  | { readonly kind: 'break' | 'continue' };

export type Block = readonly Statement[];
