import { addonOf } from '../load-addon.ts';
import type { Binding } from './binding.d.ts';

export const binding: () => Binding = addonOf<Binding>('kvindex');
