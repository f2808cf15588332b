// What the processes of this benchmark share: messages to their parent and counting of CPU time.
import { CpuMeter } from '#bench/cpu.ts';

/** From a measured process: its address once it listens, and its CPU time and tokens of the measured stretch. */
export type FromChild =
  | { readonly kind: 'ready'; readonly address: string }
  | { readonly kind: 'cost'; readonly cpuMicros: number; readonly tokens: number };

/** To a measured process: begin to measure, or stop and tell. */
export type ToChild = 'begin' | 'end';

/** Answers the parent's questions; `tokens` reads a count that only grows. */
export function answerParent(address: string, tokens: () => number | Promise<number>): void {
  const cpu = new CpuMeter();
  let before = 0;
  process.on('message', (message: ToChild) => {
    void (async () => {
      if (message === 'begin') {
        before = await tokens();
        cpu.reset();
        return;
      }
      const cpuMicros = cpu.micros();
      tell({ kind: 'cost', cpuMicros, tokens: (await tokens()) - before });
    })();
  });
  tell({ kind: 'ready', address });
}

function tell(message: FromChild): void {
  process.send?.(message);
}
