// Everything that is judged without running the product.
import { runChecks } from './check/steps.ts';

const { failed } = await runChecks((text) => process.stdout.write(text));
process.exitCode = failed === 0 ? 0 : 1;
