import { environment } from '#lib/config/environment.ts';
import { dispatch } from './dispatch.ts';

await dispatch(environment.argv);
