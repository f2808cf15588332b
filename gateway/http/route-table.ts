import type { GatewayContext } from '../context.ts';
import type { Endpoint } from '../metrics/metrics.ts';
import type { RequestRecord } from '../telemetry/request-record.ts';
import type { Exchange } from './exchange.ts';

/** Values of the placeholders of a path. */
export type RouteParams = Readonly<Record<string, string>>;

/** A request that work is done for: admitted, recorded, its JSON body read. */
export interface InferenceRoute {
  readonly kind: 'inference';
  readonly endpoint: Endpoint;
  run(ctx: GatewayContext, exchange: Exchange, record: RequestRecord, body: unknown): Promise<void>;
}

/** Anything else. `admin` ones change how the service works, `open` ones tell nothing of any tenant and ask for no key. */
export interface PlainRoute {
  readonly kind: 'plain' | 'admin' | 'open';
  /** Not served by the public port where administration has one of its own; `admin` ones never are. */
  readonly forOperators?: boolean;
  run(ctx: GatewayContext, exchange: Exchange, params: RouteParams): void | Promise<void>;
}

export type Route = InferenceRoute | PlainRoute;

/** What a path answers to, by method. */
export type PathRoutes = Readonly<Partial<Record<'GET' | 'POST' | 'DELETE', Route>>>;

export interface RouteMatch {
  readonly routes: PathRoutes;
  readonly params: RouteParams;
}

interface Pattern {
  readonly expression: RegExp;
  readonly routes: PathRoutes;
}

/** Finds what a path means. `{name}` stands for one segment, `{name...}` for everything that follows; fixed paths win. */
export class RouteTable {
  readonly #fixed = new Map<string, PathRoutes>();
  readonly #patterns: Pattern[] = [];

  constructor(table: Readonly<Record<string, PathRoutes>>) {
    for (const [path, routes] of Object.entries(table)) {
      if (path.includes('{')) this.#patterns.push({ expression: expressionOf(path), routes });
      else this.#fixed.set(path, routes);
    }
  }

  find(path: string): RouteMatch | null {
    const fixed = this.#fixed.get(path);
    if (fixed !== undefined) return { routes: fixed, params: {} };
    for (const { expression, routes } of this.#patterns) {
      const groups = expression.exec(path)?.groups;
      if (groups !== undefined) return { routes, params: { ...groups } };
    }
    return null;
  }
}

function expressionOf(path: string): RegExp {
  const escaped = path.replace(/[.*+?^$()|[\]\\]/g, '\\$&');
  const named = escaped.replace(/\{(\w+)(\\\.\\\.\\\.)?\}/g, (_, name: string, rest: string | undefined) =>
    rest === undefined ? `(?<${name}>[^/]+)` : `(?<${name}>.+)`,
  );
  return new RegExp(`^${named}$`, 's');
}
