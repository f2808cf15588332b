import type { Engine } from '#services/workers/common/engine.ts';
import { EngineAround } from '#services/workers/common/engine-around.ts';
import type { EngineKv, KvPrefix, KvSpan } from '#services/workers/common/engine-kv.ts';

/** Exports every block again that entered an engine, and compares it with what was offered. */
export class CheckedKv {
  compared = 0;
  differing = 0;

  around(engine: Engine): Engine {
    const wrap = (kv: EngineKv): EngineKv => this.#wrapped(kv);
    let known: EngineKv | undefined;
    return new (class extends EngineAround {
      override get kv(): EngineKv | undefined {
        if (known === undefined && engine.kv !== undefined) known = wrap(engine.kv);
        return known;
      }
    })(engine);
  }

  #wrapped(kv: EngineKv): EngineKv {
    return {
      get format() {
        return kv.format;
      },
      adapterDigest: (name) => kv.adapterDigest(name),
      cachedBlocks: (prefix) => kv.cachedBlocks(prefix),
      exportBlocks: (...order) => kv.exportBlocks(...order),
      importBlocks: async (prefix, from, spans, signal) => {
        const offered = spans.map(({ memory, offset, bytes }) => Buffer.from(memory.subarray(offset, offset + bytes)));
        const entered = await kv.importBlocks(prefix, from, spans, signal);
        return {
          accept: async (sound) => {
            const hold = await entered.accept(sound);
            await this.#compare(kv, prefix, from, offered.slice(0, Math.max(0, hold.blocks - from)));
            return hold;
          },
          discard: () => entered.discard(),
        };
      },
    };
  }

  async #compare(kv: EngineKv, prefix: KvPrefix, from: number, offered: readonly Buffer[]): Promise<void> {
    const { blockBytes } = kv.format;
    const memory = Buffer.from(new SharedArrayBuffer(offered.length * blockBytes));
    const spans = offered.map((_, i): KvSpan => ({ memory, offset: i * blockBytes, bytes: blockBytes }));
    const written = await kv.exportBlocks(prefix, from, spans, AbortSignal.timeout(60_000));
    for (const [i, bytes] of written.entries()) {
      this.compared++;
      const again = memory.subarray(i * blockBytes, i * blockBytes + bytes);
      if (!again.equals(offered[i] ?? Buffer.alloc(0))) this.differing++;
    }
  }
}
