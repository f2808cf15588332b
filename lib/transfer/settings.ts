import { defineSettings, setting } from '#lib/config/settings.ts';

/** Settings of everything that transfers memory. */
export const transferSettings = defineSettings({
  nixlLibrary: setting.optionalString({
    help: "Path of NIXL's libnixl_capi.so; default: the package in the user's cache, then what the system's loader finds.",
  }),
});
