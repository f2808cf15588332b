/** The only place that reads the process's environment; everything else is given typed settings. */
export const environment = {
  get variables(): Readonly<Record<string, string | undefined>> {
    return process.env;
  },
  /** Sets a variable that a native library reads, unless somebody has set it. */
  setDefault(name: string, value: string): void {
    process.env[name] ??= value;
  },
  get argv(): readonly string[] {
    return process.argv.slice(2);
  },
};
