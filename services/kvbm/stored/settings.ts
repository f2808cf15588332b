import { defineSettings, setting } from '#lib/config/settings.ts';

export const storedSettings = defineSettings({
  encryptionKeyFile: setting.optionalString({
    group: 'Encryption at rest',
    help: 'File of keys, one a line, 32 bytes each in hexadecimal or base64: blocks on disk and in the object store are encrypted with the first and read with any (AES-256-GCM). Unset: they are stored as they are.',
  }),
});
