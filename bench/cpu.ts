/** CPU time of this process, all threads. */
export class CpuMeter {
  #before = process.cpuUsage();

  reset(): void {
    this.#before = process.cpuUsage();
  }

  /** Microseconds since the last reset. */
  micros(): number {
    const { user, system } = process.cpuUsage(this.#before);
    return user + system;
  }
}
