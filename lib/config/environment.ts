/** The only place that reads the process's environment; everything else is given typed settings. */
export const environment = {
  get variables(): Readonly<Record<string, string | undefined>> {
    return process.env;
  },
  get argv(): readonly string[] {
    return process.argv.slice(2);
  },
};
