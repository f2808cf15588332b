import { z } from 'zod';

export const fileObject = z
  .object({
    id: z.string(),
    object: z.literal('file'),
    bytes: z.int(),
    created_at: z.int(),
    expires_at: z.int(),
    filename: z.string(),
    purpose: z.enum(['batch', 'batch_output', 'user_data']),
    status: z.literal('processed'),
  })
  .meta({ id: 'File' });

export type FileObject = z.infer<typeof fileObject>;

export const fileList = z
  .object({
    object: z.literal('list'),
    data: z.array(fileObject),
    first_id: z.string().nullable(),
    last_id: z.string().nullable(),
    has_more: z.boolean(),
  })
  .meta({ id: 'FileList' });

export const deletedFile = z
  .object({ id: z.string(), object: z.literal('file'), deleted: z.literal(true) })
  .meta({ id: 'DeletedFile' });

/** The parts of an upload, for the documentation; they are read as multipart/form-data. */
export const fileUpload = z
  .strictObject({
    file: z.string().describe('The content.').meta({ format: 'binary' }),
    purpose: z.enum(['batch', 'user_data']),
    'expires_after[anchor]': z.literal('created_at').optional(),
    'expires_after[seconds]': z.int().min(3600).max(2_592_000).optional(),
  })
  .meta({
    id: 'FileUpload',
    dependentRequired: {
      'expires_after[anchor]': ['expires_after[seconds]'],
      'expires_after[seconds]': ['expires_after[anchor]'],
    },
  });
