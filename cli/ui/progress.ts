import cliProgress from 'cli-progress';
import { formatBytes, formatSeconds } from './format.ts';

/** Where progress goes: standard error, so that standard output can be piped. */
export interface ProgressOutput {
  readonly isTTY?: boolean;
  write(text: string): unknown;
}

/** Steps as lines; transfers as a bar on a terminal, as a line now and then elsewhere. */
export class Progress {
  readonly #output: ProgressOutput;
  #transfer: Transfer | undefined;

  constructor(output: ProgressOutput = process.stderr) {
    this.#output = output;
  }

  /** One finished or beginning step. */
  say(text: string): void {
    this.endTransfer();
    this.#output.write(`${text}\n`);
  }

  /** Seconds since this process began, for example "2.1 s". */
  get elapsed(): string {
    return `${(performance.now() / 1000).toFixed(1)} s`;
  }

  /** `format`: how amounts are written; default: as bytes. */
  transfer(file: string, done: number, total: number | undefined, format = formatBytes): void {
    if (this.#transfer?.file !== file) {
      this.endTransfer();
      this.#transfer =
        this.#output.isTTY === true ? new BarTransfer(file, format) : new LineTransfer(file, format, this.#output);
    }
    this.#transfer.update(done, total);
    if (total !== undefined && done >= total) this.endTransfer();
  }

  /** Leaves the bar as it is, so that what is printed next stands below it. */
  endTransfer(): void {
    this.#transfer?.stop();
    this.#transfer = undefined;
  }
}

type FormatAmount = (amount: number) => string;

interface Transfer {
  readonly file: string;
  update(done: number, total: number | undefined): void;
  stop(): void;
}

class BarTransfer implements Transfer {
  readonly file: string;
  readonly #bar: cliProgress.SingleBar;
  readonly #format: FormatAmount;
  readonly #rate = new Rate();
  #started = false;

  constructor(file: string, format: FormatAmount) {
    this.file = file;
    this.#format = format;
    this.#bar = new cliProgress.SingleBar(
      {
        format: '{file} [{bar}] {percent} · {amount} · {rate} · {eta_text}',
        hideCursor: true,
        stream: process.stderr,
        fps: 10,
        linewrap: false,
      },
      cliProgress.Presets.shades_classic,
    );
  }

  update(done: number, total: number | undefined): void {
    const rate = this.#rate.at(done);
    const payload = {
      file: this.file,
      percent: total === undefined ? '' : `${Math.floor((done / total) * 100)}%`,
      amount: amountText(done, total, this.#format),
      rate: `${this.#format(rate)}/s`,
      eta_text: total === undefined || rate === 0 ? '' : `${formatSeconds((total - done) / rate)} left`,
    };
    // Of an unknown size, the bar stays empty: the amount says how far it is.
    const [shown, whole] = total === undefined ? [0, 1] : [done, total];
    if (!this.#started) this.#bar.start(whole, shown, payload);
    this.#started = true;
    this.#bar.setTotal(whole);
    this.#bar.update(shown, payload);
  }

  stop(): void {
    this.#bar.stop();
  }
}

const LINE_INTERVAL_MS = 5000;

class LineTransfer implements Transfer {
  readonly file: string;
  readonly #format: FormatAmount;
  readonly #output: ProgressOutput;
  readonly #rate = new Rate();
  #silentUntilMs = 0;
  #lastDone = -1;

  constructor(file: string, format: FormatAmount, output: ProgressOutput) {
    this.file = file;
    this.#format = format;
    this.#output = output;
  }

  update(done: number, total: number | undefined): void {
    const rate = this.#rate.at(done);
    const nowMs = performance.now();
    if ((nowMs < this.#silentUntilMs && done !== total) || done === this.#lastDone) return;
    this.#silentUntilMs = nowMs + LINE_INTERVAL_MS;
    this.#lastDone = done;
    const left =
      total === undefined || done === total || rate === 0 ? '' : `, ${formatSeconds((total - done) / rate)} left`;
    const speed = rate === 0 ? '' : `, ${this.#format(rate)}/s`;
    this.#output.write(`${this.file}: ${amountText(done, total, this.#format)}${speed}${left}\n`);
  }

  stop(): void {}
}

/** Mean rate since the first report; what an earlier run had fetched does not count. */
class Rate {
  readonly #startMs = performance.now();
  #first: number | undefined;

  /** Amount a second. */
  at(done: number): number {
    this.#first ??= done;
    const seconds = (performance.now() - this.#startMs) / 1000;
    return seconds > 0 ? (done - this.#first) / seconds : 0;
  }
}

function amountText(done: number, total: number | undefined, format: FormatAmount): string {
  return total === undefined ? format(done) : `${format(done)} of ${format(total)}`;
}
