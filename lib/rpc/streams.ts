/**
 * Passes a stream on and says once how it ended: `settle(undefined)` at its end or when the reader leaves,
 * `settle(thrown)` when it fails; what settle returns then is thrown instead. One promise for each message.
 */
export function observeStream<T>(
  source: AsyncIterable<T>,
  settle: (thrown: unknown) => unknown,
  onMessage?: () => void,
): AsyncIterable<T> {
  return {
    [Symbol.asyncIterator]() {
      const iterator = source[Symbol.asyncIterator]();
      const fail = (thrown: unknown): never => {
        throw settle(thrown);
      };
      const pass = (result: IteratorResult<T>): IteratorResult<T> => {
        if (result.done) settle(undefined);
        else onMessage?.();
        return result;
      };
      return {
        next: () => iterator.next().then(pass, fail),
        return: async (value?: unknown): Promise<IteratorResult<T>> => {
          settle(undefined);
          return (await iterator.return?.(value)) ?? { done: true, value };
        },
        throw: async (thrown?: unknown): Promise<IteratorResult<T>> => {
          settle(thrown);
          await iterator.return?.();
          throw thrown;
        },
      };
    },
  };
}
