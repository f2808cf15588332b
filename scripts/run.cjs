// `node scripts/run.cjs SCRIPT [ARG ...]`: installs what is missing, then runs SCRIPT under Node 24 from the sources.
'use strict';
const { run, SOURCE_FLAGS } = require('./runtime.cjs');

run([...SOURCE_FLAGS, ...process.argv.slice(2)]);
